// What may be opened, by whom, and what is said when it may not.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "io_testing.h"

namespace qd {
namespace {

using OpenFile = FolderTest;

TEST_F(OpenFile, AMissingFileIsAnError) {
  const std::string path = folder_ + "/missing";
  EXPECT_EQ(error_of(open_file(path)).number, ENOENT);
  EXPECT_EQ(error_of(open_file(path)).message, "cannot open " + path + ": No such file or directory");
  EXPECT_EQ(error_of(open_file("")).number, ENOENT);
}

TEST_F(OpenFile, RefusesWhatIsNoFile) {
  EXPECT_EQ(error_of(open_file(folder_)).number, EISDIR);
  EXPECT_EQ(error_of(open_file(folder_)).message,
            "cannot open " + folder_ + ": it is a folder, not a file or a block device");

  const std::string pipe = place("pipe");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(error_of(open_file(pipe)).number, EINVAL);
  EXPECT_EQ(error_of(open_file(pipe)).message, "cannot open " + pipe + ": it is a pipe, not a file or a block device");

  const std::string socket = place("socket");
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  ASSERT_LT(socket.size(), sizeof address.sun_path);
  std::memcpy(address.sun_path, socket.c_str(), socket.size());
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(error_of(open_file(socket)).number, EINVAL);
  ::close(fd);

  EXPECT_EQ(error_of(open_file("/dev/null")).number, EINVAL);
  EXPECT_EQ(error_of(open_file("/dev/null")).message,
            "cannot open /dev/null: it is a character device, not a file or a block device");
}

// A backing file's name comes out of an image and can hold anything.
TEST_F(OpenFile, ANameIsNotCutAtAZeroByte) {
  const std::string path = write_file("image", "bytes");
  EXPECT_EQ(error_of(open_file(path + std::string("\0.qcow2", 7))).number, EINVAL);
}

// Runs `body` as somebody who owns no file here; a superuser may read anything, with O_NOATIME as well.
template <class Body>
bool holds_for_a_stranger(Body body) {
  const pid_t child = ::fork();
  if (child == 0) {
    const bool changed = ::geteuid() != 0 || ::setuid(65534) == 0;
    ::_exit(changed && body() ? 0 : 1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST_F(OpenFile, ReadsWhatOthersOwn) {
  EXPECT_TRUE(holds_for_a_stranger([] {
    const auto file = open_file("/etc/passwd");
    return file && (*file)->size() > 0;
  }));
}

TEST_F(OpenFile, SaysWhenReadingIsForbidden) {
  ASSERT_EQ(::chmod(folder_.c_str(), 0755), 0);
  const std::string path = write_file("image", "secret");
  ASSERT_EQ(::chmod(path.c_str(), 0), 0);
  EXPECT_TRUE(holds_for_a_stranger([&] {
    const Error error = error_of(open_file(path));
    return error.number == EACCES && error.message == "cannot open " + path + ": Permission denied";
  }));
}

// As a file server does that has lent the file to one of its clients.
int lease_holder = -1;

TEST_F(OpenFile, WaitsForALeaseToBeGivenBack) {
  const std::string path = write_file("image", "bytes");
  struct sigaction give_back = {};
  struct sigaction before;
  give_back.sa_handler = [](int) { ::fcntl(lease_holder, F_SETLEASE, F_UNLCK); };
  ASSERT_EQ(::sigaction(SIGIO, &give_back, &before), 0);
  lease_holder = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (::fcntl(lease_holder, F_SETLEASE, F_WRLCK) == 0) {  // not every file system has leases
    EXPECT_EQ(read_from(*open(path), 0, 5), expected_from("bytes", 0, 5));
  }
  ::close(lease_holder);
  ::sigaction(SIGIO, &before, nullptr);
}

}  // namespace
}  // namespace qd
