#include "session/change.h"

#include <fmt/core.h>

#include <utility>

#include "io/posix_calls.h"
#include "session/signals.h"
#include "session/undo.h"

namespace qd::session {

// The image to plan for. What interrupted changes have done to it is taken back first.
Result<const File*> Changing::open() {
  if (request_->dry_run) return open_dry();
  auto opened = open_mutable(request_->path);
  if (!opened) return tl::unexpected(opened.error());
  writable_ = std::move(*opened);
  for (auto names = log_names(*request_, *writable_);;) {
    const auto found = interrupted_log(names, *writable_);
    if (!found) return tl::unexpected(found.error());
    if (!*found) return writable_.get();
    if (auto done = take_back(**found, *request_, *writable_); !done) {
      return tl::unexpected(done.error());
    }
    taken_back_by_ = (*found)->file->path();
  }
}

Result<const File*> Changing::open_dry() {
  auto opened = open_file(request_->path);
  if (!opened) return tl::unexpected(opened.error());
  read_only_ = std::move(*opened);
  const File* image = read_only_.get();
  for (auto names = log_names(*request_, *image);;) {
    auto found = interrupted_log(names, *image);
    if (!found) return tl::unexpected(found.error());
    if (!*found) return image;
    ways_back_.push_back({std::move(**found), std::make_unique<Transaction>(*image), nullptr});
    WayBack& way = ways_back_.back();
    if (auto done = way.found.log.plan(*way.transaction); !done) return tl::unexpected(done.error());
    taken_back_by_ = way.found.file->path();
    way.before = way.transaction->view();
    image = way.before.get();
  }
}

Result<repair::Planned> Changing::plan_on(const File& image) {
  const check::Settings how{.decompress = false, .backing_chain = !request_->alone, .profile = &outcome_->profile};
  if (auto wanted = std::get_if<repair::Wanted>(&request_->task)) {
    repair::Wanted all = *wanted;
    all.force = request_->force;
    return repair::plan_repair(image, request_->hints, *transaction_, all, how);
  }
  const auto& command = std::get<edit::Command>(request_->task);
  const auto* copy = std::get_if<edit::CopyBytes>(&command);
  if (copy && !copy->file.empty() && !same_file(copy->file, request_->path)) {
    auto opened = open_file(copy->file);
    if (!opened) return tl::unexpected(opened.error());
    source_ = std::move(*opened);
  }
  return edit::plan_edit(image, request_->hints, *transaction_, command, request_->force, source_.get(), how);
}

Result<Changing> Changing::plan(const Request& request, Observer& observer, Outcome& outcome) {
  Changing c(request, observer, outcome);
  auto opened = c.open();
  if (!opened) return tl::unexpected(opened.error());
  const File* image = *opened;
  c.transaction_ = std::make_unique<Transaction>(*image);
  auto planned = [&] {
    const Watched phase(observer, "planning", *image, 0);
    const ProfilePart part(&outcome.profile, *image);
    part.phase("planning");
    return c.plan_on(*image);
  }();
  if (!planned) {
    Error error = planned.error();
    const std::string& log = c.taken_back_by_;
    if (c.writable_ && !log.empty()) error.message += "; what an interrupted repair had done was taken back by " + log;
    return tl::unexpected(error);
  }
  outcome.change = Change{.plan = std::move(planned->plan),
                          .dry_run = request.dry_run,
                          .nothing = c.transaction_->empty(),
                          .before = planned->before,
                          .after = planned->after,
                          .taken_back_by = c.taken_back_by_,
                          .hints = planned->hints};
  return c;
}

Result<void> Changing::write() {
  Change& change = *outcome_->change;
  if (change.dry_run || change.nothing) return {};
  const SignalGuard guard(request_->signals);
  std::unique_ptr<MutableFile> log;
  if (!request_->no_undo) {
    auto created = create_log(*request_, *writable_);
    if (!created) return tl::unexpected(no_log(created.error()));
    log = std::move(*created);
  }
  const std::uint64_t before = writable_->allocated_bytes();
  auto done = [&] {
    const Watched phase(*observer_, "writing", *writable_, 0);
    const ProfilePart part(&outcome_->profile, *writable_);
    part.phase("writing");
    return transaction_->commit(*writable_, log.get(), name_in_log(*writable_), guard.interrupted());
  }();
  if (!done) return tl::unexpected(give_up(done.error(), log.get(), *writable_));
  const std::uint64_t after = writable_->allocated_bytes();
  const bool tells = writable_->traits().knows_allocation;
  change.bytes_given_back = !tells ? done->bytes_punched : before > after ? before - after : 0;
  change.punch_refused = done->punch_refused;
  if (log) change.undo_log = log->path();
  return {};
}

}  // namespace qd::session
