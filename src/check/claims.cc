#include "check/claims.h"

namespace qd::check {

void Tally::add(std::uint64_t cluster, std::uint64_t n) {
  const unsigned shift = static_cast<unsigned>(cluster % per_word) * 2;
  const auto word = low_[cluster / per_word];
  std::uint64_t before = word.load(std::memory_order_relaxed), sum = 0;
  do {
    sum = (before >> shift & (low_base - 1)) + n % low_base;
  } while (!word.compare_exchange_weak(before, (before & ~((low_base - 1) << shift)) | (sum % low_base) << shift,
                                       std::memory_order_relaxed));
  const std::uint64_t carry = n / low_base + sum / low_base;
  if (carry == 0) return;

  const auto small = static_cast<std::uint8_t>(carry);
  const std::uint64_t middle = middle_[cluster].fetch_add(small, std::memory_order_relaxed) + small;
  if (!any_middle_.load(std::memory_order_relaxed)) any_middle_.store(true, std::memory_order_release);
  const std::uint64_t high = carry / middle_base + middle / middle_base;
  if (high == 0) return;
  const std::lock_guard lock(mutex_);
  high_[cluster] += high;
  any_high_.store(true, std::memory_order_release);
}

std::uint64_t Tally::get(std::uint64_t cluster) const {
  std::uint64_t count = low_.read(cluster / per_word) >> (cluster % per_word * 2) & (low_base - 1);
  if (any_middle_.load(std::memory_order_acquire)) count += middle_.read(cluster) * low_base;
  if (!any_high_.load(std::memory_order_acquire)) return count;
  const std::lock_guard lock(mutex_);
  const auto high = high_.find(cluster);
  return count + (high == high_.end() ? 0 : high->second * middle_base * low_base);
}

// `clusters`: those of a word of 64.
void Claims::claimed_twice(std::uint64_t word, std::uint64_t clusters) {
  for (; clusters != 0; clusters &= clusters - 1) {
    const std::uint64_t cluster = word * 64 + static_cast<unsigned>(std::countr_zero(clusters));
    conflict.set(cluster);
    suspect.set(cluster);
  }
}

void Claims::refcounts_differ(ClusterIndex first, std::uint64_t count, std::uint64_t references, RunRefcount run) {
  if (run) return suspect.set_range(first.value, count, [](std::uint64_t, std::uint64_t) {});
  for (std::uint64_t c = first.value; c < first.value + count; ++c) {
    if (refcounts_->get(ClusterIndex(c)) != references) suspect.set(c);
  }
}

void Claims::reach(ClusterIndex first, std::uint64_t count) {
  suspect.set_range(first.value, count, [](std::uint64_t, std::uint64_t) {});
}

void Claims::claim_compressed(ClusterIndex first, std::uint64_t count, std::uint64_t references) {
  compressed.set_range(first.value, count, [](std::uint64_t, std::uint64_t) {});
  for (std::uint64_t c = first.value; c < first.value + count; ++c) tally.add(c, references);
}

void Claims::claim_beyond(ClusterIndex first, std::uint64_t count, std::uint64_t end) {
  const std::uint64_t begin = std::max(first.value, end), behind = std::min(first.value + count, end + dangling.size());
  if (begin < behind) dangling.set_range(begin - end, behind - begin, [](std::uint64_t, std::uint64_t) {});
}

void Claims::cross_check() {
  for (auto c = compressed.next(0); c; c = compressed.next(*c + 1)) {
    if (!owned.test(*c)) continue;
    conflict.set(*c);
    suspect.set(*c);
  }
}

}  // namespace qd::check
