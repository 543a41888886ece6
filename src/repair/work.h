// What the steps of a repair share: the image as it will be when the steps so far are done, a check of that, and the
// ways to change it. A step looks at the findings, plans its changes, and has the image looked at again; so each step
// meets what the one before has left, and the last check tells what the repair will have achieved, before the first
// byte of it is real.
//
// The first error sticks; later changes do nothing. Steps need not ask after each one.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "base/endian.h"
#include "base/result.h"
#include "check/check.h"
#include "image/classify.h"
#include "image/lookup.h"
#include "journal/transaction.h"
#include "repair/plan.h"

namespace qd::repair {

bool is_made_anew(check::OwnerKind kind);

// What becomes of refcounts where nobody wants to read of each: clusters.
struct RefcountSums {
  std::uint64_t raised = 0, lowered = 0;
  std::uint64_t freed = 0;  // of the lowered ones, those with no reference left
  std::uint64_t lossy = 0;  // of these, those that may be what a lost table has mapped
};

// What was doubtful before anything was changed stays so.
struct FirstLook {
  bool refcounts_in_doubt = false;              // wrong, or not to be read
  bool hidden = false;                          // references to data
  bool looks_lost = false;                      // what was leaked may be somebody's
  std::shared_ptr<const check::Claims> claims;  // if several claimed one cluster
  std::unordered_set<std::int32_t> dubious;     // states
  std::unordered_set<std::uint64_t> blocks;     // refcount blocks
  std::unordered_set<std::uint64_t> versions;   // clusters of L2 tables: see remember_versions()
};

class Work {
 public:
  // `base` is the image as it is.
  Work(const File& base, const image::Hints& hints, Transaction& transaction, const Wanted& wanted_,
       const check::Settings& options);

  const Wanted wanted;
  Plan plan;

  const File& base() const { return base_; }
  // Opens and checks the image as it will be.
  bool look();
  // The same as if nothing had been looked at before: what misled is gone.
  bool look_anew() { return first_.reset(), look(); }
  const image::Image& image() const { return *image_; }
  const format::Geometry& geometry() const { return *image_->geometry; }
  const check::Report& result() const { return result_; }
  const check::Claims& claims() const { return *result_.claims; }
  const image::Refcounts& refcounts() const { return *result_.disk_refcounts; }
  std::uint64_t count(check::Code code) const { return result_.findings.count(code); }
  // A disk that can't be read must not be written to: each access may be its last.
  bool unreadable() const;
  // A header field that gives every entry another meaning. While one of them is wrong, a sound image may look damaged.
  std::optional<check::Code> questions_everything() const;
  // Was anything planned since the last look?
  bool changed() const { return changed_; }

  bool failed() const { return error_.has_value(); }
  const Error& error() const { return *error_; }
  // Failed since there is no room but behind clusters that entries name past the end of the file?
  bool growth_refused() const { return growth_refused_; }
  void fail(Error error);

  // ---- looking

  const image::State* state(std::int32_t snapshot) const { return image::find_state(result_.states, snapshot); }
  // Where an L1 entry lies, and the L2 table that it names: nothing where there can't be one, or the state is dubious.
  std::optional<HostOffset> l1_entry(std::int32_t snapshot, std::uint32_t l1_index) const;
  std::optional<HostOffset> l2_table(std::int32_t snapshot, std::uint32_t l1_index);
  HostOffset l2_entry(HostOffset table, std::uint64_t index) const { return image::l2_entry_at(*image_, table, index); }
  std::uint64_t read64(HostOffset at);
  std::vector<std::byte> read(HostOffset at, std::uint64_t bytes);
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
  bool may_be_anothers(HostOffset table) const { return first_->versions.contains(geometry().cluster(table).value); }
  // And do L1 entries at different places name it? Which of them is wrong, nothing tells.
  bool named_elsewhere(const check::Owner& table) const;
  // Was it held by several when the repair began? A table there may hold somebody else's bytes.
  bool was_disputed(ClusterIndex cluster) const;
  // Did damage, other than compressed data in others' clusters, hide references then?
  bool was_hidden() const { return first_->hidden; }
  // Or was something leaked that may be somebody's?
  bool was_at_risk() const { return first_->hidden || first_->looks_lost; }
  // Are there refcounts that can't be read now, so that they tell of nothing that is lost?
  bool refcounts_hidden() const;
  // Does, or did when the repair began, what lies there read as the refcount block that the refcount table's entry
  // makes of it? Only then its values count, and with the entry goes a reference that was there.
  bool reads_as_block(std::uint64_t b) const;
  // Or does what is known speak against that?
  bool reads_as_none(std::uint64_t b) const;
  // To a cluster.
  std::uint64_t references_lost_at_most() const;
  // May the tables of a state be other data in truth? Then what its L1 table leads to is not to be written to.
  bool dubious(std::int32_t snapshot) const { return first_->dubious.contains(snapshot); }
  bool any_dubious() const { return !first_->dubious.empty(); }
  // The state has other tables now than when the repair began.
  void trust(std::int32_t snapshot) { first_->dubious.erase(snapshot); }

