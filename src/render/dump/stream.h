// Pieces of a dump's text, rendered in parallel and written in order. Their memory is used again: fresh pages for each
// would cost nearly as much as the text.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "base/parallel.h"
#include "render/output.h"

namespace qd::render {

inline constexpr std::size_t max_line = 256;          // bytes, of the longest line
inline constexpr std::size_t lines_per_piece = 8192;  // about 600 KiB of text: one write

// A piece may have more lines than lines_per_piece: one more for each table that its entries belong to.
class Text {
 public:
  // Calls render(place to write to), which returns the place behind what it wrote.
  template <class Render>
  void append(Render&& render) {
    size_ = static_cast<std::size_t>(render(memory_.get() + size_) - memory_.get());
  }
  std::string_view view() const { return {memory_.get(), size_}; }

 private:
  friend class Stream;
  // Address space only: pages that aren't touched take no memory.
  static constexpr std::size_t capacity = (lines_per_piece + lines_per_piece / 16) * max_line;
  std::unique_ptr<char[]> memory_;
  std::size_t size_ = 0;
};

class Stream {
 public:
  explicit Stream(Output& out) : out_(out), stopped_(out.failed()) {}

  // Gives memory to a text that has none yet. Thread-safe.
  void prepare(Text& text);
  // Writes a piece; in order.
  void write(Text&& text);
  // The output has failed: nobody reads it any more.
  const std::atomic<bool>& stopped() const { return stopped_; }

  // How many pieces are under way: bounds the memory, whatever the number of threads.
  static std::size_t in_flight() { return std::min<std::size_t>(results_in_flight() / 2 + 2, 16); }

 private:
  Output& out_;
  std::atomic<bool> stopped_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<char[]>> free_;
};

inline void Stream::prepare(Text& text) {
  if (text.memory_) return;
  const std::lock_guard lock(mutex_);
  if (free_.empty()) free_.push_back(std::make_unique_for_overwrite<char[]>(Text::capacity));
  text.memory_ = std::move(free_.back());
  free_.pop_back();
}

inline void Stream::write(Text&& text) {
  out_.write(text.view());
  if (out_.failed()) stopped_ = true;
  const std::lock_guard lock(mutex_);
  if (text.memory_) free_.push_back(std::move(text.memory_));
}

}  // namespace qd::render
