#include "repair/doubts.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/bits.h"
#include "check/claims.h"
#include "check/copies.h"

namespace qd::repair {

bool is_made_anew(check::OwnerKind kind) {
  return kind == check::OwnerKind::refcount_table || kind == check::OwnerKind::refcount_block;
}

bool Doubts::look() {
  l1_looks_.clear();
  l2_looks_.clear();
  contested_.clear();
  find_stray_l1_tables();
  if (!first_) look_first();
  return !view_.failed();
}

void Doubts::look_first() {
  first_.emplace();
  using enum check::Code;
  first_->refcounts_in_doubt = view_.count(refcount_low) > 0 || view_.refcounts_hidden();
  for (const check::Problem& row : check::problems()) {
    first_->hidden |=
        view_.count(row.code) > 0 && row.code != cluster_compressed_overlap && row.hides == check::Hidden::data;
  }
  const check::LeakDoubt& leaks = view_.result().leak_doubt;
  first_->looks_lost = leaks.lost_table || leaks.misplaced;
  // The header's l1_table_offset and snapshots_offset may be exchanged.
  const image::State* active = view_.state(check::active_state);
  if (active && l1_look(check::active_state).bad > 0) {
    const bool snapshots = image::snapshot_entries_at(view_.image(), active->l1_offset.value).count > 0;
    if (snapshots) first_->dubious.insert(check::active_state);
  }
  remember_disputes();
  remember_versions();
  remember_blocks();
}

// Finds L1 tables that nobody is known to own, so that an L1 entry can name one as its L2 table without a conflict:
// those of snapshots that say they have none, and, while snapshots can't be read, whatever reads as an L1 table. (An L2
// table may read so, too, if the guest keeps an image in its image: it waits for the snapshots then.)
void Doubts::find_stray_l1_tables() {
  stray_l1_.clear();
  if (!view_.image().geometry) return;
  for (const format::Snapshot& s : view_.image().snapshots.entries) {
    if (s.l1_size == 0) stray_l1_.insert(view_.geometry().cluster(s.l1_offset).value);
  }
  const image::State* active = view_.state(check::active_state);
  if (!active || all_snapshots_known()) return;
  BitSet seen(view_.image().clusters(), is_vast(view_.image().clusters(), view_.image().file().allocated_bytes()));
  auto looked = image::for_words(view_.image().file(), active->l1_offset, active->l1_size, [&](auto, auto words) {
    for (const std::uint64_t entry : words) {
      const HostOffset table(entry & format::offset_mask);
      const std::uint64_t cluster = view_.geometry().cluster(table).value;
      if (table.value == 0 || !image::possible_l1_entry(view_.image(), entry) || seen.test(cluster)) continue;
      seen.set(cluster);
      const auto leads = image::leads_to_tables(view_.image(), table);
      if (!leads) return view_.fail(leads.error()), false;
      if (*leads) stray_l1_.insert(cluster);
    }
    return true;
  });
  if (!looked) view_.fail(looked.error());
}

// Owners of disputed clusters other than L1 tables, added up by place: any number of snapshots may name one place.
class Doubts::Others {
 public:
  Others(const check::Report& result, const BitSet& disputed) {
    for (const check::Owner& o : result.owners) {
      if (o.kind == check::OwnerKind::l1_table || !disputed.test(o.cluster.value)) continue;
      Sum sum = sums_.empty() ? Sum{} : sums_.back();
      sum.cluster = o.cluster;
      ++(lasting(o.kind) ? sum.metadata : sum.other);
      sums_.push_back(sum);
    }
  }
  static bool lasting(check::OwnerKind kind) { return check::is_metadata(kind) && !is_made_anew(kind); }

  struct Sum {
    ClusterIndex cluster;
    std::uint64_t metadata = 0, other = 0;  // owners up to here
  };
  Sum within(ClusterIndex first, std::uint64_t clusters) const {
    const Sum from = before(first), to = before(first + clusters);
    return {first, to.metadata - from.metadata, to.other - from.other};
  }

