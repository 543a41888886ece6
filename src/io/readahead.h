// Keeps a disk busy. Who knows what it will read next announces it, some megabytes at a time and in the order of the
// file, while it still works on what came before. That costs a system call for each stretch, wasted where the page
// cache has everything already; so it is done only as long as reads have to wait.
#pragma once

#include <cstdint>
#include <vector>

#include "io/file.h"

namespace qd {

class Readahead {
 public:
  // Bytes that are worth announcing at once. Items are numbered from 0 and read in that order.
  explicit Readahead(const File& file, std::uint64_t window = 8u << 20) : file_(file), window_(window) {}

  // Item `next` is about to be read: announces the window behind the one that it lies in, of items before `end`.
  // each(item) calls add() for what the item reads.
  template <class Each>
  void reach(std::uint64_t next, std::uint64_t end, Each&& each) {
    if (next < last_window_ || announced_ == end) return;
    const bool wanted = waited();
    while (next >= last_window_ && announced_ < end) {
      last_window_ = announced_;
      for (bytes_ = 0; announced_ < end && bytes_ < window_; ++announced_) each(announced_);
      if (wanted) announce();
      ranges_.clear();
    }
  }
  void add(std::uint64_t offset, std::uint64_t length) {
    ranges_.push_back({offset, length});
    bytes_ += length;
  }

 private:
  bool waited();
  void announce();

  struct Range {
    std::uint64_t offset, length;
  };
  const File& file_;
  const std::uint64_t window_;
  std::vector<Range> ranges_;  // of the window that is being gathered
  std::uint64_t bytes_ = 0;    // of them
  std::uint64_t last_window_ = 0, announced_ = 0;
  std::uint64_t waits_ = ~std::uint64_t{0};
};

}  // namespace qd
