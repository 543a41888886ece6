// One bit a cluster, for any number of clusters. All operations may run at once from several threads.
//
// The memory is reserved address space that becomes real only where it is touched. A summary bit for each 4 KiB page
// lets a reader of a sparse set skip what was never touched. But one bit makes a whole page real, and address space has
// limits, too. So the set is kept as ranges for a file that is vast and stores next to nothing.
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "base/ranges.h"

namespace qd {

// Calls each(first, count) for the stretches of bits that are set.
template <class Each>
void for_stretches(std::uint64_t bits, Each&& each) {
  while (bits != 0) {
    const auto first = static_cast<unsigned>(std::countr_zero(bits));
    const auto count = static_cast<unsigned>(std::countr_one(bits >> first));
    each(first, count);
    bits = first + count == 64 ? 0 : bits >> (first + count) << (first + count);
  }
}

// Zeroed memory of `bytes`, real only where it is touched.
void* reserve_bytes(std::uint64_t bytes);
void release_bytes(void* memory, std::uint64_t bytes);

template <class T>
class LazyArray {
 public:
  explicit LazyArray(std::uint64_t count)
      : count_(count), data_(static_cast<T*>(reserve_bytes(count * sizeof(T)))) {}
  LazyArray(const LazyArray&) = delete;
  LazyArray& operator=(const LazyArray&) = delete;
  ~LazyArray() { release_bytes(data_, count_ * sizeof(T)); }

  std::uint64_t size() const { return count_; }
  std::atomic_ref<T> operator[](std::uint64_t i) const { return std::atomic_ref<T>(data_[i]); }
  void prefetch(std::uint64_t i) const { __builtin_prefetch(data_ + i, 1); }
  T read(std::uint64_t i) const { return std::atomic_ref<T>(data_[i]).load(std::memory_order_relaxed); }

 private:
  std::uint64_t count_;
  T* data_;
};

// A set of bits as ranges: slow, but no larger than what is in it.
class BitRanges {
 public:
  // The parts of [first, first + count) that were set before, as ranges [start, end).
  std::vector<std::pair<std::uint64_t, std::uint64_t>> set(std::uint64_t first, std::uint64_t count);
  bool any(std::uint64_t first, std::uint64_t count) const;
  std::uint64_t word(std::uint64_t index) const;
  std::optional<std::uint64_t> next(std::uint64_t from) const;
  std::optional<std::uint64_t> last_before(std::uint64_t end) const;

 private:
  mutable std::mutex mutex_;
  Ranges ranges_;
};

// Is a file of so many clusters nearly all hole? Then its bit sets, touched throughout, would take more memory than its
// stored bytes account for, and it has few clusters to remember.
inline bool is_vast(std::uint64_t clusters, std::uint64_t stored) {
  constexpr std::uint64_t bytes_a_cluster = 2, always_room = 16 << 20;
  return clusters * bytes_a_cluster > stored / 2 + always_room;
}

class BitSet {
 public:
  explicit BitSet(std::uint64_t bits, bool as_ranges = false)
      : words_(as_ranges ? 0 : bits / 64 + 1),
        summary_(as_ranges ? 0 : bits / page_bits / 64 + 1),
        bits_(bits),
        ranges_(as_ranges ? std::make_unique<BitRanges>() : nullptr) {}

  std::uint64_t size() const { return bits_; }
  bool test(std::uint64_t bit) const {
    return ranges_ ? ranges_->any(bit, 1) : words_.read(bit / 64) >> (bit % 64) & 1;
  }
  // Doesn't look at memory that was never touched: a look would make it real.
  std::uint64_t word(std::uint64_t index) const {
    if (ranges_) return ranges_->word(index);
    return touched(index * 64 / page_bits) ? words_.read(index) : 0;
  }

  void prefetch(std::uint64_t bit) const {
    if (!ranges_) words_.prefetch(bit / 64);
  }

  void set(std::uint64_t bit) { set_range(bit, 1); }
  void set_range(std::uint64_t first, std::uint64_t count) {
    set_range(first, count, [](std::uint64_t, std::uint64_t) {});
  }

  // Sets [first, first + count). Calls already(first, count) for bits that were set before.
  template <class Already>
  void set_range(std::uint64_t first, std::uint64_t count, Already&& already) {
    if (ranges_) {
      for (const auto& [start, end] : ranges_->set(first, count)) already(start, end - start);
      return;
    }
    for_words(first, count, [&](std::uint64_t index, std::uint64_t mask) {
      const std::uint64_t before = words_[index].fetch_or(mask, std::memory_order_relaxed);
      if (before == 0) touch(index);
      if (before & mask) {
        for_stretches(before & mask, [&](unsigned at, unsigned bits) { already(index * 64 + at, bits); });
      }
    });
  }

  // Is any of [first, first + count) set?
  bool any(std::uint64_t first, std::uint64_t count) const {
    if (ranges_) return ranges_->any(first, count);
    bool found = false;
    for_words(first, count, [&](std::uint64_t index, std::uint64_t mask) { found |= (words_.read(index) & mask) != 0; });
    return found;
  }

  // The first bit set at or after `from`.
  std::optional<std::uint64_t> next(std::uint64_t from) const;
  // The last bit set before `end`.
  std::optional<std::uint64_t> last_before(std::uint64_t end) const;
  bool empty() const { return !next(0); }

  // Splits a range of bits into words: each(word index, mask of the bits within it).
  template <class Each>
  static void for_words(std::uint64_t first, std::uint64_t count, Each&& each) {
    while (count > 0) {
      const unsigned shift = static_cast<unsigned>(first % 64);
      const std::uint64_t here = count < 64 - shift ? count : 64 - shift;
      each(first / 64, (here == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << here) - 1) << shift);
      first += here;
      count -= here;
    }
  }

 private:
  static constexpr std::uint64_t page_bits = 4096 * 8;

  bool touched(std::uint64_t page) const { return summary_.read(page / 64) >> (page % 64) & 1; }

  void touch(std::uint64_t word) {
    const std::uint64_t page = word * 64 / page_bits;
    const std::uint64_t bit = std::uint64_t{1} << (page % 64);
    if (!touched(page)) summary_[page / 64].fetch_or(bit, std::memory_order_relaxed);
  }

  LazyArray<std::uint64_t> words_;
  LazyArray<std::uint64_t> summary_;
  std::uint64_t bits_;
  std::unique_ptr<BitRanges> ranges_;  // instead of the words
};

}  // namespace qd
