// Which parts of the image a repair believes. A damaged entry may name what isn't its own: so only its content proves
// that something is a table, and a claim holds only if it comes from a proven table. What was doubtful when the repair
// began stays doubtful: once the place where damage showed is mended, its victims look sound.
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

// Is this the refcount table or a block? Both can be made anew from the mapping: they are no loss, whatever lies on
// them.
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

  // Call it after each look of the view.
  bool look();
  // Forgets what was doubtful when the repair began, since what misled is gone. The next look is the first one then.
  void forget() { first_.reset(); }

  // ---- now

  // The L2 table that an L1 entry names: nothing where there can't be one, or the state is dubious.
  std::optional<HostOffset> l2_table(std::int32_t snapshot, std::uint32_t l1_index);
  // Does the table's content say that it is one? As of the last look.
  const image::TableLook& l1_look(std::int32_t snapshot);
  const image::TableLook& l2_look(HostOffset table);
  // May an owner's claim on a cluster with several owners be believed? Not if its entry is garbage by itself, or lies
  // in something that isn't a table; and not if an L1 entry claims what isn't an L2 table. A rightful owner that gives
  // way to such a claim makes garbage look right.
  bool credible(const check::Owner& owner);
  // Do several credible owners claim the cluster, or are its owners unknown?
  bool contested(HostOffset cluster);
  // Does the cluster lie within the file and have at most one owner? An L1 table of a snapshot is an owner even if
  // nothing counts it as one (find_stray_l1_tables()). An L2 table that may be another state's is disputed, too.
  bool undisputed(HostOffset cluster) const;
  // Is it an L2 table that may be another state's?
  bool may_be_anothers(HostOffset table) const {
    return first_->versions.contains(view_.geometry().cluster(table).value);
  }
  // Is it such a table, and do L1 entries with different indexes name it? Nothing tells which of them is wrong.
  bool named_elsewhere(const check::Owner& table) const;
  // Does what lies there read as the refcount block that entry `b` of the refcount table says it is, or did it when the
  // repair began? Only then its values count, and a reference to it goes when the entry goes.
  bool reads_as_block(std::uint64_t b) const;
  // Do the known references speak against that?
  bool reads_as_none(std::uint64_t b) const;
  // How many references to one cluster may be lost.
  std::uint64_t references_lost_at_most() const;

  // ---- when the repair began

  // Had the cluster several owners? A table there may hold somebody else's bytes.
  bool was_disputed(ClusterIndex cluster) const;
  // Did damage, other than compressed data in others' clusters, hide references?
  bool was_hidden() const { return first_->hidden; }
  // Did damage hide references, or was something leaked that may be somebody's?
  bool was_at_risk() const { return first_->hidden || first_->looks_lost; }
  // Were refcounts wrong, or not to be read?
  bool refcounts_were_in_doubt() const { return first_->refcounts_in_doubt; }
  // May the tables of a state really be other data? Then nothing is written to what its L1 table points to.
  bool dubious(std::int32_t snapshot) const { return first_->dubious.contains(snapshot); }
  bool any_dubious() const { return !first_->dubious.empty(); }
  // The state has other tables now: it is no longer dubious.
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
