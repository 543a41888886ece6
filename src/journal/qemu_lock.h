// QEMU's image locks, so that we see a running writer and a starting QEMU sees us. QEMU's file driver takes open file
// description locks on single bytes: byte 100 + n is locked (shared) by whoever uses permission n, byte 200 + n by
// whoever forbids others to use permission n. Permissions: 0 consistent read, 1 write, 2 write unchanged, 3 resize.
//
// On a file system that has no such locks nobody can be seen, and all functions say that nobody is there.
#pragma once

#include <string>
#include <utility>

#include "base/result.h"
#include "io/descriptor.h"

namespace qd {

// Does anybody hold the image with write or resize permission? Looks only, takes no lock. A lock belongs to an opened
// file, not to a process: one that this process took through another descriptor counts as well.
Result<bool> has_writer(const std::string& path);

// Reads under QEMU's rules for as long as it lives: announces that the image is being read and that nobody may write.
class ReadLock {
 public:
  // EAGAIN (exit code 245) if somebody writes to the image, or forbids reading it.
  static Result<ReadLock> take(const std::string& path);

  ReadLock(ReadLock&& other) noexcept = default;
  ReadLock& operator=(ReadLock&& other) noexcept = default;

 private:
  explicit ReadLock(Descriptor held) : held_(std::move(held)) {}
  Descriptor held_;  // closing it gives the locks back
};

// Announces that we read, write and resize, and that nobody else may write or resize. `held` is the very descriptor
// through which the image will be changed; the locks last until it is closed. EAGAIN (exit code 245) if somebody writes
// or resizes, or forbids us any of the three. A ReadLock of our own forbids it, too: give that back first.
Result<void> lock_for_writing(const Descriptor& held, const std::string& path);

}  // namespace qd
