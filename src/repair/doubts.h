// What of the image may be believed. Damage makes entries name what isn't theirs; so a table is one only by its
// content, and a claim holds only if its table does. What was doubtful before anything was changed stays so: a repair
// that mends the place where damage showed must not take its victims for sound.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "image/classify.h"
#include "repair/view.h"

namespace qd::repair {

// Refcounts follow from the mapping; whatever lies on them, they are no loss.
bool is_made_anew(check::OwnerKind kind);

// What was doubtful before anything was changed.
struct FirstLook {
  bool refcounts_in_doubt = false;
  bool hidden = false;
  bool looks_lost = false;
  std::shared_ptr<const check::Claims> claims;  // if several claimed one cluster
  std::unordered_set<std::int32_t> dubious;     // states
  std::unordered_set<std::uint64_t> blocks;     // refcount blocks
  std::unordered_set<std::uint64_t> versions;   // clusters of L2 tables: see Doubts::remember_versions()
};

class Doubts {
 public:
  // `force`: the user says that entries of several states' tables may be written to.
  Doubts(View& view, bool force) : view_(view), force_(force) {}

  // After each look of the view.
  bool look();
  // As if nothing had been looked at before: what misled is gone.
  void forget() { first_.reset(); }

  // ---- now

  // The L2 table that an L1 entry names: nothing where there can't be one, or the state is dubious.
  std::optional<HostOffset> l2_table(std::int32_t snapshot, std::uint32_t l1_index);
  // Does the table's content say that it is one? As of the last look.
  const image::TableLook& l1_look(std::int32_t snapshot);
  const image::TableLook& l2_look(HostOffset table);
  // May somebody's claim on a cluster with several owners be believed? Not that of an entry which is garbage by itself,
  // or lies in a table that is none; nor that of an L1 entry on what is no L2 table. Whoever gives way to such a claim
  // makes garbage look right.
  bool credible(const check::Owner& owner);
  // Do several owners claim the cluster, all of them credible but for one at most?
  bool contested(HostOffset cluster);
  // Is the cluster held by one owner, and within the file? A snapshot's L1 table that is counted as nobody's still is
  // one. Nor may it be an L2 table that a state has only by mistake.
  bool undisputed(HostOffset cluster) const;
  // Is it an L2 table that may be another state's?
  bool may_be_anothers(HostOffset table) const {
    return first_->versions.contains(view_.geometry().cluster(table).value);
  }
  // And do L1 entries at different places name it? Which of them is wrong, nothing tells.
  bool named_elsewhere(const check::Owner& table) const;
  // Does, or did when the repair began, what lies there read as the refcount block that the refcount table's entry
  // makes of it? Only then its values count, and with the entry goes a reference that was there.
  bool reads_as_block(std::uint64_t b) const;
  // Or does what is known speak against that?
  bool reads_as_none(std::uint64_t b) const;
  // To a cluster.
  std::uint64_t references_lost_at_most() const;

  // ---- when the repair began

  // Was it held by several? A table there may hold somebody else's bytes.
  bool was_disputed(ClusterIndex cluster) const;
  // Did damage, other than compressed data in others' clusters, hide references?
  bool was_hidden() const { return first_->hidden; }
  // Or was something leaked that may be somebody's?
  bool was_at_risk() const { return first_->hidden || first_->looks_lost; }
  // Were refcounts wrong, or not to be read?
  bool refcounts_were_in_doubt() const { return first_->refcounts_in_doubt; }
  // May the tables of a state be other data in truth? Then what its L1 table leads to is not to be written to.
  bool dubious(std::int32_t snapshot) const { return first_->dubious.contains(snapshot); }
  bool any_dubious() const { return !first_->dubious.empty(); }
  // The state has other tables now.
  void trust(std::int32_t snapshot) { first_->dubious.erase(snapshot); }

 private:
  class Others;
  void look_first();
  void find_stray_l1_tables();
  bool all_snapshots_known() const;
  void remember_disputes();
  void remember_versions();
  void remember_blocks();

  View& view_;
  const bool force_;
  std::optional<FirstLook> first_;
  std::map<std::int32_t, image::TableLook> l1_looks_;
  std::map<HostOffset, image::TableLook> l2_looks_;
  std::unordered_set<std::uint64_t> stray_l1_;         // clusters: see find_stray_l1_tables()
  std::unordered_map<std::uint64_t, bool> contested_;  // clusters: thousands of entries may name one
};

}  // namespace qd::repair
