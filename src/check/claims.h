// Who uses which cluster, in about one bit a cluster.
//
// Internal snapshots share a cluster only at one and the same guest offset, and the walk sees all states of a guest
// offset at once. So a cluster's lawful references all arrive in one claim, with their number: the claim is compared
// with the refcount on disk at once, and only "claimed" must be remembered. A second claim on a cluster is damage,
// whatever the refcounts say. Only clusters of compressed data have several lawful owners; their references are
// counted.
//
// What doesn't add up (claimed twice, refcount differs) is marked *suspect*. A second, targeted walk counts the
// references to suspects and names their owners.
//
// All of it may be called from several threads; the outcome doesn't depend on their order.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "base/bits.h"
#include "base/units.h"
#include "image/refcounts.h"

namespace qd::check {

using image::RunRefcount;

// A count for each cluster; most are small. A count is a number of three digits: the first has two bits, the second a
// byte, and the third is an entry of a table. A digit takes memory only where it isn't zero. `in_table`: the table
// alone is used.
class Tally {
 public:
  explicit Tally(std::uint64_t clusters, bool in_table = false)
      : in_table_(in_table), low_(in_table ? 0 : clusters / per_word + 1), middle_(in_table ? 0 : clusters) {}
  void add(std::uint64_t cluster, std::uint64_t n);
  std::uint64_t get(std::uint64_t cluster) const { return any_.load(std::memory_order_relaxed) ? look_up(cluster) : 0; }

 private:
  std::uint64_t look_up(std::uint64_t cluster) const;

  static constexpr std::uint64_t low_base = 4, middle_base = 256, per_word = 32;
  void add_high(std::uint64_t cluster, std::uint64_t n);
  std::uint64_t high(std::uint64_t cluster) const;

  const bool in_table_;
  LazyArray<std::uint64_t> low_;
  LazyArray<std::uint8_t> middle_;
  std::atomic<bool> any_ = false, any_middle_ = false, any_high_ = false;
  mutable std::mutex mutex_;
  std::unordered_map<std::uint64_t, std::uint64_t> high_;
};

class Claims {
 public:
  // `refcounts` may be null: then nothing is compared (an external data file has none). `stored`: bytes that are
  // allocated for the file that holds the tables.
  Claims(std::uint64_t clusters, const image::Refcounts* refcounts, std::uint64_t stored)
      : Claims(clusters, refcounts, is_vast(clusters, stored)) {}

  std::uint64_t clusters() const { return owned.size(); }

  // Clusters [first, first + count), each used `references` times, by one owner.
  RunRefcount claim(ClusterIndex first, std::uint64_t count, std::uint64_t references) {
    owned.set_range(first.value, count,
                    [this](std::uint64_t again, std::uint64_t clusters) { claimed_twice(again, clusters); });
    if (!refcounts_) return {};
    const RunRefcount run = refcounts_->run(first, count);
    if (run != references) refcounts_differ(first, count, references, run);
    return run;
  }
  // Clusters near this one will be claimed soon.
  void prefetch(ClusterIndex cluster) const {
    if (cluster.value < clusters()) owned.prefetch(cluster.value);
  }

  // A garbage reference to these clusters: it is unaligned, or comes from something that isn't a table. It is counted,
  // as QEMU counts it, but makes nobody an owner: else one bad entry would accuse the rightful owners of whatever it
  // happens to name.
  void reach(ClusterIndex first, std::uint64_t count);

  // Compressed data that touches these clusters.
  void claim_compressed(ClusterIndex first, std::uint64_t count, std::uint64_t references);

  // A reference to clusters behind the file's end. A repair that makes the file longer must put nothing there: it would
  // belong to that reference at once. `end`: the first cluster behind the file.
  void claim_beyond(ClusterIndex first, std::uint64_t count, std::uint64_t end);
  bool dangles(ClusterIndex cluster, std::uint64_t end) const {
    return cluster.value >= end && cluster.value - end < dangling.size() && dangling.test(cluster.value - end);
  }

  // Clusters that hold both compressed data and something else become suspects, too. Call it between the two walks.
  void cross_check();

  // Exact numbers exist for suspect and compressed clusters only.
  bool counted(std::uint64_t cluster) const { return suspect.test(cluster) || compressed.test(cluster); }

  BitSet owned;       // claimed by metadata or uncompressed data
  BitSet conflict;    // claimed more than once
  BitSet suspect;     // to be counted by the second walk
  BitSet compressed;  // holds compressed data
  Tally tally;        // references: compressed ones at once, all others for suspects in the second walk
  Tally baseless;     // of these, those from what isn't a table: QEMU counts them, but they mean nothing
  BitSet dangling;    // clusters behind the file's end with a reference, counted from the end

 private:
  Claims(std::uint64_t clusters, const image::Refcounts* refcounts, bool sparse)
      : owned(clusters, sparse),
        conflict(clusters, sparse),
        suspect(clusters, sparse),
        compressed(clusters, sparse),
        tally(clusters, sparse),
        baseless(clusters, sparse),
        dangling(std::min(clusters + (1 << 20), most_growth), sparse),
        refcounts_(refcounts) {}

  void claimed_twice(std::uint64_t first, std::uint64_t count);
  void refcounts_differ(ClusterIndex first, std::uint64_t count, std::uint64_t references, RunRefcount run);

  static constexpr std::uint64_t most_growth = 1ULL << 32;  // clusters; no repair needs more room than this
  const image::Refcounts* refcounts_;
};

}  // namespace qd::check
