// The ways to change an image: each goes into the transaction, and what a person shall know of it into the plan.
//
// After the first error, changes do nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/endian.h"
#include "journal/transaction.h"
#include "repair/doubts.h"
#include "repair/plan.h"
#include "repair/view.h"

namespace qd::repair {

struct Work;

// What becomes of refcounts where nobody wants to read of each: clusters.
struct RefcountSums {
  std::uint64_t raised = 0, lowered = 0;
  std::uint64_t freed = 0;  // of the lowered ones, those with no reference left
  std::uint64_t lossy = 0;  // of these, those that may be what a lost table has mapped
};

class Editor {
 public:
  // `force`: room is taken where it may be somebody's.
  Editor(View& view, const Doubts& doubts, Transaction& transaction, bool force)
      : view_(view), doubts_(doubts), transaction_(transaction), force_(force) {}

  Plan plan;

  // Clusters in a row that nothing refers to and that hold nothing: behind the end of a file, in the unused part of a
  // device. Nothing if there is no such room; then the work has failed (ENOSPC).
  std::optional<HostOffset> allocate(std::uint64_t clusters);
  // Failed since there is no room but behind clusters that entries name past the end of the file?
  bool growth_refused() const { return growth_refused_; }

  void write(Stage stage, HostOffset at, std::span<const std::byte> bytes);
  // What lies at `from` now, whatever is planned for that place: data. Or as it will be: tables.
  void copy(HostOffset to, HostOffset from, std::uint64_t bytes);
  void copy_planned(HostOffset to, HostOffset from, std::uint64_t bytes);
  // Bytes of another file, or of the image as it is. `source` outlives the transaction.
  void copy_from(Stage stage, HostOffset to, const File& source, HostOffset from, std::uint64_t bytes);
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
  // From here on, refcounts and COPIED flags are summed up instead of listed.
  void sum_up() { sums_.emplace(); }
  std::optional<RefcountSums>& sums() { return sums_; }

  Transaction& transaction() { return transaction_; }

 private:
  bool unused(std::uint64_t cluster) const;
  void grow_over_lost_data();

  View& view_;
  const Doubts& doubts_;
  Transaction& transaction_;
  const bool force_;
  bool growth_refused_ = false;
  std::uint64_t next_ = 0;  // cluster to allocate from
  Step step_ = nullptr;
  std::vector<Step> refused_by_;  // as plan.refusals
  std::optional<RefcountSums> sums_;
};

}  // namespace qd::repair
