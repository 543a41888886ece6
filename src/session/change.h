// A repair or an edit: planned, shown, and made real under QEMU's locks, with an undo log unless the request wants
// none.
#pragma once

#include <memory>
#include <vector>

#include "base/result.h"
#include "journal/mutable_file.h"
#include "journal/transaction.h"
#include "repair/repair.h"
#include "session/logs.h"
#include "session/session.h"

namespace qd::session {

// An image that is being changed. Nobody else writes to it as long as this lives.
class Changing {
 public:
  // Opens and locks the image (a dry run only reads), and plans. What is known of the change goes into the outcome,
  // which outlives this.
  static Result<Changing> plan(const Request& request, Observer& observer, Outcome& outcome);

  // Makes the plan real, unless it is a dry run or there is nothing to do.
  Result<void> write();

 private:
  Changing(const Request& request, Observer& observer, Outcome& outcome)
      : request_(&request), observer_(&observer), outcome_(&outcome) {}

  Result<const File*> open();
  Result<const File*> open_dry();
  Result<repair::Planned> plan_on(const File& image);

  const Request* request_;
  Observer* observer_;
  Outcome* outcome_;
  std::unique_ptr<MutableFile> writable_;  // null in a dry run, which has read_only_ and ways_back_
  std::unique_ptr<File> read_only_;
  struct WayBack {
    FoundLog found;
    std::unique_ptr<Transaction> transaction;  // takes an interrupted change back; never committed
    std::unique_ptr<File> before;              // the image without that change
  };
  std::string taken_back_by_;       // the last log of an interrupted change
  std::vector<WayBack> ways_back_;  // each is planned on the image that the one before it gives
  std::unique_ptr<File> source_;    // of -m copy
  std::unique_ptr<Transaction> transaction_;
};

}  // namespace qd::session
