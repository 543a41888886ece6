#include "cli/mend.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <filesystem>
#include <string_view>
#include <utility>

#include "io/posix_calls.h"
#include "io/undo_log.h"
#include "repair/repair.h"
#include "report/escape.h"

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

// The names of an image's logs, in their order, beside it. A device's lie in the working folder.
std::string log_name(const File& image, int n) {
  const std::string& path = image.path();
  const std::string name = (image.kind() == FileKind::block_device ? base_name(path) : path) + ".undo";
  return n == 1 ? name : fmt::format("{}.{}", name, n);
}

// The number of the newest log; 0 if there is none. Older ones may have been removed.
int newest_log(const File& image) {
  const std::filesystem::path first(log_name(image, 1));
  const std::string name = first.filename().string() + ".";
  int newest = ::access(first.c_str(), F_OK) == 0 ? 1 : 0;
  constexpr int most = 1'000'000;  // whatever has a higher number is not ours
  std::error_code unreadable;      // then whoever makes a log will say so
  const auto folder = first.has_parent_path() ? first.parent_path() : std::filesystem::path(".");
  for (std::filesystem::directory_iterator at(folder, unreadable), end; !unreadable && at != end;
       at.increment(unreadable)) {
    const std::string other = at->path().filename().string();
    if (!other.starts_with(name)) continue;
    int n = 0;
    const auto [stop, error] = std::from_chars(other.data() + name.size(), other.data() + other.size(), n);
    if (error == std::errc() && stop == other.data() + other.size() && n < most) newest = std::max(newest, n);
  }
  return newest;
}

// A new log: of the name asked for, or of the next one.
Result<std::unique_ptr<MutableFile>> create_log(const Options& options, const File& image) {
  if (!options.undo_log.empty()) return create_file(options.undo_log);
  for (int n = newest_log(image) + 1;; ++n) {
    auto log = create_file(log_name(image, n));
    if (log || log.error().number != EEXIST) return log;
  }
}

// A repair that was killed has left a log that isn't done. What it has done so far is taken back before another begins,
// so that this one starts from what the first one saw. Only the newest log can tell of it, and only while something of
// what it planned is missing: a whole repair is not taken back unasked.
std::unique_ptr<File> interrupted_log(const Options& options, const File& image) {
  const int newest = newest_log(image);
  if (options.undo_log.empty() && newest == 0) return nullptr;
  auto file = open_file(options.undo_log.empty() ? log_name(image, newest) : options.undo_log);
  if (!file) return nullptr;
  const auto log = UndoLog::read(**file);
  if (!log || log->header().state != UndoState::sealed || !log->fits(image, image.modified())) return nullptr;
  return log->half_done(image).value_or(false) ? std::move(*file) : nullptr;
}

