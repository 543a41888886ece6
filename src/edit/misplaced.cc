// Looks at each cluster with several owners of which some are dropped and some entries stay. Is the entry that stays
// wrong?
//   - An owner that is dropped is metadata: yes, since no entry is meant to name metadata.
//   - An owner that is dropped is an entry, too: the one that doesn't fit its neighbours is wrong. If both fit or
//     neither does, it may be either.
#include "edit/misplaced.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <utility>

#include "check/claims.h"

namespace qd::edit {
namespace {

using repair::Work;

// Owners of the same Share may have a cluster in common. Either they are the same guest cluster (its L1 and L2 index)
// in several states; or they are compressed (nothing), since one cluster holds several pieces of compressed data.
using Share = std::optional<std::pair<std::uint32_t, std::uint32_t>>;
Share share_of(const check::Owner& entry) {
  if (entry.kind == check::OwnerKind::compressed) return std::nullopt;
  return std::pair(entry.l1_index, entry.l2_index);
}

// The owners of one cluster that are dropped.
struct Rivals {
  bool metadata = false;
  std::set<Share> entries, fitting;  // fitting: those that fit their neighbours

  static bool beside(const std::set<Share>& rivals, const check::Owner& entry) {
    return rivals.size() > rivals.count(share_of(entry));
  }
  bool dispute(const check::Owner& entry) const { return metadata || beside(entries, entry); }
  bool fit(const check::Owner& entry) const { return beside(fitting, entry); }
};

class Search {
 public:
  Search(Work& w, std::int32_t applied, bool new_snapshot_table)
      : w_(w), applied_(applied), new_snapshot_table_(new_snapshot_table) {}
  Misplaced run();

 private:
  bool snapshot_has(const check::Owner& owner);
  bool goes(const check::Owner& owner);
  bool in_sequence(const check::Owner& entry);
  void look_at(std::span<const check::Owner> owners);

  Work& w_;
  const std::int32_t applied_;
  const bool new_snapshot_table_;
  Misplaced found_;
  std::map<std::uint32_t, bool> shared_;  // by L1 index: does a snapshot have the active L2 table, too?
};

// Does some snapshot have this L2 table, or the L2 table that this entry is in?
bool Search::snapshot_has(const check::Owner& owner) {
  if (owner.state != check::active_state) return true;
  const auto [known, fresh] = shared_.try_emplace(owner.l1_index, false);
  const auto table = fresh ? w_.doubts.l2_table(check::active_state, owner.l1_index) : std::nullopt;
  if (table) {
    known->second = std::ranges::any_of(w_.view.result().states, [&](const image::State& s) {
      return s.snapshot >= 0 && w_.doubts.l2_table(s.snapshot, owner.l1_index) == table;
    });
  }
  return known->second;
}

bool Search::goes(const check::Owner& owner) {
  using enum check::OwnerKind;
  switch (owner.kind) {
    case l1_table:
      return owner.state == check::active_state;
    case l2_table:
    case data:
    case compressed:
      return !snapshot_has(owner);
    case snapshot_table:
      return new_snapshot_table_;
    default:
      return owner.kind == bitmap_table || owner.kind == bitmap_data;
  }
}

// Does the entry name the place just behind that of the entry before it? Or does the next entry name the place just
// behind its own?
bool Search::in_sequence(const check::Owner& entry) {
  const format::Geometry& g = w_.view.geometry();
  const auto table = w_.doubts.l2_table(entry.state, entry.l1_index);
  if (!table) return false;
  const bool packed = entry.kind == check::OwnerKind::compressed;
  const auto at = [&](std::uint64_t index) -> std::uint64_t {
    const std::uint64_t raw = index < g.l2_entries() ? w_.view.read64(w_.view.l2_entry(*table, index)) : 0;
    if ((format::cluster_type(g, raw) == format::ClusterType::compressed) != packed) return 0;
    return packed ? g.compressed(raw).offset.value : raw & format::offset_mask;
  };
  // Compressed data takes up to a cluster.
  const auto follows = [&](std::uint64_t first, std::uint64_t next) {
    return first != 0 && next > first && next - first <= g.cluster_size();
  };
  const std::uint64_t here = at(entry.l2_index);
  return follows(here, at(std::uint64_t{entry.l2_index} + 1)) ||
         (entry.l2_index > 0 && follows(at(entry.l2_index - 1), here));
}

// The owners of one cluster.
void Search::look_at(std::span<const check::Owner> owners) {
  Rivals rivals;
  for (const check::Owner& o : owners) {
    if (!goes(o)) continue;
    if (check::is_metadata(o.kind)) {
      rivals.metadata = true;
    } else {
      rivals.entries.insert(share_of(o));
      if (in_sequence(o)) rivals.fitting.insert(share_of(o));
    }
  }
  for (const check::Owner& o : owners) {
    if (check::is_metadata(o.kind) || goes(o) || !rivals.dispute(o)) continue;
    const bool fits = in_sequence(o), rival_fits = rivals.fit(o);
    const bool garbled = rivals.metadata || (!fits && rival_fits), sound = !rivals.metadata && fits && !rival_fits;
    found_.any |= !sound;
    found_.applied |= garbled && w_.doubts.l2_table(o.state, o.l1_index) == w_.doubts.l2_table(applied_, o.l1_index);
  }
}

Misplaced Search::run() {
  const BitSet& conflicts = w_.view.claims().conflict;
  found_.any = !conflicts.empty() && !w_.view.result().owners_complete;
  for (auto c = conflicts.next(0); c; c = conflicts.next(*c + 1)) look_at(w_.view.result().owners_of(ClusterIndex(*c)));
  return found_;
}

}  // namespace

Misplaced find_misplaced(Work& w, std::int32_t applied, bool new_snapshot_table) {
  return Search(w, applied, new_snapshot_table).run();
}

}  // namespace qd::edit
