// Keeps a disk busy. Who knows what it will read next announces it, some megabytes at a time and in the order of the
// file, while it still works on what came before. That costs a system call for each stretch, wasted where the page
// cache has everything already; so it is done only as long as reads have to wait.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "io/file.h"

namespace qd {

class Readahead {
 public:
  static constexpr std::uint64_t window = 8u << 20;  // bytes worth announcing at once

  // Of items that are read in the order of their number, from `first` on.
  explicit Readahead(const File& file, std::uint64_t first = 0) : file_(file), last_window_(first), announced_(first) {}

  // Item `next` is about to be read: announces the window behind the one that it lies in, `width` items of those before
  // `end`. each(item) calls add() for what the item reads.
  template <class Each>
  void reach(std::uint64_t next, std::uint64_t end, std::uint64_t width, Each&& each) {
    while (next >= last_window_ && announced_ < end) {
      last_window_ = announced_;
      announced_ = std::min(end, announced_ + std::max<std::uint64_t>(width, 1));
      if (!wanted()) continue;
      for (std::uint64_t item = last_window_; item < announced_; ++item) each(item);
      announce();
    }
  }
  void add(std::uint64_t offset, std::uint64_t length) { ranges_.push_back({offset, length}); }

 private:
  bool wanted();
  void announce();

  struct Range {
    std::uint64_t offset, length;
  };
  const File& file_;
  std::vector<Range> ranges_;
  std::uint64_t last_window_, announced_;
  std::uint64_t waits_ = ~std::uint64_t{0};
};

}  // namespace qd
