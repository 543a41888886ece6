// Files and block devices, read with pread. Two ways lead to the bytes:
//   buffered  straight into the caller's memory;
//   direct    O_DIRECT wants place, length and memory aligned. Where they aren't, whole blocks go through a buffer of
//             the thread's own, and the part that was asked for is copied out.
// A file system that turns out to have no O_DIRECT, at open or at the first read, is read buffered; then the pages are
// dropped after each read, and the kernel is told not to read ahead, since nobody would drop those pages.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <utility>

#include "base/checked.h"
#include "io/descriptor.h"
#include "io/file.h"
#include "io/posix_calls.h"

namespace qd {
namespace {

constexpr std::uint64_t block = 4096;  // alignment that suits every usual disk; where it doesn't, direct reading stops

struct alignas(block) Buffer {
  std::byte bytes[1 << 20];
};

// Kept for the thread's life: a fresh megabyte for each read would cost more in page faults than the read itself.
std::byte* aligned_buffer() {
  thread_local const std::unique_ptr<Buffer> buffer(new (std::nothrow) Buffer);
  return buffer ? buffer->bytes : nullptr;  // NOLINT(clang-analyzer-*): it takes thread_local for a local
}

bool aligned(std::uint64_t offset, std::span<const std::byte> into) {
  return (offset | into.size() | reinterpret_cast<std::uintptr_t>(into.data())) % block == 0;
}

ReadOutcome read_direct(int fd, std::uint64_t offset, std::span<std::byte> into) {
  if (aligned(offset, into)) {
    // A short read may end within a block. It is done again through the buffer, which copes with that.
    const ssize_t n = pread_again(fd, into.data(), into.size(), offset);
    if (n < 0) return {0, errno};
    if (static_cast<std::size_t>(n) == into.size()) return {into.size(), 0};
  }
  std::byte* const buffer = aligned_buffer();
  if (!buffer) return {0, ENOMEM};
  std::size_t done = 0;
  while (done < into.size()) {
    // Starts at a block again after a short read too, so a read that ends within a block can't misalign the next one.
    const std::size_t skip = (offset + done) % block;
    const std::size_t left = into.size() - done;
    const std::size_t length = std::min(sizeof(Buffer), round_up(skip + left, block));
    const ssize_t n = pread_again(fd, buffer, length, offset + done - skip);
    if (n < 0) return {done, errno};
    if (static_cast<std::size_t>(n) <= skip) break;
    const std::size_t useful = std::min(static_cast<std::size_t>(n) - skip, left);
    std::memcpy(into.data() + done, buffer + skip, useful);
    done += useful;
  }
  return {done, 0};
}

class PosixFile final : public File {
 public:
  PosixFile(std::string path, OpenedFile opened, std::uint64_t size, ReadOptions options)
      : path_(std::move(path)),
        descriptor_(std::move(opened.descriptor)),
        traits_(traits_of(opened)),
        size_(size),
        allocated_(traits_.knows_allocation ? static_cast<std::uint64_t>(opened.status.st_blocks) * 512 : size),
        spare_cache_(options.direct),
        direct_(opened.direct) {
    if (spare_cache_ && !direct_) stop_direct();
  }

  Result<std::size_t> read(std::uint64_t offset, std::span<std::byte> into) const override;
  std::uint64_t size() const override { return size_; }
  std::uint64_t allocated_bytes() const override { return allocated_; }
  FileTraits traits() const override { return traits_; }
  const std::string& path() const override { return path_; }
  void will_need(std::uint64_t offset, std::uint64_t length) const override;
  std::uint64_t stored_bytes(std::uint64_t offset, std::uint64_t length) const override {
    return stored_in(descriptor_.get(), traits_, size_, offset, length);
  }
  std::int64_t modified() const override { return modified_time(descriptor_.get()); }
  FileIdentity identity() const override { return identity_of(descriptor_.get()); }
  std::uint64_t next_data(std::uint64_t offset) const override {
    return data_from(descriptor_.get(), traits_, size_, offset);
  }

 private:
  ReadOutcome read_either_way(std::uint64_t offset, std::span<std::byte> into) const;
  void stop_direct() const;
  void drop_pages(std::uint64_t offset, std::uint64_t length) const;
  void advise(std::uint64_t offset, std::uint64_t length, int advice) const {
    ::posix_fadvise(descriptor_.get(), static_cast<off_t>(offset), static_cast<off_t>(length), advice);
  }

  const std::string path_;
  const Descriptor descriptor_;
  const BufferedReads buffered_;
  const FileTraits traits_;
  const std::uint64_t size_;
  const std::uint64_t allocated_;
  const bool spare_cache_;
  mutable std::atomic<bool> direct_;
};

Result<std::size_t> PosixFile::read(std::uint64_t offset, std::span<std::byte> into) const {
  const std::span<std::byte> wanted = into.first(static_cast<std::size_t>(within(size_, offset, into.size())));
  const ReadOutcome got = read_either_way(offset, wanted);
  if (spare_cache_ && !direct_ && !wanted.empty()) drop_pages(offset, wanted.size());
  count(got.error == 0 ? got.done : 0, got.waited);
  return finish_read(got, offset, into, path_);
}

ReadOutcome PosixFile::read_either_way(std::uint64_t offset, std::span<std::byte> into) const {
  if (direct_) {
    const ReadOutcome got = read_direct(descriptor_.get(), offset, into);
    if (got.error != EINVAL) return got;
    stop_direct();
  }
  return buffered_.read(descriptor_.get(), offset, into);
}

// Any thread may find out first, and several may: each step is harmless when repeated.
void PosixFile::stop_direct() const {
  const int flags = ::fcntl(descriptor_.get(), F_GETFL);
  if (flags >= 0) ::fcntl(descriptor_.get(), F_SETFL, flags & ~O_DIRECT);
  advise(0, 0, POSIX_FADV_RANDOM);
  direct_ = false;
}

// Names whole pages: the kernel keeps a page of which only a part is named.
void PosixFile::drop_pages(std::uint64_t offset, std::uint64_t length) const {
  static const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const std::uint64_t lead = offset % page;
  advise(offset - lead, round_up(lead + length, page), POSIX_FADV_DONTNEED);
}

void PosixFile::will_need(std::uint64_t offset, std::uint64_t length) const {
  if (spare_cache_) return;
  const std::uint64_t useful = within(size_, offset, length);
  if (useful > 0) advise(offset, useful, POSIX_FADV_WILLNEED);  // a length of 0 would mean: all of the file
}

}  // namespace

Result<std::unique_ptr<File>> open_file(const std::string& path, ReadOptions options) {
  auto opened = open_for_reading(path, options.direct, options.follow_link);
  if (!opened) return tl::unexpected(opened.error());
  const auto size = size_of(*opened, path);
  if (!size) return tl::unexpected(size.error());
  return std::make_unique<PosixFile>(path, std::move(*opened), *size, options);
}

}  // namespace qd
