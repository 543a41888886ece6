#include "base/bits.h"

#include <sys/mman.h>

#include <algorithm>

#include <new>

namespace qd {

void* reserve_bytes(std::uint64_t bytes) {
  bytes = std::max<std::uint64_t>(bytes, 1);  // mmap refuses a length of 0
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  // Huge pages would make 2 MiB real for a single bit.
  madvise(memory, bytes, MADV_NOHUGEPAGE);
  return memory;
}

void release_bytes(void* memory, std::uint64_t bytes) { munmap(memory, std::max<std::uint64_t>(bytes, 1)); }

std::vector<std::pair<std::uint64_t, std::uint64_t>> BitRanges::set(std::uint64_t first, std::uint64_t count) {
  std::vector<std::pair<std::uint64_t, std::uint64_t>> before;
  const std::lock_guard lock(mutex_);
  ranges_.within(first, first + count,
                 [&](std::uint64_t start, std::uint64_t end) { before.emplace_back(start, end); });
  ranges_.add(first, first + count);
  return before;
}

bool BitRanges::any(std::uint64_t first, std::uint64_t count) const {
  const std::lock_guard lock(mutex_);
  return ranges_.overlaps(first, first + count);
}

std::uint64_t BitRanges::word(std::uint64_t index) const {
  std::uint64_t bits = 0;
  const std::lock_guard lock(mutex_);
  ranges_.within(index * 64, index * 64 + 64, [&](std::uint64_t start, std::uint64_t end) {
    bits |= ~std::uint64_t{0} >> (64 - (end - start)) << (start % 64);
  });
  return bits;
}

std::optional<std::uint64_t> BitRanges::next(std::uint64_t from) const {
  constexpr std::uint64_t none = ~std::uint64_t{0};
  const std::lock_guard lock(mutex_);
  const std::uint64_t found = ranges_.next(from, none);
  return found == none ? std::nullopt : std::optional(found);
}

std::optional<std::uint64_t> BitRanges::last_before(std::uint64_t end) const {
  const std::lock_guard lock(mutex_);
  return ranges_.last_before(end);
}

std::optional<std::uint64_t> BitSet::next(std::uint64_t from) const {
  if (ranges_) return ranges_->next(from);
  while (from < bits_) {
    const std::uint64_t page = from / page_bits;
    const std::uint64_t pages = summary_.read(page / 64) >> (page % 64);
    if (pages == 0) {
      from = (page / 64 + 1) * 64 * page_bits;
      continue;
    }
    if (!(pages & 1)) {
      from = (page + static_cast<unsigned>(std::countr_zero(pages))) * page_bits;
      continue;
    }
    const std::uint64_t bits = words_.read(from / 64) >> (from % 64);
    if (bits != 0) {
      const std::uint64_t found = from + static_cast<unsigned>(std::countr_zero(bits));
      return found < bits_ ? std::optional(found) : std::nullopt;
    }
    from = (from / 64 + 1) * 64;
  }
  return std::nullopt;
}

std::optional<std::uint64_t> BitSet::last_before(std::uint64_t end) const {
  if (ranges_) return ranges_->last_before(end);
  while (end > 0) {
    const std::uint64_t last = end - 1;
    const std::uint64_t page = last / page_bits;
    if (!(summary_.read(page / 64) >> (page % 64) & 1)) {
      end = page * page_bits;
      continue;
    }
    const unsigned shift = static_cast<unsigned>(last % 64);
    const std::uint64_t bits = words_.read(last / 64) << (63 - shift);
    if (bits != 0) return last - static_cast<unsigned>(std::countl_zero(bits));
    end = last / 64 * 64;
  }
  return std::nullopt;
}

}  // namespace qd