  // ---- changing

  // Clusters in a row that nothing refers to and that hold nothing: behind the end of a file, in the unused part of a
  // device. Nothing if there is no such room; then the work has failed (ENOSPC).
  std::optional<HostOffset> allocate(std::uint64_t clusters);

  void write(Stage stage, HostOffset at, std::span<const std::byte> bytes);
  // What lies at `from` now, whatever is planned for that place: data. Or as it will be: tables.
  void copy(HostOffset to, HostOffset from, std::uint64_t bytes);
  // Bytes of another file, or of the image as it is (base()). `source` outlives the transaction.
  void copy_from(Stage stage, HostOffset to, const File& source, HostOffset from, std::uint64_t bytes);
  void copy_planned(HostOffset to, HostOffset from, std::uint64_t bytes);
  void punch(HostOffset at, std::uint64_t bytes);
  void resize(std::uint64_t bytes);
  void write64(Stage stage, HostOffset at, std::uint64_t value);
  // Writes a number and lists that as an action.
  void put64(Stage stage, HostOffset at, std::uint64_t value, check::Code reason, std::string text, bool lossy = false);
  void act(Action action);
  // The same words once. What a step refuses holds as of its last run: an earlier one may have met damage that is
  // mended since.
  void refuse(check::Code reason, std::string text);
  using Step = void (*)(Work&);
  void begin(Step step);  // null: what is refused now stays so

  // Clusters of a structure that the plan has moved: their refcounts may fall by that one reference, whatever is
  // thought of leaks.
  void release(HostOffset at, std::uint64_t bytes);
  std::uint64_t released(std::uint64_t cluster) const {
    const auto found = released_.find(cluster);
    return found == released_.end() ? 0 : found->second;
  }
  // References that were there in `before` and aren't any more went on purpose: refcounts fall with them, by as much.
  void let_go_since(check::Report before) { before_.emplace(std::move(before)); }
  std::uint64_t let_go(ClusterIndex cluster) const {
    const std::uint64_t was = before_ ? before_->references(cluster) : 0,
                        is = before_ ? result_.references(cluster) : 0;
    return was - std::min(was, is);
  }
  void let_go_no_more() { before_.reset(), released_.clear(); }
  // Refcounts that are too high fall, whatever is thought of leaks.
  void free_leaks() { free_leaks_ = true; }
  // From here on, refcounts and COPIED flags are summed up instead of listed.
  void sum_up() { sums_.emplace(); }
  std::optional<RefcountSums>& sums() { return sums_; }

  // A snapshot was given up that may have led to data, so leaks stay suspicious.
  void lost_something() { lost_ = true; }
  void found_again() { lost_ = false; }
  // Bitmaps were: what looks like their tables is no sign of lost data.
  void dropped_bitmaps() { bitmaps_dropped_ = true; }
  bool may_free_leaks() const;
  Transaction& transaction() { return transaction_; }

 private:
  class Others;
  bool unused(std::uint64_t cluster) const;
  void find_stray_l1_tables();
  bool all_snapshots_known() const;
  void remember_disputes();
  void remember_versions();
  void remember_blocks();
  std::vector<std::uint64_t> read_words(HostOffset at, std::uint64_t bytes);
  void grow_over_lost_data();

  const File& base_;
  Transaction& transaction_;
  const image::Hints hints_;
  const check::Settings options_;
  std::optional<image::Image> image_;
  check::Report result_;
  std::optional<Error> error_;
  bool changed_ = false, lost_ = false, bitmaps_dropped_ = false;
  bool growth_refused_ = false, free_leaks_ = false;
  std::map<std::int32_t, image::TableLook> l1_looks_;
  std::map<HostOffset, image::TableLook> l2_looks_;
  std::unordered_set<std::uint64_t> stray_l1_;         // clusters: see find_stray_l1_tables()
  std::unordered_map<std::uint64_t, bool> contested_;  // clusters: thousands of entries may name one
  Step step_ = nullptr;
  std::vector<Step> refused_by_;  // as plan.refusals
  std::uint64_t next_ = 0;        // cluster to allocate from
  std::unordered_map<std::uint64_t, std::uint64_t> released_;
  std::optional<check::Report> before_;
  std::optional<RefcountSums> sums_;
  std::optional<FirstLook> first_;
};

}  // namespace qd::repair
