// An open file descriptor that closes itself, and the one way in which images are opened.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <utility>

#include "base/result.h"

namespace qd {

class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    Descriptor taken(std::move(other));
    std::swap(fd_, taken.fd_);  // what we held before is closed here and now, not whenever `other` dies
    return *this;
  }
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }

  int get() const { return fd_; }

 private:
  int fd_ = -1;
};

struct OpenedFile {
  Descriptor descriptor;
  struct stat status;  // of what was opened, not of what the name means by now
  bool direct;         // O_DIRECT was asked for and is on
};

// Opens a regular file or a block device, and nothing else. Never waits for a pipe's other end, nor wakes a device.
// ELOOP if the name is a link and links aren't followed.
Result<OpenedFile> open_for_reading(const std::string& path, bool direct, bool follow_link = true);
Result<OpenedFile> open_for_writing(const std::string& path);  // and for reading

// fail(), with the system's words for `number` behind a colon.
tl::unexpected<Error> system_failure(int number, const std::string& what);

}  // namespace qd
