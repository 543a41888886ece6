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

// Numbers of clusters whose refcounts change, where nobody wants to read of each.
struct RefcountSums {
  std::uint64_t raised = 0, lowered = 0;
  std::uint64_t freed = 0;  // of the lowered ones, those with no reference left, and no loss
  std::uint64_t lossy = 0;  // the same, but a lost table may have mapped them
};

class Editor {
 public:
  // `force`: new structures may go where somebody's data may be.
  Editor(View& view, const Doubts& doubts, Transaction& transaction, bool force)
      : view_(view), doubts_(doubts), transaction_(transaction), force_(force) {}

  Plan plan;

  // Finds clusters in a row that nothing refers to and that hold nothing: behind the end of a file, in the unused part
  // of a device. Returns nothing if there is no such room; then the work has failed (ENOSPC).
  std::optional<HostOffset> allocate(std::uint64_t clusters);
  // Did it fail because the file would have to grow over clusters that entries name past its end?
  bool growth_refused() const { return growth_refused_; }

  void write(Stage stage, HostOffset at, std::span<const std::byte> bytes);
  // copy() takes what lies at `from` now, whatever is planned for that place: for data. copy_planned() takes what will
  // lie there: for tables.
  void copy(HostOffset to, HostOffset from, std::uint64_t bytes);
  void copy_planned(HostOffset to, HostOffset from, std::uint64_t bytes);
  // Copies bytes of another file, or of the image as it is. `source` must outlive the transaction.
  void copy_from(Stage stage, HostOffset to, const File& source, HostOffset from, std::uint64_t bytes);
  void punch(HostOffset at, std::uint64_t bytes);
  void resize(std::uint64_t bytes);
  void write64(Stage stage, HostOffset at, std::uint64_t value);
  // Writes a number and lists that as an action.
  void put64(Stage stage, HostOffset at, std::uint64_t value, check::Code reason, std::string text, bool lossy = false);

  void act(Action action);
  // The same words are kept once. What a step refuses holds as of its last run: the damage that an earlier run met may
  // be mended since.
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
  std::vector<Step> refused_by_;  // by which step, as plan.refusals
  std::optional<RefcountSums> sums_;
};

}  // namespace qd::repair
