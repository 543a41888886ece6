// What writes to an image: -R, the commands of src/edit, and -m undo. All of them under QEMU's locks, both with a log
// that takes them back, unless there shall be none.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "cli/found_log.h"
#include "cli/options.h"
#include "cli/progress.h"
#include "io/profile.h"
#include "journal/mutable_file.h"
#include "journal/transaction.h"
#include "render/render.h"
#include "render/text/change.h"

namespace qd::cli {

// Is a change asked for, and not only advice? (Not of -m undo.)
bool changes(const Options& options);

// An image that is being changed. Nobody else writes to it as long as this lives.
class Mending {
 public:
  // Opens and locks the image (a dry run only reads), and plans.
  static Result<Mending> plan(const Options& options, const std::string& path, Progress& progress, Profile& profile);

  // Makes the plan real, unless it is a dry run or there is nothing to do.
  Result<void> perform(Progress& progress, Profile& profile);

  const render::RepairReport& report() const { return report_; }

 private:
  Mending(const Options& options, std::string path) : options_(&options), path_(std::move(path)) {}

  Result<const File*> open();
  Result<const File*> open_dry();
  Result<repair::Repair> plan_on(const File& image, Profile& profile);

  const Options* options_;
  std::string path_;
  std::unique_ptr<MutableFile> writable_;  // null in a dry run, which has these:
  std::unique_ptr<File> read_only_;
  struct WayBack {
    FoundLog found;
    std::unique_ptr<Transaction> transaction;  // from what an interrupted change has done,
    std::unique_ptr<File> before;              // to what was there before it
  };
  std::vector<WayBack> ways_back_;  // each from what the one before it leads to
  std::unique_ptr<File> source_;    // of -m copy
  std::unique_ptr<Transaction> transaction_;
  render::RepairReport report_;
};

// -m undo: takes the image back by the log.
Result<render::UndoReport> undo(const Options& options, const std::string& path);

}  // namespace qd::cli
