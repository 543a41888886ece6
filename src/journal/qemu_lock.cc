// The order is what makes it work: first announce what we do and what we forbid, then look whether somebody does what
// we forbid, or forbids what we do. Of two that start at the same time each has announced before it looks, so at least
// one sees the other. All locks taken are shared ones; a look asks whether an exclusive lock could be had.
#include "journal/qemu_lock.h"

#include <fcntl.h>

#include <array>
#include <cerrno>
#include <span>
#include <utility>

namespace qd {
namespace {

// The bytes, by what a lock on them says.
constexpr off_t reads = 100;
constexpr off_t writes = 101;
constexpr off_t resizes = 103;
constexpr off_t forbids_reading = 200;
constexpr off_t forbids_writing = 201;
constexpr off_t forbids_resizing = 203;

// Runs one lock command on one byte; returns 0 or the errno.
int command(int fd, int what, struct flock& range) {
  while (::fcntl(fd, what, &range) != 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

struct flock one_byte(off_t byte, short type) {
  struct flock range = {};  // l_pid must be 0 for these locks
  range.l_type = type;
  range.l_whence = SEEK_SET;
  range.l_start = byte;
  range.l_len = 1;
  return range;
}

// An old kernel, or a network file system without a lock service: QEMU can't lock there either.
bool has_no_locks(int error) { return error == EINVAL || error == ENOLCK || error == ENOSYS || error == EOPNOTSUPP; }

tl::unexpected<Error> in_use(const std::string& path, const std::string& by_whom) {
  return fail(EAGAIN, "cannot lock " + path + ": another process " + by_whom);
}

// Does anybody else hold a lock on the byte?
Result<bool> is_held(int fd, off_t byte, const std::string& path) {
  struct flock range = one_byte(byte, F_WRLCK);
  const int error = command(fd, F_OFD_GETLK, range);
  if (has_no_locks(error)) return false;
  if (error != 0) return system_failure(error, "cannot look for locks on " + path);
  return range.l_type != F_UNLCK;
}

Result<void> announce(int fd, off_t byte, const std::string& path, const char* way_out) {
  struct flock range = one_byte(byte, F_RDLCK);
  const int error = command(fd, F_OFD_SETLK, range);
  if (error == 0 || has_no_locks(error)) return {};
  if (error == EAGAIN || error == EACCES) return in_use(path, std::string("has it for itself alone") + way_out);
  return system_failure(error, "cannot lock " + path);
}

struct Conflict {
  off_t byte;
  const char* by_whom;
};

// First `ours` is announced, then others are looked for.
Result<void> lock(int fd, const std::string& path, std::span<const off_t> ours, std::span<const Conflict> conflicts,
                  const char* way_out) {
  for (const off_t byte : ours) {
    if (auto done = announce(fd, byte, path, way_out); !done) return done;
  }
  for (const auto& [byte, by_whom] : conflicts) {
    const auto held = is_held(fd, byte, path);
    if (!held) return tl::unexpected(held.error());
    if (*held) return in_use(path, std::string(by_whom) + way_out);
  }
  return {};
}

}  // namespace

Result<bool> has_writer(const std::string& path) {
  const auto opened = open_for_reading(path, false);
  if (!opened) return tl::unexpected(opened.error());
  for (const off_t byte : {writes, resizes}) {
    auto held = is_held(opened->descriptor.get(), byte, path);
    if (!held || *held) return held;
  }
  return false;
}

Result<ReadLock> ReadLock::take(const std::string& path) {
  auto opened = open_for_reading(path, false);
  if (!opened) return tl::unexpected(opened.error());
  static constexpr std::array ours = {reads, forbids_writing, forbids_resizing};
  static constexpr std::array conflicts = {
      Conflict{writes, "may write to it"},
      Conflict{resizes, "may resize it"},
      Conflict{forbids_reading, "forbids reading it"},
  };
  const auto locked =
      lock(opened->descriptor.get(), path, ours, conflicts, "; stop that process first, or read without the lock");
  if (!locked) return tl::unexpected(locked.error());
  return ReadLock(std::move(opened->descriptor));
}

Result<void> lock_for_writing(const Descriptor& held, const std::string& path) {
  static constexpr std::array ours = {reads, writes, resizes, forbids_writing, forbids_resizing};
  static constexpr std::array conflicts = {
      Conflict{writes, "may write to it"},
      Conflict{resizes, "may resize it"},
      Conflict{forbids_writing, "reads it and forbids writing to it"},
      Conflict{forbids_resizing, "uses it and forbids resizing it"},
      Conflict{forbids_reading, "forbids reading it"},
  };
  return lock(held.get(), path, ours, conflicts, "; stop that process first");
}

}  // namespace qd