// The log is gone then, since the image is as before.
Result<void> take_back(const std::string& log, const std::string& name, MutableFile& image) {
  auto file = open_mutable(log);
  if (!file) return tl::unexpected(file.error());
  const Guard guard;
  if (auto done = qd::undo(image, **file, nullptr, name, false, interrupted); !done) {
    return tl::unexpected(done.error());
  }
  ::unlink(log.c_str());
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

constexpr std::string_view elsewhere = " (--undo-log FILE puts it elsewhere)";

// A change that failed. A log without which the image is the same is of no use to anybody, and if it was the log that
// there was no room for, there is a way out.
Error give_up(Error error, const MutableFile* log, const MutableFile& image) {
  if (!log) return error;
  const auto read = UndoLog::read(*log);
  const bool no_room = error.number == ENOSPC || error.number == EDQUOT || error.number == EFBIG;
  if (!read && no_room) error.message += elsewhere;
  Transaction back(image);
  const bool useless = read ? read->plan(back) && back.empty() : read.error().number == EINVAL;
  if (useless) ::unlink(log->path().c_str());
  return error;
}

// Why the image won't be what it was, though the undo is forced; empty if it will.
Result<std::string> amiss(const UndoLog& log, const File& image, bool forced) {
  if (log.torn()) return *log.torn();
  const auto fit = log.fits(image, image.modified());
  if (fit) return "";
  if (!forced) return tl::unexpected(fit.error());
  return fit.error().message;
}

// The two files of an undo, in whatever way they are opened.
Result<UndoLog> log_for(const Options& options, const std::string& path, const File& log) {
  if (same_file(options.file, path)) {
    return fail(EINVAL, fmt::format("{} is the image itself, and no undo log", options.file));
  }
  return UndoLog::read(log, options.force);
}

// What an undo would do, as far as reading tells.
Result<std::string> undo_dry(const Options& options, const std::string& path) {
  const auto log_file = open_file(options.file);
  if (!log_file) return tl::unexpected(log_file.error());
  const auto image = open_file(path);
  if (!image) return tl::unexpected(image.error());
  const auto log = log_for(options, path, **log_file);
  if (!log) return tl::unexpected(log.error());
  const auto why = amiss(*log, **image, options.force);
  if (!why) return tl::unexpected(why.error());
  const std::string size = (*image)->size() > log->header().old_size
                               ? fmt::format(" ({} bytes are cut off)", (*image)->size() - log->header().old_size)
                               : "";
  return fmt::format("{} would be taken back {}{}; nothing was written", report::escape(path),
                     why->empty() ? "to what it was" : "by force, though " + *why, size);
}

}  // namespace

bool changes(const Options& options) {
  return options.command || (options.repair != "off" && options.repair != "check");
}

// The image to be planned for: without what an interrupted repair has done to it.
Result<const File*> Mending::open() {
  if (options_->dry_run) {
    auto opened = open_file(path_);
    if (!opened) return tl::unexpected(opened.error());
    read_only_ = std::move(*opened);
    interrupted_ = interrupted_log(*options_, *read_only_);
    if (!interrupted_) return read_only_.get();
    back_ = std::make_unique<Transaction>(*read_only_);
    if (auto done = UndoLog::read(*interrupted_)->plan(*back_); !done) return tl::unexpected(done.error());
    report_.taken_back_by = interrupted_->path();
    before_ = back_->view();
    return before_.get();
  }
  auto opened = open_mutable(path_);
  if (!opened) return tl::unexpected(opened.error());
  writable_ = std::move(*opened);
  if (const auto log = interrupted_log(*options_, *writable_)) {
    if (auto done = take_back(log->path(), base_name(path_), *writable_); !done) return tl::unexpected(done.error());
    report_.taken_back_by = log->path();
  }
  return writable_.get();
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

Result<std::string> undo(const Options& options, const std::string& path) {
  if (options.dry_run) return undo_dry(options, path);
  const auto readable = open_file(options.file);
  if (!readable) return tl::unexpected(readable.error());
  auto image = open_mutable(path);
  if (!image) return tl::unexpected(image.error());
  auto log = log_for(options, path, **readable);
  if (!log) return tl::unexpected(log.error());
  const auto why = amiss(*log, **image, options.force);
  if (!why) return tl::unexpected(why.error());
  auto log_file = open_mutable(options.file);
  if (!log_file) return tl::unexpected(log_file.error());

  const Guard guard;
  std::unique_ptr<MutableFile> own;
  if (!options.no_undo) {
    auto created = create_log(options, **image);
    if (!created) return tl::unexpected(created.error());
    own = std::move(*created);
  }
  const auto done = qd::undo(**image, **log_file, own.get(), base_name(path), options.force, interrupted);
  if (!done) return tl::unexpected(give_up(done.error(), own.get(), **image));
  std::string text =
      why->empty()
          ? fmt::format("{} is what it was before ({} bytes written back).", report::escape(path), done->bytes_written)
          : fmt::format(
                "{} was taken back by force ({} bytes written back), and may be neither what it was before nor "
                "what it was since: {}. Check it.",
                report::escape(path), done->bytes_written, *why);
  if (own) {
    text += fmt::format("\nTo take that back: qcow2-dump -m undo -F {} {}", report::shell_quote(own->path()),
                        report::shell_quote(path));
  }
  return text;
}

}  // namespace qd::cli
