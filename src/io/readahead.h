// Keeps a disk busy. A reader that knows what it will read next announces it while it still works on what came before:
// some megabytes at a time, in the order of the file. An announcement costs a system call for each stretch, wasted if
// the page cache has everything already. So it is made only as long as reads have to wait.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "io/file.h"

namespace qd {

class Readahead {
 public:
  // `window`: bytes that are worth announcing at once. Items are numbered from 0 and read in that order.
  explicit Readahead(const File& file, std::uint64_t window = 8u << 20)
      : file_(file), window_(window), waits_(file.waits()) {}

  // Item `next` is about to be read. Gathers the window behind the one that `next` lies in, of items before `end`:
  // each(item) calls add() for what an item reads. The first window is announced at once, a later one as soon as a read
  // has waited.
  template <class Each>
  void reach(std::uint64_t next, std::uint64_t end, Each&& each) {
    if (next >= last_window_ && gathered_ < end) ranges_.clear();
    while (next >= last_window_ && gathered_ < end) {
      const bool first = gathered_ == 0;
      last_window_ = gathered_;
      for (bytes_ = 0; gathered_ < end && bytes_ < window_; ++gathered_) each(gathered_);
      if (first) announce();
    }
    if (!ranges_.empty() && waited()) announce();
  }
  // Items before this one won't be read.
  void skip_to(std::uint64_t item) { gathered_ = std::max(gathered_, item); }
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
  std::vector<Range> ranges_;  // gathered, and not announced
  std::uint64_t bytes_ = 0;    // of the window that is being gathered
  std::uint64_t last_window_ = 0, gathered_ = 0;
  std::uint64_t waits_;
};

}  // namespace qd
