// The kind of a file is looked at twice: before opening, since opening alone can block (a pipe) or act (a tape rewinds,
// a watchdog starts), and after opening, since the name may mean another file by then. O_NONBLOCK covers the moment
// between the two, and is taken off again.
#include "io/descriptor.h"

#include <cerrno>
#include <system_error>

namespace qd {
namespace {

tl::unexpected<Error> cannot_open(const std::string& path, int number) {
  return system_failure(number, "cannot open " + path);
}

Result<void> require_file_or_disk(const std::string& path, mode_t mode) {
  const auto refuse = [&](int number, const char* what) {
    return fail(number, "cannot open " + path + ": it is " + what + ", not a file or a block device");
  };
  switch (mode & S_IFMT) {
    case S_IFREG:
    case S_IFBLK:
      return {};
    case S_IFDIR:
      return refuse(EISDIR, "a folder");
    case S_IFIFO:
      return refuse(EINVAL, "a pipe");
    case S_IFSOCK:
      return refuse(EINVAL, "a socket");
    case S_IFCHR:
      return refuse(EINVAL, "a character device");
    case S_IFLNK:
      return refuse(ELOOP, "a link");
    default:
      return refuse(EINVAL, "something else");
  }
}

Result<OpenedFile> open_image(const std::string& path, int how) {
  // Names come from images as well (a backing file): the part before a zero byte would be another file.
  if (path.find('\0') != std::string::npos) {
    return fail(EINVAL, "cannot open " + std::string(path.c_str()) + "...: there is a zero byte in its name");
  }

  struct stat status;
  if (::fstatat(AT_FDCWD, path.c_str(), &status, how & O_NOFOLLOW ? AT_SYMLINK_NOFOLLOW : 0) != 0) {
    return cannot_open(path, errno);
  }
  if (auto fit = require_file_or_disk(path, status.st_mode); !fit) return tl::unexpected(fit.error());

  int flags = how | O_CLOEXEC | O_NONBLOCK | O_NOATIME;
  Descriptor descriptor;
  while (descriptor.get() < 0) {
    descriptor = Descriptor(::open(path.c_str(), flags));
    if (descriptor.get() >= 0 || errno == EINTR) continue;
    if (errno == EPERM && (flags & O_NOATIME)) {
      flags &= ~O_NOATIME;  // only the owner may
    } else if (errno == EINVAL && (flags & O_DIRECT)) {
      flags &= ~O_DIRECT;  // the file system can't
    } else if (errno == EWOULDBLOCK && (flags & O_NONBLOCK)) {
      flags &= ~O_NONBLOCK;  // a file server holds a lease on it, and has just been told to give it back: wait for that
    } else {
      return cannot_open(path, errno);
    }
  }

  if (::fstat(descriptor.get(), &status) != 0) return cannot_open(path, errno);
  if (auto fit = require_file_or_disk(path, status.st_mode); !fit) return tl::unexpected(fit.error());
  if (::fcntl(descriptor.get(), F_SETFL, flags & ~O_NONBLOCK) != 0) return cannot_open(path, errno);
  return OpenedFile{std::move(descriptor), status, (flags & O_DIRECT) != 0};
}

}  // namespace

tl::unexpected<Error> system_failure(int number, const std::string& what) {
  return fail(number, what + ": " + std::generic_category().message(number));
}

Result<OpenedFile> open_for_reading(const std::string& path, bool direct, bool follow_link) {
  return open_image(path, O_RDONLY | (direct ? O_DIRECT : 0) | (follow_link ? 0 : O_NOFOLLOW));
}

Result<OpenedFile> open_for_writing(const std::string& path) {
  auto opened = open_image(path, O_RDWR);
  if (!opened && opened.error().number == EPERM) {
    opened.error().message += " (the file may be marked immutable, see lsattr)";
  } else if (!opened && (opened.error().number == EACCES || opened.error().number == EROFS)) {
    opened.error().message += " (it must be opened for writing)";
  }
  return opened;
}

}  // namespace qd
