// The system calls that files opened for reading and files opened for writing share, repeated until they are complete.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"
#include "io/descriptor.h"
#include "io/file.h"

namespace qd {

static_assert(sizeof(off_t) == 8, "images are larger than 2 GiB: build with _FILE_OFFSET_BITS=64");

// How far a read came, and the errno that stopped it (0: all read, or the end of the file).
struct ReadOutcome {
  std::size_t done;
  int error;
  bool waited = false;  // not all of it was in memory
};

ssize_t pread_again(int fd, void* into, std::size_t length, std::uint64_t offset);

// Reads through the page cache. A read first takes what the cache holds: if that isn't all, it counts as having waited.
// Thread-safe.
class BufferedReads {
 public:
  ReadOutcome read(int fd, std::uint64_t offset, std::span<std::byte> into) const;

 private:
  std::size_t read_cached(int fd, std::uint64_t offset, std::span<std::byte> into) const;

  mutable std::atomic<bool> can_tell_ = true;  // not every file system can; then all reads count as having waited
};

// Makes what File::read returns: fills the rest of `into` with zeros, and gives an error its sentence.
Result<std::size_t> finish_read(ReadOutcome got, std::uint64_t offset, std::span<std::byte> into,
                                const std::string& path);

FileTraits traits_of(const OpenedFile& opened);
Result<std::uint64_t> size_of(const OpenedFile& opened, const std::string& path);

// How many bytes of the range lie before the end, `size`. The end fits an off_t, so what is left of the range does.
inline std::uint64_t within(std::uint64_t size, std::uint64_t offset, std::uint64_t length) {
  return offset < size ? std::min(length, size - offset) : 0;
}

constexpr std::int64_t nanoseconds_per_second = 1'000'000'000;

// Do both names lead to one file, or to one device? False where one of them leads nowhere.
bool same_file(const std::string& one, const std::string& other);

// File::modified, identity, next_data and stored_bytes.
std::int64_t modified_time(int fd);
FileIdentity identity_of(int fd);
std::uint64_t data_from(int fd, const FileTraits& traits, std::uint64_t size, std::uint64_t offset);
std::uint64_t stored_in(int fd, const FileTraits& traits, std::uint64_t size, std::uint64_t offset,
                        std::uint64_t length);

}  // namespace qd
