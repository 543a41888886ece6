#include "session/logs.h"

#include <fmt/core.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <utility>

#include "journal/transaction.h"
#include "words/escape.h"

namespace qd::session {
namespace {

// The name of the first log that a change makes. The others have a number behind it.
std::string first_log(const Request& request, const File& image) {
  return request.undo_log.empty() ? image.companion(".undo") : request.undo_log;
}

std::string log_name(const std::string& first, int n) { return n == 1 ? first : fmt::format("{}.{}", first, n); }

// The numbers of the logs that there are, in order. There may be gaps.
std::vector<int> log_numbers(const std::string& first) {
  std::vector<int> numbers;
  const std::filesystem::path path(first);
  const std::string name = path.filename().string() + ".";
  constexpr int most = 1'000'000;  // whatever has a higher number is not ours
  std::error_code unreadable;      // then whoever makes a log will say so
  const auto folder = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  for (std::filesystem::directory_iterator at(folder, unreadable), end; !unreadable && at != end;
       at.increment(unreadable)) {
    const std::string other = at->path().filename().string();
    if (!other.starts_with(name)) continue;
    int n = 0;
    const auto [stop, error] = std::from_chars(other.data() + name.size(), other.data() + other.size(), n);
    const bool whole = error == std::errc() && stop == other.data() + other.size();
    if (whole && n > 1 && n < most) numbers.push_back(n);
  }
  if (::access(first.c_str(), F_OK) == 0) numbers.push_back(1);
  std::ranges::sort(numbers);
  return numbers;
}

Result<std::unique_ptr<MutableFile>> create_next(const std::string& first) {
  const std::vector<int> numbers = log_numbers(first);
  for (int n = numbers.empty() ? 1 : numbers.back() + 1;; ++n) {
    auto log = create_file(log_name(first, n));
    if (log || log.error().number != EEXIST) return log;
  }
}

std::string user_name(std::uint32_t id) {
  const passwd* const user = ::getpwuid(id);
  return user ? fmt::format("{} (user {})", user->pw_name, id) : fmt::format("user {}", id);
}

// In a user namespace, nobody (65534) stands for all users that aren't known there, so it tells nothing.
bool is_owners(const FileIdentity& log, const FileIdentity& image) {
  constexpr std::uint32_t nobody = 65534;
  return log.owner == ::geteuid() || (log.owner == image.owner && log.owner != nobody);
}

// For a log of an interrupted change that isn't trusted: why, and how to use it after all.
tl::unexpected<Error> refuse(const File& log, const File& image, const std::string& why, std::string_view force) {
  return fail(
      EACCES,
      fmt::format("{0} says that a change of {1} was interrupted, but {2}; nothing was changed. If you know the "
                  "log, take the image back with \"qcow2-dump -m undo {3}-F {4} {5}\"; if not, remove it and "
                  "try again",
                  log.path(), image.path(), why, force, shell_quote(log.path()), shell_quote(image.path())));
}

constexpr std::string_view elsewhere = " (--undo-log FILE puts it elsewhere)";

// The log that a link leads to is read, but not trusted: `link` says so.
std::unique_ptr<File> open_log(const std::string& path, bool& link) {
  auto file = open_file(path, {.follow_link = false});
  link = !file && file.error().number == ELOOP;
  if (link) file = open_file(path);
  return file ? std::move(*file) : nullptr;
}

}  // namespace

Result<std::unique_ptr<MutableFile>> create_log(const Request& request, const File& image) {
  return request.undo_log.empty() ? create_next(first_log(request, image)) : create_file(request.undo_log);
}

Result<std::unique_ptr<MutableFile>> create_log_beside(const Request& request, const File& image) {
  return create_next(first_log(request, image));
}

void remove_log(const File& log) {
  struct stat status;
  if (::lstat(log.path().c_str(), &status) != 0 || status.st_ino != log.identity().inode) return;
  ::unlink(log.path().c_str());
}

Error give_up(Error error, const MutableFile* log, const MutableFile& image) {
  if (!log) return error;
  const auto read = UndoLog::read(*log);
  const bool no_room = error.number == ENOSPC || error.number == EDQUOT || error.number == EFBIG;
  if (!read && no_room) error.message += elsewhere;
  const bool useless = read ? changes_nothing(*read, image) : read.error().number == EINVAL;
  if (useless) remove_log(*log);
  return error;
}

Error no_log(const Error& error) {
  return {error.number, fmt::format("no undo log: {}; nothing was changed{}", error.message, elsewhere)};
}

std::string name_in_log(const File& image) { return std::filesystem::path(image.path()).filename().string(); }

bool changes_nothing(const UndoLog& log, const File& image) {
  Transaction back(image);
  return log.plan(back) && back.empty();
}

std::string why_not_ours(const File& log, const File& image) {
  const FileIdentity id = log.identity();
  if (!S_ISREG(id.mode)) return "it is no regular file";
  const std::string owner = user_name(id.owner);
  if (!is_owners(id, image.identity())) {
    return fmt::format("it belongs to {}, and neither to who runs this nor to the image's owner, {}", owner,
                       user_name(image.identity().owner));
  }
  if ((id.mode & (S_IWGRP | S_IWOTH)) != 0) return fmt::format("others than its owner, {}, can write to it", owner);
  return "";
}

LogNames log_names(const Request& request, const File& image) {
  std::vector<std::string> firsts{image.companion(".undo")};
  if (!request.undo_log.empty() && request.undo_log != firsts[0]) firsts.push_back(request.undo_log);
  LogNames series;
  for (const std::string& first : firsts) {
    series.emplace_back();
    for (const int n : log_numbers(first)) series.back().push_back(log_name(first, n));
  }
  return series;
}

namespace {

// Of a log that isn't ours only the header is read: its maker decides how long the rest takes. A log of ours without an
// interruption ends the search, since the image was changed after all older ones; unless nothing of its change has
// happened. A log that isn't ours doesn't end the search: a stranger could put it there to hide the log that is needed.
Result<std::optional<FoundLog>> interrupted_in(std::vector<std::string>& names, const File& image) {
  while (!names.empty()) {
    const std::string path = std::move(names.back());
    names.pop_back();
    bool link = false;
    auto file = open_log(path, link);
    if (!file) continue;
    const auto header = read_undo_header(*file);
    if (!header) continue;
    const auto [least, most] = std::minmax(header->old_size, header->new_size);
    const bool sealed = header->state == UndoState::sealed && least <= image.size() && image.size() <= most;
    const std::string theirs = why_not_ours(*file, image), why = theirs.empty() && link ? "it is a link" : theirs;
    if (!why.empty() && sealed) return refuse(*file, image, why, theirs.empty() ? "" : "--force ");
    if (!why.empty()) continue;

    const bool bound = header->bound(image.identity(), file->identity());
    auto log = sealed ? UndoLog::read(*file) : fail(EINVAL, "");
    if (log && log->fits(image, image.modified()) && log->half_done(image).value_or(false)) {
      if (!bound)
        return refuse(*file, image,
                      "it may be another one's: the image or the log was copied, or an older version wrote it", "");
      return FoundLog{std::move(file), std::move(*log)};
    }
    if (bound && !(log && changes_nothing(*log, image))) return std::nullopt;
  }
  return std::nullopt;
}

}  // namespace

Result<std::optional<FoundLog>> interrupted_log(LogNames& names, const File& image) {
  for (; !names.empty(); names.erase(names.begin())) {
    auto found = interrupted_in(names.front(), image);
    if (!found || *found) return found;
  }
  return std::nullopt;
}

}  // namespace qd::session
