#include "check/claims.h"

namespace qd::check {

void Tally::add(std::uint64_t cluster, std::uint64_t n) {
  if (!any_.load(std::memory_order_relaxed)) any_.store(true, std::memory_order_relaxed);
  if (in_table_) return add_high(cluster, n);
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
  add_high(cluster, high);
}

void Tally::add_high(std::uint64_t cluster, std::uint64_t n) {
  const std::lock_guard lock(mutex_);
  high_[cluster] += n;
  any_high_.store(true, std::memory_order_release);
}

std::uint64_t Tally::high(std::uint64_t cluster) const {
  if (!any_high_.load(std::memory_order_acquire)) return 0;
  const std::lock_guard lock(mutex_);
  const auto found = high_.find(cluster);
  return found == high_.end() ? 0 : found->second;
}

std::uint64_t Tally::look_up(std::uint64_t cluster) const {
  if (in_table_) return high(cluster);
  std::uint64_t count = low_.read(cluster / per_word) >> (cluster % per_word * 2) & (low_base - 1);
  if (any_middle_.load(std::memory_order_acquire)) count += middle_.read(cluster) * low_base;
  return count + high(cluster) * middle_base * low_base;
}

void Claims::claimed_twice(std::uint64_t first, std::uint64_t count) {
  conflict.set_range(first, count);
  suspect.set_range(first, count);
}

void Claims::refcounts_differ(ClusterIndex first, std::uint64_t count, std::uint64_t references, RunRefcount run) {
  if (run) return suspect.set_range(first.value, count);
  for (std::uint64_t at = first.value, end = at + count; at < end;) {
    const std::uint64_t here = std::min(end - at, refcounts_->block_rest(ClusterIndex(at)));
    const RunRefcount of_block = refcounts_->run(ClusterIndex(at), here);
    if (of_block && of_block != references) suspect.set_range(at, here);
    for (std::uint64_t c = at; !of_block && c < at + here; ++c) {
      if (refcounts_->get(ClusterIndex(c)) != references) suspect.set(c);
    }
    at += here;
  }
}

void Claims::reach(ClusterIndex first, std::uint64_t count) { suspect.set_range(first.value, count); }

void Claims::claim_compressed(ClusterIndex first, std::uint64_t count, std::uint64_t references) {
  compressed.set_range(first.value, count);
  for (std::uint64_t c = first.value; c < first.value + count; ++c) tally.add(c, references);
}

void Claims::claim_beyond(ClusterIndex first, std::uint64_t count, std::uint64_t end) {
  const std::uint64_t begin = std::max(first.value, end), behind = std::min(first.value + count, end + dangling.size());
  if (begin < behind) dangling.set_range(begin - end, behind - begin);
}

void Claims::cross_check() {
  for (auto c = compressed.next(0); c; c = compressed.next(*c + 1)) {
    if (!owned.test(*c)) continue;
    conflict.set(*c);
    suspect.set(*c);
  }
}

}  // namespace qd::check
