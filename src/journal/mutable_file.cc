// Files and block devices that may be written to. All goes through the page cache: what must be on the disk in a
// certain order is put there by sync().
#include "journal/mutable_file.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <limits>
#include <utility>

#include "base/checked.h"
#include "io/descriptor.h"
#include "io/posix_calls.h"
#include "journal/qemu_lock.h"

namespace qd {
namespace {

class PosixMutable final : public MutableFile {
 public:
  PosixMutable(std::string path, OpenedFile opened, std::uint64_t size)
      : path_(std::move(path)), traits_(traits_of(opened)), descriptor_(std::move(opened.descriptor)), size_(size) {}

  Result<std::size_t> read(std::uint64_t offset, std::span<std::byte> into) const override {
    const auto wanted = into.first(static_cast<std::size_t>(within(size_, offset, into.size())));
    const ReadOutcome got = buffered_.read(fd(), offset, wanted);
    count(got.error == 0 ? got.done : 0, got.waited);
    return finish_read(got, offset, into, path_);
  }

  std::uint64_t size() const override { return size_; }
  std::uint64_t allocated_bytes() const override {
    struct stat status;
    if (!traits_.knows_allocation || ::fstat(fd(), &status) != 0) return size_;
    return static_cast<std::uint64_t>(status.st_blocks) * 512;
  }
  FileTraits traits() const override { return traits_; }
  const std::string& path() const override { return path_; }
  void will_need(std::uint64_t offset, std::uint64_t length) const override {
    const std::uint64_t useful = within(size_, offset, length);
    if (useful == 0) return;  // a length of 0 would mean: all of the file
    ::posix_fadvise(fd(), static_cast<off_t>(offset), static_cast<off_t>(useful), POSIX_FADV_WILLNEED);
  }
  std::uint64_t stored_bytes(std::uint64_t offset, std::uint64_t length) const override {
    return stored_in(fd(), traits_, size_, offset, length);
  }
  std::uint64_t next_data(std::uint64_t offset) const override { return data_from(fd(), traits_, size_, offset); }

  Result<void> write(std::uint64_t offset, std::span<const std::byte> bytes) override;
  Result<void> resize(std::uint64_t bytes) override;
  Result<bool> punch(std::uint64_t offset, std::uint64_t length) override;
  Result<void> sync() override;
  std::int64_t modified() const override { return modified_time(fd()); }
  FileIdentity identity() const override { return identity_of(fd()); }
  void set_modified(std::int64_t nanoseconds) override;

 private:
  int fd() const { return descriptor_.get(); }
  tl::unexpected<Error> cannot(int number, const std::string& what) const {
    return system_failure(number, "cannot " + what + " " + path_);
  }

  const std::string path_;
  const FileTraits traits_;
  const Descriptor descriptor_;
  const BufferedReads buffered_;
  std::uint64_t size_;
};

Result<void> PosixMutable::write(std::uint64_t offset, std::span<const std::byte> bytes) {
  const auto failed = [&](int number) {
    return cannot(number, fmt::format("write {} bytes at {:#x} of", bytes.size(), offset));
  };
  const auto end = checked_add(offset, bytes.size());
  if (!end || *end > std::numeric_limits<off_t>::max()) return failed(EFBIG);
  for (std::size_t done = 0; done < bytes.size();) {
    const ssize_t n = ::pwrite(fd(), bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return failed(n < 0 ? errno : ENOSPC);
    done += static_cast<std::size_t>(n);
    // What a failing write left behind counts as well: taking the image back starts from the real end.
    if (traits_.resizable) size_ = std::max(size_, offset + done);
  }
  return {};
}

Result<void> PosixMutable::resize(std::uint64_t bytes) {
  const auto failed = [&](int number) { return cannot(number, fmt::format("set the length to {} bytes of", bytes)); };
  if (bytes == size_) return {};
  if (!traits_.resizable) return failed(EINVAL);
  if (bytes > std::numeric_limits<off_t>::max()) return failed(EFBIG);
  while (::ftruncate(fd(), static_cast<off_t>(bytes)) != 0) {
    if (errno != EINTR) return failed(errno);
  }
  size_ = bytes;
  return {};
}

// For devices too: there the kernel either makes zeros while it gives the space back, or refuses. (BLKDISCARD promises
// nothing about what is read afterwards.)
Result<bool> PosixMutable::punch(std::uint64_t offset, std::uint64_t length) {
  length = within(size_, offset, length);
  if (length == 0) return true;
  while (::fallocate(fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                     static_cast<off_t>(length)) != 0) {
    if (errno == EINTR) continue;
    if (errno == EOPNOTSUPP || errno == ENOTTY || errno == EINVAL || errno == ENOSYS || errno == ENODEV) return false;
    return cannot(errno, fmt::format("give back {} bytes at {:#x} of", length, offset));
  }
  return true;
}

// fsync rather than fdatasync: an undo log tells by the time of the last change whether it still fits.
Result<void> PosixMutable::sync() {
  while (::fsync(fd()) != 0) {
    if (errno != EINTR) return cannot(errno, "write to the disk what was changed in");
  }
  return {};
}

void PosixMutable::set_modified(std::int64_t nanoseconds) {
  if (S_ISBLK(identity().mode)) return;  // its node has a time, what it holds has none
  std::int64_t seconds = nanoseconds / nanoseconds_per_second;
  std::int64_t rest = nanoseconds % nanoseconds_per_second;
  if (rest < 0) {  // before 1970
    rest += nanoseconds_per_second;
    --seconds;
  }
  const timespec times[] = {{0, UTIME_OMIT}, {seconds, rest}};
  ::futimens(fd(), times);
}

// A name is on the disk once its folder is. Some file systems can't sync a folder, and don't need it.
Result<void> sync_folder_of(const std::string& path) {
  const auto folder = std::filesystem::path(path).parent_path();
  const Descriptor held(::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (held.get() >= 0 && ::fsync(held.get()) == 0) return {};
  if (errno == EINVAL || errno == EACCES || errno == EROFS) return {};
  return system_failure(errno, "cannot write to the disk the folder of " + path);
}

}  // namespace

Result<std::unique_ptr<MutableFile>> open_mutable(const std::string& path) {
  auto opened = open_for_writing(path);
  if (!opened) return tl::unexpected(opened.error());
  if (auto locked = lock_for_writing(opened->descriptor, path); !locked) return tl::unexpected(locked.error());
  // The size is asked for under the lock: whoever held the lock before us may have made the file longer.
  if (::fstat(opened->descriptor.get(), &opened->status) != 0) return system_failure(errno, "cannot look at " + path);
  const auto size = size_of(*opened, path);
  if (!size) return tl::unexpected(size.error());
  return std::make_unique<PosixMutable>(path, std::move(*opened), *size);
}

Result<std::unique_ptr<MutableFile>> create_file(const std::string& path) {
  if (path.find('\0') != std::string::npos) {
    return fail(EINVAL, "cannot make " + std::string(path.c_str()) + "...: there is a zero byte in its name");
  }
  OpenedFile opened = {};
  do {
    opened.descriptor = Descriptor(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  } while (opened.descriptor.get() < 0 && errno == EINTR);
  if (opened.descriptor.get() < 0) return system_failure(errno, "cannot make " + path);
  if (::fstat(opened.descriptor.get(), &opened.status) != 0) return system_failure(errno, "cannot look at " + path);
  if (auto done = sync_folder_of(path); !done) return tl::unexpected(done.error());
  return std::make_unique<PosixMutable>(path, std::move(opened), 0);
}

}  // namespace qd
