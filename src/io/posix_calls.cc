#include "io/posix_calls.h"

#include <fmt/core.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace qd {

ssize_t pread_again(int fd, void* into, std::size_t length, std::uint64_t offset) {
  ssize_t n;
  do n = ::pread(fd, into, length, static_cast<off_t>(offset));
  while (n < 0 && errno == EINTR);
  return n;
}

ReadOutcome BufferedReads::read(int fd, std::uint64_t offset, std::span<std::byte> into) const {
  std::size_t done = read_cached(fd, offset, into);
  const bool waited = done < into.size();
  while (done < into.size()) {
    const ssize_t n = pread_again(fd, into.data() + done, into.size() - done, offset + done);
    if (n < 0) return {done, errno, waited};
    if (n == 0) break;
    done += static_cast<std::size_t>(n);
  }
  return {done, 0, waited};
}

std::size_t BufferedReads::read_cached(int fd, std::uint64_t offset, std::span<std::byte> into) const {
  if (into.empty() || !can_tell_.load(std::memory_order_relaxed)) return 0;
  const iovec whole{into.data(), into.size()};
  const ssize_t n = ::preadv2(fd, &whole, 1, static_cast<off_t>(offset), RWF_NOWAIT);
  if (n < 0 && (errno == EOPNOTSUPP || errno == ENOSYS)) can_tell_.store(false, std::memory_order_relaxed);
  return n < 0 ? 0 : static_cast<std::size_t>(n);
}

Result<std::size_t> finish_read(ReadOutcome got, std::uint64_t offset, std::span<std::byte> into,
                                const std::string& path) {
  if (got.error != 0) {
    return system_failure(got.error, fmt::format("cannot read {} bytes at {:#x} of {}", into.size(), offset, path));
  }
  std::fill(into.begin() + static_cast<std::ptrdiff_t>(got.done), into.end(), std::byte{0});
  return got.done;
}

FileTraits traits_of(const OpenedFile& opened) {
  return S_ISBLK(opened.status.st_mode) ? block_device_traits : FileTraits{};
}

// A device's status has no size; a driver without the ioctl can still be asked for its end.
Result<std::uint64_t> size_of(const OpenedFile& opened, const std::string& path) {
  if (S_ISREG(opened.status.st_mode)) return static_cast<std::uint64_t>(opened.status.st_size);
  std::uint64_t size = 0;
  if (::ioctl(opened.descriptor.get(), BLKGETSIZE64, &size) == 0) return size;
  const off_t end = ::lseek(opened.descriptor.get(), 0, SEEK_END);
  if (end < 0) return system_failure(errno, "cannot find out the size of " + path);
  return static_cast<std::uint64_t>(end);
}

std::int64_t modified_time(int fd) {
  struct stat status;
  if (::fstat(fd, &status) != 0 || S_ISBLK(status.st_mode)) return 0;
  return status.st_mtim.tv_sec * nanoseconds_per_second + status.st_mtim.tv_nsec;
}

FileIdentity identity_of(int fd) {
  struct stat status;
  struct statvfs system;
  if (::fstat(fd, &status) != 0) return {};
  FileIdentity id = {.inode = status.st_ino, .owner = status.st_uid, .mode = status.st_mode};
  if (S_ISBLK(status.st_mode)) {
    id.inode = status.st_rdev;  // the node in /dev is made anew at each start, so its inode means nothing
  } else if (::fstatvfs(fd, &system) == 0) {
    id.file_system = system.f_fsid;
  }
  return id;
}

std::uint64_t data_from(int fd, const FileTraits& traits, std::uint64_t size, std::uint64_t offset) {
  if (offset >= size) return size;
  if (!traits.knows_allocation) return offset;
  const off_t data = ::lseek(fd, static_cast<off_t>(offset), SEEK_DATA);
  if (data < 0) return errno == ENXIO ? size : offset;  // ENXIO: only a hole from here on; else: it can't tell
  return std::clamp(static_cast<std::uint64_t>(data), offset, size);
}

std::uint64_t stored_in(int fd, const FileTraits& traits, std::uint64_t size, std::uint64_t offset,
                        std::uint64_t length) {
  const std::uint64_t available = within(size, offset, length);
  if (available == 0 || !traits.knows_allocation) return available;

  const std::uint64_t end = offset + available;
  std::uint64_t stored = 0;
  while ((offset = data_from(fd, traits, size, offset)) < end) {
    const off_t hole = ::lseek(fd, static_cast<off_t>(offset), SEEK_HOLE);
    const bool known = hole >= 0 && static_cast<std::uint64_t>(hole) > offset;
    const std::uint64_t stop = known ? std::min(static_cast<std::uint64_t>(hole), end) : end;
    stored += stop - offset;
    offset = stop;
  }
  return stored;
}

bool same_file(const std::string& one, const std::string& other) {
  struct stat a = {}, b = {};
  if (::stat(one.c_str(), &a) != 0 || ::stat(other.c_str(), &b) != 0) return false;
  if (S_ISBLK(a.st_mode) && S_ISBLK(b.st_mode)) return a.st_rdev == b.st_rdev;
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

}  // namespace qd
