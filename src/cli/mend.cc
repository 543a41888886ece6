#include "cli/mend.h"

#include <fmt/core.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <string_view>
#include <utility>

#include "cli/found_log.h"
#include "io/posix_calls.h"
#include "journal/undo_log.h"
#include "repair/repair.h"

namespace qd::cli {
namespace {

std::atomic<bool> interrupted = false;

// While the image is being written to, a signal must not kill: it asks for the way back.
class Guard {
 public:
  Guard() {
    interrupted = false;
    for (int i = 0; i < 3; ++i) {
      struct sigaction action {};
      action.sa_handler = [](int) { interrupted = true; };
      ::sigaction(signals[i], &action, &before_[i]);
    }
  }
  ~Guard() {
    for (int i = 0; i < 3; ++i) ::sigaction(signals[i], &before_[i], nullptr);
  }
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;

 private:
  static constexpr int signals[] = {SIGINT, SIGTERM, SIGHUP};
  struct sigaction before_[3];
};

std::string base_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

constexpr std::string_view elsewhere = " (--undo-log FILE puts it elsewhere)";

// A change that failed. A log without which the image is the same is of no use to anybody, and if it was the log that
// there was no room for, there is a way out.
Error give_up(Error error, const MutableFile* log, const MutableFile& image) {
  if (!log) return error;
  const auto read = UndoLog::read(*log);
  const bool no_room = error.number == ENOSPC || error.number == EDQUOT || error.number == EFBIG;
  if (!read && no_room) error.message += elsewhere;
  const bool useless = read ? changes_nothing(*read, image) : read.error().number == EINVAL;
  if (useless) remove_log(*log);
  return error;
}

// The way back has a log of its own while it is under way. Once the image is as before, both are gone.
Result<void> take_back(const FoundLog& found, const Options& options, const std::string& name, MutableFile& image) {
  Transaction back(image);
  if (auto planned = found.log.plan(back); !planned) return planned;
  std::unique_ptr<MutableFile> own;
  if (!options.no_undo) {
    auto created = create_log_beside(options, image);
    if (!created) return tl::unexpected(created.error());
    own = std::move(*created);
  }
  const Guard guard;
  const auto done = back.commit(image, own.get(), name, interrupted, found.log.header().old_modified);
  if (!done) return tl::unexpected(give_up(done.error(), own.get(), image));
  if (own) remove_log(*own);
  remove_log(*found.file);
  return {};
}

repair::Wanted wanted(const Options& o) {
  const bool all = o.repair == "all";
  return {.leak = all || o.repair == "leak",
          .error = all || o.repair == "error",
          .reuse = all || o.repair == "reuse",
          .discard = o.repair == "discard",
          .force = o.force};
}

// Why the image won't be what it was, though the undo is forced; empty if it will.
Result<std::string> amiss(const UndoLog& log, const File& file, const File& image, bool forced) {
  if (const std::string why = why_not_ours(file, image); !why.empty()) {
    if (forced) return fmt::format("of the log {}, {}", file.path(), why);
    return fail(EACCES, fmt::format("cannot undo by {}: {}; what it holds would become the image's; --force takes the "
                                    "image back by it all the same",
                                    file.path(), why));
  }
  if (log.torn()) return *log.torn();
  const auto fit = log.fits(image, image.modified());
  if (fit) return "";
  if (!forced) return tl::unexpected(fit.error());
  return fit.error().message;
}

Result<void> require_two_files(const Options& options, const std::string& path) {
  if (!same_file(options.file, path)) return {};
  return fail(EINVAL, fmt::format("{} is the image itself, and no undo log", options.file));
}

// What an undo would do, as far as reading tells.
Result<render::UndoReport> undo_dry(const Options& options, const std::string& path) {
  if (auto two = require_two_files(options, path); !two) return tl::unexpected(two.error());
  const auto log_file = open_file(options.file);
  if (!log_file) return tl::unexpected(log_file.error());
  const auto image = open_file(path);
  if (!image) return tl::unexpected(image.error());
  const auto log = UndoLog::read(**log_file, options.force);
  if (!log) return tl::unexpected(log.error());
  const auto why = amiss(*log, **log_file, **image, options.force);
  if (!why) return tl::unexpected(why.error());
  const std::uint64_t now = (*image)->size(), then = log->header().old_size;
  render::UndoReport report;
  report.dry_run = true;
  report.log = options.file;
  report.amiss = *why;
  report.bytes_cut = now > then ? now - then : 0;
  return report;
}

}  // namespace

bool changes(const Options& options) {
  return options.command || (options.repair != "off" && options.repair != "check");
}

// The image to be planned for: without what an interrupted repair has done to it.
Result<const File*> Mending::open() {
  if (options_->dry_run) return open_dry();
  auto opened = open_mutable(path_);
  if (!opened) return tl::unexpected(opened.error());
  writable_ = std::move(*opened);
  for (auto names = log_names(*options_, *writable_);;) {
    const auto found = interrupted_log(names, *writable_);
    if (!found) return tl::unexpected(found.error());
    if (!*found) return writable_.get();
    if (auto done = take_back(**found, *options_, base_name(path_), *writable_); !done) {
      return tl::unexpected(done.error());
    }
    report_.taken_back_by = (*found)->file->path();
  }
}

Result<const File*> Mending::open_dry() {
  auto opened = open_file(path_);
  if (!opened) return tl::unexpected(opened.error());
  read_only_ = std::move(*opened);
  const File* image = read_only_.get();
  for (auto names = log_names(*options_, *image);;) {
    auto found = interrupted_log(names, *image);
    if (!found) return tl::unexpected(found.error());
    if (!*found) return image;
    ways_back_.push_back({std::move(**found), std::make_unique<Transaction>(*image), nullptr});
    WayBack& way = ways_back_.back();
    if (auto done = way.found.log.plan(*way.transaction); !done) return tl::unexpected(done.error());
    report_.taken_back_by = way.found.file->path();
    way.before = way.transaction->view();
    image = way.before.get();
  }
}

Result<repair::Repair> Mending::plan_on(const File& image, Profile& profile) {
  const check::Options how{.decompress = false, .backing_chain = !options_->no_backing_chain, .profile = &profile};
  if (!options_->command) return repair::plan_repair(image, *transaction_, wanted(*options_), how);
  const auto* copy = std::get_if<edit::CopyBytes>(&*options_->command);
  if (copy && !copy->file.empty() && !same_file(copy->file, path_)) {
    auto opened = open_file(copy->file);
    if (!opened) return tl::unexpected(opened.error());
    source_ = std::move(*opened);
  }
  return edit::plan_edit(image, *transaction_, *options_->command, options_->force, source_.get(), how);
}

Result<Mending> Mending::plan(const Options& options, const std::string& path, Progress& progress, Profile& profile) {
  Mending m(options, path);
  auto opened = m.open();
  if (!opened) return tl::unexpected(opened.error());
  const File* image = *opened;
  m.transaction_ = std::make_unique<Transaction>(*image);
  progress.phase("planning", *image, 0);
  const ProfilePart part(&profile, *image);
  part.phase("planning");
  auto planned = m.plan_on(*image, profile);
  progress.done();
  if (!planned) {
    Error error = planned.error();
    const std::string& log = m.report_.taken_back_by;
    if (m.writable_ && !log.empty()) error.message += "; what an interrupted repair had done was taken back by " + log;
    return tl::unexpected(error);
  }
  m.report_.plan = std::move(planned->plan);
  m.report_.dry_run = options.dry_run;
  m.report_.before = planned->before;
  m.report_.after = planned->after;
  m.report_.nothing = m.transaction_->empty();
  return m;
}

Result<void> Mending::perform(Progress& progress, Profile& profile) {
  if (options_->dry_run || report_.nothing) return {};
  const Guard guard;
  std::unique_ptr<MutableFile> log;
  if (!options_->no_undo) {
    auto created = create_log(*options_, *writable_);
    if (!created) {
      Error error = created.error();
      return fail(error.number, fmt::format("no undo log: {}; nothing was changed{}", error.message, elsewhere));
    }
    log = std::move(*created);
  }
  const std::uint64_t before = writable_->allocated_bytes();
  progress.phase("writing", *writable_, 0);
  const ProfilePart part(&profile, *writable_);
  part.phase("writing");
  auto outcome = transaction_->commit(*writable_, log.get(), base_name(path_), interrupted);
  progress.done();
  if (!outcome) return tl::unexpected(give_up(outcome.error(), log.get(), *writable_));
  const std::uint64_t after = writable_->allocated_bytes();
  // A device doesn't tell what it holds.
  const bool device = writable_->kind() == FileKind::block_device;
  report_.bytes_given_back = device ? outcome->bytes_punched : before > after ? before - after : 0;
  report_.punch_refused = outcome->punch_refused;
  if (log) report_.undo_log = log->path();
  return {};
}

Result<render::UndoReport> undo(const Options& options, const std::string& path) {
  if (options.dry_run) return undo_dry(options, path);
  if (auto two = require_two_files(options, path); !two) return tl::unexpected(two.error());
  auto log_file = open_mutable(options.file);
  if (!log_file) return tl::unexpected(log_file.error());
  auto image = open_mutable(path);
  if (!image) return tl::unexpected(image.error());
  auto log = UndoLog::read(**log_file, options.force);
  if (!log) return tl::unexpected(log.error());
  const auto why = amiss(*log, **log_file, **image, options.force);
  if (!why) return tl::unexpected(why.error());

  const Guard guard;
  std::unique_ptr<MutableFile> own;
  if (!options.no_undo) {
    auto created = create_log(options, **image);
    if (!created) return tl::unexpected(created.error());
    own = std::move(*created);
  }
  const auto done = qd::undo(**image, **log_file, own.get(), base_name(path), options.force, interrupted);
  if (!done) return tl::unexpected(give_up(done.error(), own.get(), **image));
  render::UndoReport report;
  report.log = options.file;
  if (own) report.undo_log = own->path();
  report.amiss = *why;
  report.bytes_written = done->bytes_written;
  return report;
}

}  // namespace qd::cli
