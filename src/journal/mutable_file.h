// A file that may be changed. Two kinds of code hold one: the Transaction, through which every byte of an image is
// changed, and the undo log it keeps. All others get a File, which has no way to write.
//
// read() and size() follow what was written. Reading from several threads is safe while nobody writes; one thread
// writes.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/result.h"
#include "io/file.h"

namespace qd {

class MutableFile : public File {
 public:
  // Writes all of `bytes` at `offset`, and makes a file longer where need be. A device can't grow (ENOSPC).
  virtual Result<void> write(std::uint64_t offset, std::span<const std::byte> bytes) = 0;

  // Cuts the file off, or makes it longer by a hole. EINVAL for a device, unless it is the size it has.
  virtual Result<void> resize(std::uint64_t bytes) = 0;

  // [offset, offset + length) reads as zeros from now on, and its space is given back. False: this file system or
  // device can't, and nothing has changed.
  virtual Result<bool> punch(std::uint64_t offset, std::uint64_t length) = 0;

  // All that was written before survives a loss of power from here on.
  virtual Result<void> sync() = 0;

  // Sets what modified() tells, as far as the system lets us.
  virtual void set_modified(std::int64_t nanoseconds) = 0;
};

// Opens an image for changing it, and holds QEMU's locks as long as the file lives: nobody else may write to it or
// resize it. EAGAIN (exit code 245) if another process does so already, or forbids us to; EACCES, EROFS, EPERM
// (immutable), ENOENT and the like with a sentence.
Result<std::unique_ptr<MutableFile>> open_mutable(const std::string& path);

// Makes a new file, readable by the owner only, and makes its name survive a loss of power. EEXIST if there is one.
Result<std::unique_ptr<MutableFile>> create_file(const std::string& path);

}  // namespace qd