 private:
  Sum before(ClusterIndex cluster) const {
    const auto next = std::ranges::lower_bound(sums_, cluster, {}, &Sum::cluster);
    return next == sums_.begin() ? Sum{} : *std::prev(next);
  }
  std::vector<Sum> sums_;
};

// If an L1 table lies on other metadata, one of the two at most is still there. If it lies on data or refcounts, and
// doesn't read like a table, it was overwritten. What such an L1 table names as L2 tables may be anything: the guest's
// data, for example.
void Doubts::remember_disputes() {
  if (!view_.result().claims || view_.claims().conflict.empty()) return;
  first_->claims = view_.result().claims;
  const BitSet& disputed = first_->claims->conflict;
  // The same goes for the snapshot table, and then for the L1 tables of all snapshots.
  const ClusterIndex table = view_.geometry().cluster(HostOffset(view_.image().header.snapshots_offset));
  bool lost_table = false;
  for (std::uint64_t i = 0; i < view_.geometry().clusters(view_.image().snapshots.bytes); ++i) {
    if (!was_disputed(table + i)) continue;
    for (const check::Owner& o : view_.result().owners_of(table + i)) {
      lost_table |= o.kind != check::OwnerKind::snapshot_table && Others::lasting(o.kind);
    }
  }
  const Others others(view_.result(), disputed);
  std::map<std::pair<HostOffset, std::uint32_t>, bool> doubtful;  // by place and size: snapshots may share a table
  for (const image::State& s : view_.result().states) {
    const auto [known, fresh] = doubtful.emplace(std::pair(s.l1_offset, s.l1_size), false);
    if (fresh) {
      const ClusterIndex first = view_.geometry().cluster(s.l1_offset);
      const std::uint64_t clusters = view_.geometry().clusters(std::uint64_t{s.l1_size} * sizeof(be64));
      const Others::Sum here = others.within(first, clusters);
      const auto next = disputed.next(first.value);
      const bool unknown = !view_.result().owners_complete && next && *next < first.value + clusters;
      known->second = here.metadata > 0 || ((here.other > 0 || unknown) && l1_look(s.snapshot).bad > 0);
    }
    if (known->second || (lost_table && s.snapshot >= 0)) first_->dubious.insert(s.snapshot);
  }
}

// Finds L2 tables of different L1 entries that name one cluster at the same L2 index, while its refcount, if it is
// known, counts them all. These tables are states' versions of one, and a garbled or exchanged L1 entry names one of
// them. Nothing tells which one.
void Doubts::remember_versions() {
  const bool others = view_.result().states.size() > 1 || !all_snapshots_known(), hidden = view_.refcounts_hidden();
  if (!others || force_ || !view_.result().disk_refcounts) return;
  std::map<std::pair<std::int32_t, std::uint32_t>, std::optional<HostOffset>> tables;  // by state and L1 index
  const auto table_of = [&](const check::Owner& o) {
    const auto [known, fresh] = tables.try_emplace({o.state, o.l1_index});
    if (fresh) known->second = l2_table(o.state, o.l1_index);
    return known->second;
  };
  struct Place {  // an L2 index, and who names the cluster there
    std::set<std::uint32_t> l1_indices;
    std::set<HostOffset> tables;
  };
  for (auto next = view_.result().owners.begin(); next != view_.result().owners.end();) {
    const ClusterIndex cluster = next->cluster;
    const bool known = view_.refcounts().readable(cluster) && !hidden;
    const bool too_low = known && view_.refcounts().get(cluster) < view_.result().references(cluster);
    std::unordered_map<std::uint32_t, Place> places;
    for (; next != view_.result().owners.end() && next->cluster == cluster; ++next) {
      if (too_low || next->kind != check::OwnerKind::data) continue;
      const auto table = table_of(*next);
      if (!table) continue;
      Place& place = places[next->l2_index];
      place.l1_indices.insert(next->l1_index);
      place.tables.insert(*table);
    }
    for (const auto& [index, place] : places) {
      if (place.l1_indices.size() < 2 || place.tables.size() < 2) continue;
      for (const HostOffset table : place.tables) first_->versions.insert(view_.geometry().cluster(table).value);
    }
  }
}

// The plan moves clusters, and so changes what a block should say: its content is judged before. If nothing puts the
// refcount table in doubt, nobody asks for that.
void Doubts::remember_blocks() {
  const bool doubted = first_->refcounts_in_doubt || first_->hidden;
  if (!view_.result().claims || (!doubted && view_.claims().conflict.empty())) return;
  std::size_t left = 1024;  // entries: even a small file may have very many
  const auto& entries = view_.refcounts().entries();
  for (std::uint64_t b = 0; b < entries.size() && left > 0; ++b) {
    if (!entries[b].block) continue;
    --left;
    if (reads_as_block(b)) first_->blocks.insert(b);
  }
}

bool Doubts::all_snapshots_known() const {
  const bool counted = view_.image().header.nb_snapshots > 0 || view_.image().header.snapshots_offset == 0;
  return counted && !check::snapshots_unread(view_.result());
}

// Each state may have lost one; so may snapshots that the header doesn't count, or that can't be read.
std::uint64_t Doubts::references_lost_at_most() const {
  constexpr std::uint64_t uncounted = 64;
  return view_.result().states.size() + (all_snapshots_known() ? 0 : uncounted);
}

bool Doubts::reads_as_block(std::uint64_t b) const {
  if (first_->blocks.contains(b)) return true;
  const auto& entries = view_.refcounts().entries();
  return b < entries.size() && entries[b].block &&
         check::reads_as_refcount_block(view_.image(), view_.result(), b, *entries[b].block, references_lost_at_most());
}

bool Doubts::reads_as_none(std::uint64_t b) const {
  return !first_->blocks.contains(b) &&
         check::reads_as_none(view_.image(), view_.result(), b, *view_.refcounts().entries()[b].block,
                              references_lost_at_most());
}

bool Doubts::was_disputed(ClusterIndex cluster) const {
  return first_->claims && cluster.value < first_->claims->clusters() && first_->claims->conflict.test(cluster.value);
}

std::optional<HostOffset> Doubts::l2_table(std::int32_t snapshot, std::uint32_t l1_index) {
  if (dubious(snapshot)) return std::nullopt;
  const auto at = view_.l1_entry(snapshot, l1_index);
  if (!at) return std::nullopt;
  const HostOffset table(view_.read64(*at) & format::offset_mask);
  return image::possible_place(view_.image(), table) ? std::optional(table) : std::nullopt;
}

const image::TableLook& Doubts::l1_look(std::int32_t snapshot) {
  const auto [known, fresh] = l1_looks_.try_emplace(snapshot);
  if (const image::State* s = view_.state(snapshot); fresh && s) {
    known->second =
        image::look_at_l1(view_.image(), view_.read_words(s->l1_offset, std::uint64_t{s->l1_size} * sizeof(be64)));
  }
  return known->second;
}

const image::TableLook& Doubts::l2_look(HostOffset table) {
  const auto [known, fresh] = l2_looks_.try_emplace(table);
  if (fresh) known->second = image::look_at_l2(view_.image(), view_.read_words(table, view_.geometry().cluster_size()));
  return known->second;
}

bool Doubts::credible(const check::Owner& o) {
  if (o.kind == check::OwnerKind::l2_table) {
    const image::TableLook& look = l2_look(view_.geometry().offset(o.cluster));
    // A refcount table reads as an L2 table without COPIED, and so does a block of the widest refcounts.
    const bool refcounts = std::ranges::any_of(view_.result().owners_of(o.cluster),
                                               [](const check::Owner& other) { return is_made_anew(other.kind); });
    if ((o.raw & format::l1_reserved_mask) != 0 || !look.speaks_for_itself()) return false;
    return (look.copied > 0 || !refcounts) && !named_elsewhere(o);
  }
  if (check::is_metadata(o.kind)) return true;
  if (!(o.raw & format::compressed_flag) && (o.raw & format::l2_reserved_mask) != 0) return false;
  const auto table = l2_table(o.state, o.l1_index);
  return table && undisputed(*table) && l2_look(*table).is_table();
}

bool Doubts::named_elsewhere(const check::Owner& table) const {
  return may_be_anothers(view_.geometry().offset(table.cluster)) &&
         std::ranges::any_of(view_.result().owners_of(table.cluster), [&](const check::Owner& other) {
           return other.kind == table.kind && other.l1_index != table.l1_index;
         });
}

bool Doubts::contested(HostOffset cluster) {
  if (undisputed(cluster)) return false;
  const auto [known, fresh] = contested_.try_emplace(view_.geometry().cluster(cluster).value);
  if (!fresh) return known->second;
  std::size_t credible_ones = 0;
  const auto owners = view_.result().owners_of(view_.geometry().cluster(cluster));
  for (const check::Owner& o : owners) credible_ones += credible(o);
  return known->second = credible_ones > 1 || owners.empty();
}

bool Doubts::undisputed(HostOffset offset) const {
  const std::uint64_t cluster = view_.geometry().cluster(offset).value;
  return offset.value < view_.image().size() && !view_.claims().conflict.test(cluster) &&
         !stray_l1_.contains(cluster) && !may_be_anothers(offset);
}

}  // namespace qd::repair
