#include "image/runs.h"

#include "base/wide.h"

namespace qd::image {
namespace {

// How many entries, in whole blocks of 8, are what is expected: the first `expected`, each of the others `step` more.
QD_WIDE std::uint64_t counting_blocks(const std::uint64_t* entries, std::uint64_t count, std::uint64_t expected,
                                      std::uint64_t step) {
  std::uint64_t i = 0;
  for (; i + 8 <= count; i += 8, expected += 8 * step) {
    std::uint64_t different = 0;
    for (unsigned k = 0; k < 8; ++k) different |= entries[i + k] ^ (expected + k * step);
    if (different != 0) break;
  }
  return i;
}

}  // namespace

std::uint64_t run_length(const std::uint64_t* e, std::uint64_t count, std::uint64_t cluster_size) {
  // Compressed entries and those without an offset stand alone: adding a cluster to them means nothing.
  if ((e[0] & format::compressed_flag) != 0 || (e[0] & format::offset_mask) == 0) return 1;
  std::uint64_t i = counting_blocks(e, count, e[0], cluster_size);
  while (i < count && e[i] == e[0] + i * cluster_size) ++i;
  // A run that counts into the flags is garbage; its entries are judged one by one.
  return ((e[i - 1] ^ e[0]) & ~format::offset_mask) == 0 ? i : 1;
}

std::uint64_t empty_length(const std::uint64_t* e, std::uint64_t count) {
  std::uint64_t i = counting_blocks(e, count, 0, 0);
  while (i < count && e[i] == 0) ++i;
  return i;
}

}  // namespace qd::image
