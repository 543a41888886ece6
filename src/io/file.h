// What the rest of the program reads: bytes at a place, whatever holds them. A File can only be read; the door for
// writes is in src/journal.
//
// A short file is normal input. read() therefore fills what lies past the end with zeros, as QEMU's block layer does,
// and says how many bytes were really there.
//
// The size is the one at the time of opening, and reading ends there: all passes of a run agree on where the image
// ends, also while a guest makes it longer.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace qd {

// What is so for some files and not for others.
struct FileTraits {
  std::string_view kind = "regular file";  // in words, for reports
  bool resizable = true;                   // a device has the size it has
  bool knows_allocation = true;            // else all of it counts as stored: a device doesn't tell what it holds
  bool has_neighbours = true;              // other files can lie beside it; there is no room for them in /dev
};

inline constexpr FileTraits block_device_traits{
    .kind = "block device", .resizable = false, .knows_allocation = false, .has_neighbours = false};

struct ReadOptions {
  bool direct = false;  // O_DIRECT where the file system can; else the pages read are dropped from the cache afterwards
  bool follow_link = true;  // else ELOOP where the name is a link
};

// Which file was opened, and whose it is, whatever its name means by now. All zeros where nobody can tell (memory).
struct FileIdentity {
  std::uint64_t file_system = 0;  // its ID, which outlives a reboot where the device's number may not
  std::uint64_t inode = 0;        // for a block device: the device's number
  std::uint32_t owner = 0;        // user ID
  std::uint32_t mode = 0;         // kind and permissions, as stat() has them

  bool same_file(const FileIdentity& other) const {
    return file_system == other.file_system && inode == other.inode && inode != 0;
  }
};

class File {
 public:
  virtual ~File() = default;

  // Fills `into` from `offset` (bytes); returns how many bytes came from the file, the rest is zeros. May be called
  // from several threads at once. Error: the device's own (EIO, …), with the path and the offset in the message.
  virtual Result<std::size_t> read(std::uint64_t offset, std::span<std::byte> into) const = 0;

  virtual std::uint64_t size() const = 0;             // bytes; for a block device the device's
  virtual std::uint64_t allocated_bytes() const = 0;  // bytes the file system holds for it
  virtual FileTraits traits() const = 0;
  virtual const std::string& path() const = 0;

  // The name of a file that belongs to this one, as its undo log does: beside it, or else in the working folder.
  std::string companion(std::string_view ending) const {
    const std::size_t folder = traits().has_neighbours ? 0 : path().rfind('/') + 1;
    return path().substr(folder).append(ending);
  }

  // Time of the last change, nanoseconds since 1970; 0 where that means nothing (a device, memory).
  virtual std::int64_t modified() const { return 0; }

  virtual FileIdentity identity() const { return {}; }

  // Tells the system that [offset, offset + length) will be read soon. A hint: never fails.
  virtual void will_need(std::uint64_t, std::uint64_t) const {}

  // Bytes of [offset, offset + length) that the file system really stores (the rest are holes).
  virtual std::uint64_t stored_bytes(std::uint64_t offset, std::uint64_t length) const = 0;

  // The first byte at or after `offset` that is not in a hole; size() if there is none.
  virtual std::uint64_t next_data(std::uint64_t offset) const = 0;

  // For progress and statistics; may be asked while other threads read.
  std::uint64_t bytes_read() const { return bytes_read_.load(std::memory_order_relaxed); }
  std::uint64_t reads() const { return reads_.load(std::memory_order_relaxed); }
  // Reads whose bytes were not all in memory.
  virtual std::uint64_t waits() const { return waits_.load(std::memory_order_relaxed); }

 protected:
  void count(std::size_t bytes, bool waited = false) const {
    bytes_read_.fetch_add(bytes, std::memory_order_relaxed);
    reads_.fetch_add(1, std::memory_order_relaxed);
    if (waited) waits_.fetch_add(1, std::memory_order_relaxed);
  }

 private:
  mutable std::atomic<std::uint64_t> bytes_read_ = 0;
  mutable std::atomic<std::uint64_t> reads_ = 0;
  mutable std::atomic<std::uint64_t> waits_ = 0;
};

// Opens a regular file or a block device for reading. Not a byte of it is changed, nor its times beyond atime
// (O_NOATIME where the system lets us). Errors: ENOENT, EACCES, EISDIR for a folder, EINVAL for a pipe, a socket or
// a character device; none of these is waited for.
Result<std::unique_ptr<File>> open_file(const std::string& path, ReadOptions options = {});

// A file held in memory, for tests and for fuzzing.
std::unique_ptr<File> memory_file(std::string bytes, std::string name = "memory");

// The same bytes, but every read that touches [offset, offset + length) fails with `number`.
std::unique_ptr<File> faulty_file(std::unique_ptr<File> inner, std::uint64_t offset, std::uint64_t length, int number);

}  // namespace qd
