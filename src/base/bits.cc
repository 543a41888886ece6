#include "base/bits.h"

#include <sys/mman.h>

#include <algorithm>

#include <new>

namespace qd {

void* reserve_bytes(std::uint64_t bytes) {
  bytes = std::max<std::uint64_t>(bytes, 1);  // of nothing, too
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  // Huge pages would make 2 MiB real for a single bit.
  madvise(memory, bytes, MADV_NOHUGEPAGE);
  return memory;
}

void release_bytes(void* memory, std::uint64_t bytes) { munmap(memory, std::max<std::uint64_t>(bytes, 1)); }

std::optional<std::uint64_t> BitSet::next(std::uint64_t from) const {
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
