// Refcounts, and the blocks and the table that hold them.
//
//   1. Each refcount block is judged (old_refcounts.h): sound ones are changed in place, the others, and those that
//      are missing although their clusters are in use, are made anew; so is the table if it can't stay what and where
//      it is.
//   2. New blocks and a new table get room behind everything else. They need refcounts too, which may need another
//      block, so this goes round until nothing is missing.
//   3. All blocks are computed, in parallel, and planned in the order of the file. Refcounts that rise are written
//      before anything points to their clusters, those that fall are written after: a loss of power in between leaves
//      leaks.
//
// A refcount is raised to the number of references (error, reuse). It is lowered only where leaks may be freed, or
// where the repair itself has made the cluster unused; and by as many references as an edit has taken away. A block
// that is made anew, or reads as all zeros, says nothing about clusters without a known reference. Those that hold
// something are marked as used, since a lost table's data looks like that. A later round frees them again if nothing
// speaks against it. In an image without any problem, data without a block is just old.
#include <fmt/core.h>
#include <oneapi/tbb/parallel_for.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "base/checked.h"
#include "base/uniform.h"
#include "check/claims.h"
#include "check/copies.h"
#include "repair/old_refcounts.h"
#include "repair/steps.h"

namespace qd::repair {
namespace {

using check::Code;

// The same change of the refcounts of clusters in a row.
struct Change {
  Code reason{};
  bool lossy = false;
  std::uint64_t first = 0, count = 0;
  std::uint64_t before = 0, after = 0;
};

// One refcount block as it will be.
struct MendedBlock {
  std::uint64_t index = 0;
  std::vector<std::byte> risen, final;  // risen: with values that rise, without those that fall; only in place
  std::vector<Change> changes;          // in place
  std::uint64_t used = 0;               // made anew: clusters in use
};

struct NewBlocks {
  Code reason{};
  std::uint64_t first = 0, count = 0;
  HostOffset at;
  std::uint64_t used = 0;
};

class RefcountMender {
 public:
  explicit RefcountMender(Work& w);
  void mend();

 private:
  bool block_needed(std::uint64_t b) const;
  bool block_differs(std::uint64_t b) const;
  std::uint64_t next_block(std::uint64_t b) const;
  void judge_blocks();
  void retire_block(std::uint64_t b);
  void replace(std::uint64_t b);
  bool make_room();
  void retire(HostOffset at, std::uint64_t bytes, bool proven);

  std::uint64_t references(std::uint64_t cluster) const;
  std::uint64_t mended(std::uint64_t cluster, std::uint64_t before) const;
  std::uint64_t kept(std::uint64_t cluster, std::uint64_t before) const;
  void note(MendedBlock& into, std::uint64_t cluster, std::uint64_t before, std::uint64_t after) const;
  void mend_block(std::uint64_t b, MendedBlock& into) const;
  bool known(std::uint64_t cluster) const;
  bool holds_something(std::uint64_t cluster, std::uint64_t& data) const;
  bool holds_orphans(std::uint64_t b) const;
  std::uint64_t next_entry(std::uint64_t b, std::uint64_t from, const image::RefcountBlock* old,
                           std::uint64_t& data) const;
  void make_block(std::uint64_t b, MendedBlock& into) const;
  Code reason_to_renew(std::uint64_t b);
  void note_new_block(const MendedBlock& block);
  void finish_new_blocks();
  void plan_block(MendedBlock&& block);
  void plan_table();

