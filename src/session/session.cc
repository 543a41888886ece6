#include "session/session.h"

#include <cerrno>
#include <exception>
#include <new>
#include <utility>

#include "check/check.h"
#include "journal/qemu_lock.h"
#include "session/change.h"
#include "session/undo.h"

namespace qd::session {
namespace {

class Run {
 public:
  Run(const Request& request, Observer& observer, Outcome& outcome) : r_(request), observer_(observer), o_(outcome) {}
  Result<void> operator()();

 private:
  Result<void> look();
  void check(bool in_use);

  const Request& r_;
  Observer& observer_;
  Outcome& o_;
  bool locked_ = false;  // nobody else writes to the image
};

Result<void> Run::operator()() {
  if (r_.no_undo && !r_.undo_log.empty()) return fail(EINVAL, "a name for the undo log was given, and none is wanted");
  if (const auto* back = std::get_if<TakeBack>(&r_.task)) {
    auto undone = undo(r_, *back);
    if (!undone) return tl::unexpected(undone.error());
    o_.undone = std::move(*undone);
    return look();
  }
  std::optional<ReadLock> lock;
  if (r_.lock && (!r_.changes() || r_.dry_run)) {
    auto taken = ReadLock::take(r_.path);
    if (!taken) return tl::unexpected(taken.error());
    lock.emplace(std::move(*taken));
    locked_ = true;
  }
  if (!r_.changes()) return look();
  auto changing = Changing::plan(r_, observer_, o_);
  if (!changing) return tl::unexpected(changing.error());
  locked_ |= !r_.dry_run;
  observer_.planned(*o_.change);
  if (auto done = changing->write(); !done) return done;
  observer_.written(*o_.change);
  return look();
}

// The last step of every run.
Result<void> Run::look() {
  if (r_.depth == Depth::none) return observer_.finished(o_), Result<void>();
  auto file = open_file(r_.path, {.direct = r_.direct});
  if (!file) return tl::unexpected(file.error());
  const bool in_use = !locked_ && has_writer(r_.path).value_or(false);
  auto image = image::Image::open(std::move(*file), o_.change && !r_.dry_run ? o_.change->hints : r_.hints);
  if (!image) return tl::unexpected(image.error());
  o_.image = std::move(*image);
  if (auto wanted = observer_.opened(*o_.image); !wanted) return wanted;
  if (r_.depth == Depth::check) check(in_use);
  observer_.finished(o_);
  return {};
}

void Run::check(bool in_use) {
  {
    const Watched phase(observer_, "checking", o_.image->file(), o_.image->table_bytes());
    o_.result =
        check::check(*o_.image, {.decompress = r_.decompress, .backing_chain = !r_.alone, .profile = &o_.profile});
  }
  if (in_use) {
    check::Finding finding;
    finding.code = check::Code::image_in_use;
    o_.result->findings.add(std::move(finding));
  }
  observer_.checked(o_);
  o_.verdict = advice::judge(*o_.image, *o_.result, r_.advice);
}

}  // namespace

Outcome run(const Request& request, Observer& observer) {
  Outcome outcome;
  outcome.path = request.path;
  try {
    if (auto done = Run(request, observer, outcome)(); !done) outcome.error = done.error();
  } catch (const std::bad_alloc&) {
    outcome.error = Error{ENOMEM, "out of memory"};
  } catch (const std::exception& error) {
    outcome.error = Error{EIO, error.what()};
  }
  return outcome;
}

Outcome run(const Request& request) {
  Observer nobody;
  return run(request, nobody);
}

int exit_code(const Error& error) { return error.number > 0 && error.number < 250 ? 256 - error.number : 256 - EIO; }

int Outcome::exit_code() const {
  if (error) return session::exit_code(*error);
  return undone || !result ? 0 : static_cast<int>(result->status());
}

}  // namespace qd::session
