#include "session/undo.h"

#include <fmt/core.h>

#include <cerrno>
#include <memory>
#include <utility>

#include "io/posix_calls.h"
#include "session/signals.h"

namespace qd::session {
namespace {

// Why a forced undo may not make the image what it was; empty if it will. Error: the undo must be forced.
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

Result<void> require_two_files(const Request& request, const TakeBack& back) {
  if (!same_file(back.log, request.path)) return {};
  return fail(EINVAL, fmt::format("{} is the image itself, and no undo log", back.log));
}

// What an undo would do, as far as reading tells.
Result<Undone> undo_dry(const Request& request, const TakeBack& back) {
  if (auto two = require_two_files(request, back); !two) return tl::unexpected(two.error());
  const auto log_file = open_file(back.log);
  if (!log_file) return tl::unexpected(log_file.error());
  const auto image = open_file(request.path);
  if (!image) return tl::unexpected(image.error());
  const auto log = UndoLog::read(**log_file, request.force);
  if (!log) return tl::unexpected(log.error());
  const auto why = amiss(*log, **log_file, **image, request.force);
  if (!why) return tl::unexpected(why.error());
  const std::uint64_t now = (*image)->size(), then = log->header().old_size;
  Undone undone;
  undone.dry_run = true;
  undone.log = back.log;
  undone.amiss = *why;
  undone.bytes_cut = now > then ? now - then : 0;
  return undone;
}

}  // namespace

Result<void> take_back(const FoundLog& found, const Request& request, MutableFile& image) {
  Transaction back(image);
  if (auto planned = found.log.plan(back); !planned) return planned;
  std::unique_ptr<MutableFile> own;
  if (!request.no_undo) {
    auto created = create_log_beside(request, image);
    if (!created) return tl::unexpected(no_log(created.error()));
    own = std::move(*created);
  }
  const SignalGuard guard(request.signals);
  const auto done =
      back.commit(image, own.get(), name_in_log(image), guard.interrupted(), found.log.header().old_modified);
  if (!done) return tl::unexpected(give_up(done.error(), own.get(), image));
  if (own) remove_log(*own);
  remove_log(*found.file);
  return {};
}

Result<Undone> undo(const Request& request, const TakeBack& back) {
  if (request.dry_run) return undo_dry(request, back);
  if (auto two = require_two_files(request, back); !two) return tl::unexpected(two.error());
  auto log_file = open_mutable(back.log);
  if (!log_file) return tl::unexpected(log_file.error());
  auto image = open_mutable(request.path);
  if (!image) return tl::unexpected(image.error());
  auto log = UndoLog::read(**log_file, request.force);
  if (!log) return tl::unexpected(log.error());
  const auto why = amiss(*log, **log_file, **image, request.force);
  if (!why) return tl::unexpected(why.error());

  const SignalGuard guard(request.signals);
  std::unique_ptr<MutableFile> own;
  if (!request.no_undo) {
    auto created = create_log(request, **image);
    if (!created) return tl::unexpected(no_log(created.error()));
    own = std::move(*created);
  }
  const auto done = qd::undo(**image, **log_file, own.get(), name_in_log(**image), request.force, guard.interrupted());
  if (!done) return tl::unexpected(give_up(done.error(), own.get(), **image));
  Undone undone;
  undone.log = back.log;
  if (own) undone.undo_log = own->path();
  undone.amiss = *why;
  undone.bytes_written = done->bytes_written;
  return undone;
}

}  // namespace qd::session