  Work& w_;
  const format::Geometry& g_;
  const image::Refcounts& refcounts_;
  const check::Claims& claims_;
  OldRefcounts old_;
  const bool raise_, lower_, keep_orphans_;
  std::uint64_t end_;                            // behind the last cluster that has a refcount to be looked at
  std::map<std::uint64_t, HostOffset> renewed_;  // block -> its new place
  std::set<std::uint64_t> to_renew_, in_place_, to_drop_;
  bool renew_table_ = false;
  HostOffset new_table_;
  std::uint64_t new_table_clusters_ = 0;
  std::optional<NewBlocks> new_blocks_;  // not yet an action
  std::set<std::uint64_t> fresh_;        // clusters for new blocks and the new table
  // cluster -> references that go with the old table or a block: retired_ if it was one, dropped_ if its entry may have
  // named somebody else's cluster
  std::map<std::uint64_t, std::uint64_t> retired_, dropped_;
};

RefcountMender::RefcountMender(Work& w)
    : w_(w),
      g_(w.view.geometry()),
      refcounts_(w.view.refcounts()),
      claims_(w.view.claims()),
      old_(w),
      raise_(w.wanted.error || w.wanted.reuse),
      lower_(w.leaks.may_free()),
      keep_orphans_(!(w.wanted.force && w.wanted.leak) && w.view.result().status() != check::Status::good),
      end_(w.view.image().clusters()) {
  while (end_ < claims_.clusters() && (claims_.owned.test(end_) || claims_.counted(end_))) ++end_;
}

bool any_in_use(const check::Claims& claims, std::uint64_t first, std::uint64_t end) {
  end = std::min(end, claims.clusters());
  if (first >= end) return false;
  return claims.owned.any(first, end - first) || claims.compressed.any(first, end - first) ||
         claims.suspect.any(first, end - first);
}

bool RefcountMender::block_needed(std::uint64_t b) const {
  const std::uint64_t first = b * refcounts_.block_entries(), end = first + refcounts_.block_entries();
  const auto fresh = fresh_.lower_bound(first);
  return any_in_use(claims_, first, end) || (fresh != fresh_.end() && *fresh < end);
}

// Can any refcount of the block change? A look at 64 clusters a step.
bool RefcountMender::block_differs(std::uint64_t b) const {
  if (old_.unproven(b)) return false;
  const std::uint64_t first = b * refcounts_.block_entries();
  const image::RefcountBlock& block = *refcounts_.entries()[b].block;
  for (std::uint64_t word = 0; word * 64 < refcounts_.block_entries(); ++word) {
    const std::uint64_t cluster = first + word * 64;
    const bool known = cluster < claims_.clusters();
    const std::uint64_t used = known ? claims_.owned.word(cluster / 64) : 0;
    const std::uint64_t counted =
        known ? claims_.suspect.word(cluster / 64) | claims_.compressed.word(cluster / 64) : 0;
    if (counted != 0 || (block.nonzero(word) & ~used) != 0) return true;
  }
  const auto fresh = fresh_.lower_bound(first);
  if (fresh != fresh_.end() && *fresh < first + refcounts_.block_entries()) return true;
  const auto retired = retired_.lower_bound(first);
  return retired != retired_.end() && retired->first < first + refcounts_.block_entries();
}

// May there be data without a reference in the range of a block that can't be trusted?
bool RefcountMender::holds_orphans(std::uint64_t b) const {
  std::uint64_t data = 0;
  for (std::uint64_t i = 0; i < refcounts_.block_entries(); ++i) {
    const std::uint64_t cluster = b * refcounts_.block_entries() + i;
    if (cluster >= w_.view.image().clusters()) return false;
    if (holds_something(cluster, data)) return true;
  }
  return false;
}

void RefcountMender::retire(HostOffset at, std::uint64_t bytes, bool proven) {
  auto& gone = proven ? retired_ : dropped_;
  for (std::uint64_t c = 0; c < g_.clusters(bytes); ++c) ++gone[g_.cluster(at).value + c];
}

// The refcount table doesn't name the block any more, so the reference to its cluster goes. But a garbled entry has
// named somebody else's cluster, whose refcount may count what is lost.
void RefcountMender::retire_block(std::uint64_t b) {
  if (b >= refcounts_.entries().size() || !refcounts_.entry_in_order(b, w_.view.image().size())) return;
  const image::RefcountBlock* block = refcounts_.entries()[b].block;
  retire(old_.block_at(b), g_.cluster_size(),
         w_.doubts.reads_as_block(b) || (block && block->all_zero() && w_.doubts.undisputed(old_.block_at(b))));
}

void RefcountMender::replace(std::uint64_t b) {
  to_renew_.insert(b);
  retire_block(b);
}

// The next block that exists or may be needed: a vast file has next to none of the blocks that its length has room for.
std::uint64_t RefcountMender::next_block(std::uint64_t b) const {
  if (b < refcounts_.entries().size()) return b;
  const std::uint64_t first = b * refcounts_.block_entries(), none = ~std::uint64_t{0};
  if (first >= end_) return none;
  std::uint64_t next = end_;
  for (const BitSet* set : {&claims_.owned, &claims_.suspect, &claims_.compressed}) {
    next = std::min(next, set->next(first).value_or(next));
  }
  if (keep_orphans_)
    next = std::min(next, w_.view.image().file().next_data(first << g_.cluster_bits) >> g_.cluster_bits);
  return next == end_ ? none : next / refcounts_.block_entries();
}

void RefcountMender::judge_blocks() {
  const auto& entries = refcounts_.entries();
  const std::uint64_t blocks = std::max<std::uint64_t>(entries.size(), divide_up(end_, refcounts_.block_entries()));
  renew_table_ = raise_ && !old_.table_sound();
  for (std::uint64_t b = next_block(0); b < blocks; b = next_block(b + 1)) {
    if (old_.block_sound(b, !renew_table_, block_needed(b))) {
      in_place_.insert(b);
    } else if (raise_ && (block_needed(b) || (keep_orphans_ && holds_orphans(b)))) {
      replace(b);
    } else if (raise_ && b < entries.size() && entries[b].raw != 0) {
      to_drop_.insert(b);
      retire_block(b);
    }
  }
  if (to_renew_.empty() && to_drop_.empty()) return;
  const std::uint64_t room = refcounts_.table_bytes() / sizeof(be64);
  if (!to_renew_.empty() && *to_renew_.rbegin() >= room) renew_table_ = true;
}

// Room for all that is made anew. Returns false if there is none.
bool RefcountMender::make_room() {
  std::set<std::uint64_t> homeless;  // blocks
  std::ranges::copy_if(to_renew_, std::inserter(homeless, homeless.end()),
                       [&](std::uint64_t b) { return !renewed_.contains(b); });
  const auto take = [&](std::uint64_t clusters) {
    const auto at = w_.editor.allocate(clusters);
    for (std::uint64_t c = 0; at && c < clusters; ++c) {
      const std::uint64_t cluster = g_.cluster(*at).value + c;
      fresh_.insert(cluster);
      const std::uint64_t b = cluster / refcounts_.block_entries();
      if (in_place_.contains(b)) continue;
      if (to_renew_.insert(b).second) homeless.insert(b);
      to_drop_.erase(b);
    }
    return at;
  };
  for (;;) {
    const std::uint64_t last =
        std::max(to_renew_.empty() ? 0 : *to_renew_.rbegin(), in_place_.empty() ? 0 : *in_place_.rbegin());
    if (!homeless.empty() && (last + 1) * sizeof(be64) <= format::max_reftable_bytes) {
      const std::uint64_t b = *homeless.begin();
      const auto at = take(1);
      if (!at) return false;
      renewed_[b] = *at;
      homeless.erase(b);
      continue;
    }
    const std::uint64_t room = renew_table_ ? (new_table_clusters_ << g_.cluster_bits) / sizeof(be64)
                                            : refcounts_.table_bytes() / sizeof(be64);
    if (last < room) return true;
    // The new table gets some more entries than it needs: its own clusters may need a block, too. If even that was too
    // little, the next one is larger, and the room of this one stays unused.
    renew_table_ = true;
    for (std::uint64_t c = 0; c < new_table_clusters_; ++c) fresh_.erase(g_.cluster(new_table_).value + c);
    new_table_clusters_ = g_.clusters((last + 8 + last / 64) * sizeof(be64));
    if (new_table_clusters_ << g_.cluster_bits > format::max_reftable_bytes) {
      w_.view.fail(
          {EFBIG, fmt::format("a refcount table for {} clusters would be larger than the {} bytes that are possible; "
                              "nothing was changed",
                              end_, format::max_reftable_bytes)});
      return false;
    }
    const auto at = take(new_table_clusters_);
    if (!at) return false;
    new_table_ = *at;
  }
}

std::uint64_t RefcountMender::references(std::uint64_t cluster) const {
  if (!fresh_.empty() && cluster >= *fresh_.begin() && fresh_.contains(cluster)) return 1;
  std::uint64_t n = w_.view.result().references(ClusterIndex(cluster));
  for (const auto* all : {&retired_, &dropped_}) {
    if (const auto gone = all->find(cluster); gone != all->end()) n -= std::min(n, gone->second);
  }
  return std::min(n, g_.refcount_max());
}

// What a refcount becomes in a block that keeps its place. `before` is what it holds.
std::uint64_t RefcountMender::mended(std::uint64_t cluster, std::uint64_t before) const {
  const std::uint64_t wanted = references(cluster);
  if (wanted > before) return raise_ ? wanted : before;
  return lower_ && !dropped_.contains(cluster) ? wanted : kept(cluster, before);
}

// All of `before` but what the plan has taken away.
std::uint64_t RefcountMender::kept(std::uint64_t cluster, std::uint64_t before) const {
  const auto retired = retired_.find(cluster);
  const std::uint64_t gone = w_.leaks.released(cluster) + (retired == retired_.end() ? 0 : retired->second) +
                             w_.leaks.let_go(ClusterIndex(cluster));
  return std::max(references(cluster), before - std::min(before, gone));
}

void RefcountMender::note(MendedBlock& into, std::uint64_t cluster, std::uint64_t before, std::uint64_t after) const {
  const bool behind = cluster >= w_.view.image().clusters();
  const Code reason = after > before ? Code::refcount_low : behind ? Code::refcount_past_end : Code::refcount_leak;
  const bool lossy = after == 0 && !behind && w_.view.result().leak_doubt.forbids_freeing() &&
                     !w_.leaks.released(cluster) && !retired_.contains(cluster) &&
                     w_.leaks.let_go(ClusterIndex(cluster)) < before;
  if (!into.changes.empty()) {
    Change& last = into.changes.back();
    if (last.first + last.count == cluster && last.before == before && last.after == after && last.lossy == lossy &&
        last.reason == reason) {
      ++last.count;
      return;
    }
  }
  into.changes.push_back({reason, lossy, cluster, 1, before, after});
}

void RefcountMender::mend_block(std::uint64_t b, MendedBlock& into) const {
  const std::uint64_t entries = refcounts_.block_entries(), first = b * entries;
  const image::RefcountBlock& block = *refcounts_.entries()[b].block;
  into.index = b;
  into.risen.resize(g_.cluster_size());
  for (std::uint64_t i = 0; i < entries; ++i) image::set_refcount_entry(into.risen, i, g_.refcount_order, block.get(i));
  into.final = into.risen;
  const bool lost = raise_ && keep_orphans_ && block.all_zero();
  std::uint64_t data = 0;
  for (std::uint64_t i = 0; i < entries; ++i) {
    const std::uint64_t before = block.get(i);
    std::uint64_t after = mended(first + i, before);
    if (lost && after == 0 && !known(first + i)) after = holds_something(first + i, data);
    if (before == after) continue;
    note(into, first + i, before, after);
    image::set_refcount_entry(into.final, i, g_.refcount_order, after);
    if (after > before) image::set_refcount_entry(into.risen, i, g_.refcount_order, after);
  }
}

// Is it known what was there? It has moved, or went on purpose.
bool RefcountMender::known(std::uint64_t cluster) const {
  return retired_.contains(cluster) || w_.leaks.released(cluster) > 0 || w_.leaks.let_go(ClusterIndex(cluster)) > 0;
}

// Does the file hold anything in this cluster but zeros or old refcounts? `data`: where the file's stored bytes go on,
// as far as it is known; kept between calls.
bool RefcountMender::holds_something(std::uint64_t cluster, std::uint64_t& data) const {
  const File& file = w_.view.image().file();
  const std::uint64_t at = cluster << g_.cluster_bits;
  if (at >= file.size()) return false;
  if (data < at) data = file.next_data(at);
  if (data >= at + g_.cluster_size()) return false;
  thread_local std::vector<std::byte> bytes;
  bytes.resize(g_.cluster_size());
  if (!file.read(at, bytes)) return true;
  if (all_zero(bytes)) return false;
  return !check::reads_as_refcount_block(w_.view.image(), w_.view.result(), cluster / refcounts_.block_entries(),
                                         bytes);
}

// The next entry of the block, from `from` on, whose cluster may be counted: somebody has it, or it holds something, or
// the old block counts it. A block that is made anew for a vast file has few of these; so they are looked for 64 at a
// time.
std::uint64_t RefcountMender::next_entry(std::uint64_t b, std::uint64_t from, const image::RefcountBlock* old,
                                         std::uint64_t& data) const {
  const std::uint64_t entries = refcounts_.block_entries(), first = b * entries, start = first + from;
  std::uint64_t next = first + entries;
  for (const BitSet* set : {&claims_.owned, &claims_.suspect, &claims_.compressed}) {
    next = std::min(next, set->next(start).value_or(next));
  }
  if (const auto fresh = fresh_.lower_bound(start); fresh != fresh_.end()) next = std::min(next, *fresh);
  if (keep_orphans_ && start < next && start < w_.view.image().clusters()) {
    const std::uint64_t at = start << g_.cluster_bits;
    if (data < at) data = w_.view.image().file().next_data(at);
    next = std::min(next, data >> g_.cluster_bits);
  }
  std::uint64_t i = from;
  while (old && i < entries && first + i < next && old->nonzero(i / 64) == 0) i = (i / 64 + 1) * 64;
  return old && i < entries ? std::min(next - first, i) : next - first;
}

// Makes a block anew. The values of the old one count if it is proven to be one. If not, the references count; but
// where the old one counts a few more of a cluster in use than are known, and no more than may be lost, it is believed:
// a part of it may be whole. In the new block these are leaks like any others.
void RefcountMender::make_block(std::uint64_t b, MendedBlock& into) const {
  const std::uint64_t entries = refcounts_.block_entries(), first = b * entries;
  const image::RefcountBlock* old = b < refcounts_.entries().size() ? refcounts_.entries()[b].block : nullptr;
  const bool proven = w_.doubts.reads_as_block(b);
  std::uint64_t data = 0;
  into.index = b;
  into.final.resize(g_.cluster_size());
  for (std::uint64_t i = next_entry(b, 0, old, data); i < entries; ++i) {
    if (i % 64 == 0 && (i = next_entry(b, i, old, data)) >= entries) break;
    const std::uint64_t before = old ? old->get(i) : 0;
    std::uint64_t value = references(first + i);
    if (proven) {
      value = mended(first + i, before);
    } else if (value > 0 && before > value && before - value <= w_.doubts.references_lost_at_most()) {
      value = kept(first + i, before);
    }
    if (value == 0 && keep_orphans_ && !known(first + i)) value = holds_something(first + i, data);
    into.used += value != 0;
    image::set_refcount_entry(into.final, i, g_.refcount_order, value);
  }
}

// Blocks in a row, for the same reason, are one action.
void RefcountMender::note_new_block(const MendedBlock& block) {
  const HostOffset at = renewed_.at(block.index);
  const Code reason = reason_to_renew(block.index);
  const bool follows = new_blocks_ && new_blocks_->reason == reason &&
                       new_blocks_->first + new_blocks_->count == block.index &&
                       new_blocks_->at + (new_blocks_->count << g_.cluster_bits) == at;
  if (!follows) {
    finish_new_blocks();
    new_blocks_ = NewBlocks{reason, block.index, 0, at, 0};
  }
  ++new_blocks_->count;
  new_blocks_->used += block.used;
}

void RefcountMender::finish_new_blocks() {
  if (!new_blocks_) return;
  const auto [reason, first, count, at, used] = *std::exchange(new_blocks_, std::nullopt);
  w_.editor.act({reason, false, at, count << g_.cluster_bits,
                 count == 1 ? fmt::format("refcount block {} made anew: {} clusters in use", first, used)
                            : fmt::format("refcount blocks {} to {} made anew: {} clusters in use", first,
                                          first + count - 1, used),
                 "", ""});
}

void sum_up(const Change& change, RefcountSums& sums) {
  (change.after > change.before ? sums.raised : sums.lowered) += change.count;
  if (change.after == 0) (change.lossy ? sums.lossy : sums.freed) += change.count;
}

void RefcountMender::plan_block(MendedBlock&& block) {
  if (const auto place = renewed_.find(block.index); place != renewed_.end()) {
    w_.editor.write(Stage::fresh, place->second, block.final);
    return note_new_block(block);
  }
  finish_new_blocks();
  const HostOffset at = old_.block_at(block.index);
  const auto falls = [](const Change& c) { return c.after < c.before; };
  const bool any_fall = std::ranges::any_of(block.changes, falls);
  if (!std::ranges::all_of(block.changes, falls)) w_.editor.write(Stage::claim, at, block.risen);
  if (any_fall) w_.editor.write(Stage::release, at, block.final);
  for (const Change& c : block.changes) {
    if (w_.editor.sums()) {
      sum_up(c, *w_.editor.sums());
      continue;
    }
    const std::uint64_t bit = (c.first % refcounts_.block_entries()) << g_.refcount_order;
    const std::uint64_t bits = c.count << g_.refcount_order;
    const HostOffset cluster = g_.offset(ClusterIndex(c.first));
    w_.editor.act({c.reason, c.lossy, at + bit / 8, divide_up(bit % 8 + bits, 8),
                   c.count == 1 ? fmt::format("refcount of cluster {} at 0x{:x}: {} -> {}", c.first, cluster.value,
                                              c.before, c.after)
                                : fmt::format("refcounts of {} clusters from {} at 0x{:x} on: {} -> {}", c.count,
                                              c.first, cluster.value, c.before, c.after),
                   fmt::format("{:x}", c.before), fmt::format("{:x}", c.after)});
  }
}

Code RefcountMender::reason_to_renew(std::uint64_t b) {
  const auto& entries = refcounts_.entries();
  if (b >= entries.size() || entries[b].raw == 0) return Code::refcount_low;
  if (entries[b].raw & format::reftable_reserved_mask) return Code::reftable_reserved;
  if (entries[b].state == image::BlockState::unaligned) return Code::reftable_unaligned;
  if (old_.block_at(b).value >= w_.view.image().size()) return Code::reftable_past_end;
  if (entries[b].garbage || (renew_table_ && !w_.doubts.reads_as_block(b))) return Code::refblock_garbage;
  return old_.still_a_block(b) ? Code::refblock_truncated : Code::reftable_shared;
}

void RefcountMender::plan_table() {
  const auto& entries = refcounts_.entries();
  const HostOffset old_table = refcounts_.table_offset();
  if (!renew_table_) {
    if (renewed_.size() == 1) {
      const auto [b, place] = *renewed_.begin();
      w_.editor.put64(Stage::point, old_table + b * sizeof(be64), place.value, reason_to_renew(b),
                      fmt::format("refcount table entry {} leads to the new block", b));
    } else if (!renewed_.empty()) {
      for (const auto& [b, place] : renewed_)
        w_.editor.write64(Stage::point, old_table + b * sizeof(be64), place.value);
      const std::uint64_t first = renewed_.begin()->first, last = renewed_.rbegin()->first;
      w_.editor.act(
          {reason_to_renew(first), false, old_table + first * sizeof(be64), (last - first + 1) * sizeof(be64),
           fmt::format("{} refcount table entries from {} to {} lead to the new blocks", renewed_.size(), first, last),
           "", ""});
    }
    for (const std::uint64_t b : to_drop_) {
      w_.editor.put64(Stage::point, old_table + b * sizeof(be64), 0, reason_to_renew(b),
                      fmt::format("refcount table entry {} emptied: no cluster of its range is in use", b));
    }
    return;
  }
  std::vector<be64> table((new_table_clusters_ << g_.cluster_bits) / sizeof(be64));
  for (const std::uint64_t b : in_place_) table[b].set(entries[b].raw);
  for (const auto& [b, place] : renewed_) table[b].set(place.value);
  w_.editor.write(Stage::fresh, new_table_, std::as_bytes(std::span(table)));

  struct {
    be64 offset;
    be32 clusters;
  } const field{be64(new_table_.value), be32(static_cast<std::uint32_t>(new_table_clusters_))};
  constexpr HostOffset place = format::field::refcount_table_offset.at();
  static_assert(sizeof field == format::field::refcount_table_clusters.end() - place);
  const format::Header& h = w_.view.image().header;
  w_.editor.write(Stage::point, place, std::as_bytes(std::span(&field, 1)));
  w_.editor.act({w_.view.count(Code::header_refcount_table) > 0 ? Code::header_refcount_table : Code::refcount_low,
                 false, place, sizeof field,
                 fmt::format("refcount table made anew at 0x{:x}, {} clusters", new_table_.value, new_table_clusters_),
                 fmt::format("{:016x}{:08x}", h.refcount_table_offset, h.refcount_table_clusters),
                 fmt::format("{:016x}{:08x}", new_table_.value, new_table_clusters_)});
}

void RefcountMender::mend() {
  judge_blocks();
  if (!make_room()) return;
  for (std::uint64_t c = 0;
       renew_table_ && refcounts_.table_in_order(w_.view.image()) && c < g_.clusters(refcounts_.table_bytes()); ++c) {
    retire(refcounts_.table_offset() + (c << g_.cluster_bits), g_.cluster_size(), old_.reads_as_table(c));
  }

  std::vector<std::uint64_t> blocks(to_renew_.begin(), to_renew_.end());
  std::ranges::copy_if(in_place_, std::back_inserter(blocks), [&](std::uint64_t b) { return block_differs(b); });
  std::ranges::sort(blocks);
  std::size_t next = 0;
  constexpr std::size_t at_once = 64;  // blocks in memory
  while (next < blocks.size() && !w_.view.failed()) {
    std::vector<MendedBlock> done(std::min(at_once, blocks.size() - next));
    tbb::parallel_for(std::size_t{0}, done.size(), [&](std::size_t i) {
      const std::uint64_t b = blocks[next + i];
      renewed_.contains(b) ? make_block(b, done[i]) : mend_block(b, done[i]);
    });
    for (MendedBlock& block : done) plan_block(std::move(block));
    next += done.size();
  }
  finish_new_blocks();
  plan_table();
}

}  // namespace

void mend_refcounts(Work& w) {
  if (!w.view.image().refcounts_readable || w.view.failed()) return;
  RefcountMender(w).mend();
  w.leaks.let_go_no_more();  // what was let go is gone now
}

}  // namespace qd::repair
