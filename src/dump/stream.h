// Renders pieces of a dump in parallel and writes them in order.
#pragma once

#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/parallel_pipeline.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <string_view>
#include <vector>

#include "report/output.h"

namespace qd::dump {

inline constexpr std::size_t max_line = 256;            // bytes, of the longest line
inline constexpr std::size_t lines_per_piece = 8192;    // about 600 KiB of text: one write
inline constexpr std::size_t max_pieces_in_flight = 16;  // bounds the memory, whatever the number of threads

// next(Piece&) fills in what comes next, false at the end; one call at a time, in order. render(const Piece&, char*)
// writes at most lines_per_piece lines and returns the place behind them; many calls at once.
template <class Piece, class Next, class Render>
void stream(report::Output& out, Next&& next, Render&& render) {
  struct Slot {
    Piece piece;
    std::unique_ptr<char[]> text = std::make_unique_for_overwrite<char[]>((lines_per_piece + 1) * max_line);
    std::size_t size = 0;
  };
  const std::size_t threads = tbb::global_control::active_value(tbb::global_control::max_allowed_parallelism);
  // Pieces are finished in order and no more than these are under way, so that each finds its slot free again. What a
  // slot's text doesn't need of its memory never becomes real.
  std::vector<Slot> slots(std::min(threads + 2, max_pieces_in_flight));
  std::size_t number = 0;
  std::atomic<bool> reader_gone = out.failed();

  tbb::parallel_pipeline(
      slots.size(),
      tbb::make_filter<void, Slot*>(tbb::filter_mode::serial_in_order,
                                    [&](tbb::flow_control& control) -> Slot* {
                                      Slot* slot = &slots[number++ % slots.size()];
                                      if (reader_gone || !next(slot->piece)) control.stop();
                                      return slot;
                                    }) &
          tbb::make_filter<Slot*, Slot*>(tbb::filter_mode::parallel,
                                         [&](Slot* slot) {
                                           const char* end = render(slot->piece, slot->text.get());
                                           slot->size = static_cast<std::size_t>(end - slot->text.get());
                                           return slot;
                                         }) &
          tbb::make_filter<Slot*, void>(tbb::filter_mode::serial_in_order, [&](Slot* slot) {
            out.write({slot->text.get(), slot->size});
            if (out.failed()) reader_gone = true;
          }));
}

}  // namespace qd::dump
