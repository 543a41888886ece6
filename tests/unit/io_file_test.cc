#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <random>
#include <span>
#include <thread>
#include <vector>

#include "io/file.h"
#include "io/read_buffer.h"
#include "io_testing.h"

namespace qd {
namespace {

using PosixFile = FolderTest;

TEST_F(PosixFile, ReadsAndSaysWhatItIs) {
  const std::string bytes = random_bytes(10'000);
  const std::string path = write_file("image", bytes);
  const auto file = open(path);
  EXPECT_EQ(file->size(), 10'000u);
  EXPECT_GE(file->allocated_bytes(), 10'000u);
  EXPECT_EQ(file->traits().kind, "regular file");
  EXPECT_TRUE(file->traits().resizable && file->traits().knows_allocation && file->traits().has_neighbours);
  EXPECT_EQ(file->path(), path);
  EXPECT_EQ(read_from(*file, 0, 10'000), expected_from(bytes, 0, 10'000));
  EXPECT_EQ(read_from(*file, 512, 1024), expected_from(bytes, 512, 1024));
  EXPECT_EQ(read_from(*file, 5, 0), expected_from(bytes, 5, 0));
}

TEST_F(PosixFile, FillsWithZerosPastTheEnd) {
  const std::string bytes = random_bytes(10'000);
  const std::string path = write_file("image", bytes);
  for (const bool direct : {false, true}) {
    const auto file = open(path, direct);
    EXPECT_EQ(read_from(*file, 9'990, 100), expected_from(bytes, 9'990, 100));
    EXPECT_EQ(read_from(*file, 9'990, 100).count, 10u);
    for (const std::uint64_t offset : {std::uint64_t{9'999}, std::uint64_t{10'000}, std::uint64_t{10'001},
                                       std::uint64_t{12'288}, std::uint64_t{1} << 40, (std::uint64_t{1} << 63) - 4096,
                                       (std::uint64_t{1} << 63) - 1, std::uint64_t{1} << 63, top - 4095, top}) {
      EXPECT_EQ(read_from(*file, offset, 8192), expected_from(bytes, offset, 8192)) << offset;
    }
  }
}

TEST_F(PosixFile, AnEmptyFileIsAllEnd) {
  const std::string path = write_file("empty", "");
  for (const bool direct : {false, true}) {
    const auto file = open(path, direct);
    EXPECT_EQ(file->size(), 0u);
    EXPECT_EQ(file->allocated_bytes(), 0u);
    EXPECT_EQ(read_from(*file, 0, 512), expected_from("", 0, 512));
    EXPECT_EQ(file->next_data(0), 0u);
    EXPECT_EQ(file->stored_bytes(0, top), 0u);
  }
}

TEST_F(PosixFile, DirectGivesTheSameBytes) {
  const std::string bytes = random_bytes(3 * mib + 1234);
  const std::string path = write_file("image", bytes);
  const auto buffered = open(path);
  const auto direct = open(path, true);

  // Around the ends of blocks, of the bounce buffer and of the file.
  const std::uint64_t edges[] = {0, 512, 4096, 8192, mib - 4096, mib, 2 * mib, 3 * mib, bytes.size()};
  const std::size_t lengths[] = {1, 511, 512, 4095, 4096, 4097, mib - 1, mib, mib + 1, 2 * mib + 4096};
  for (const std::uint64_t edge : edges) {
    for (const std::uint64_t offset : {edge - std::min<std::uint64_t>(edge, 1), edge, edge + 1}) {
      for (const std::size_t length : lengths) {
        const Got expected = expected_from(bytes, offset, length);
        ASSERT_EQ(read_from(*buffered, offset, length), expected) << offset << " " << length;
        ASSERT_EQ(read_from(*direct, offset, length), expected) << offset << " " << length;
      }
    }
  }
}

TEST_F(PosixFile, DirectGivesTheSameBytesAnywhere) {
  std::mt19937 random(2);
  for (const std::size_t size : {std::size_t{777}, std::size_t{4096}, std::size_t{70'001}, 2 * mib + 513}) {
    const std::string bytes = random_bytes(size, static_cast<unsigned>(size));
    const std::string path = write_file("image" + std::to_string(size), bytes);
    const auto buffered = open(path);
    const auto direct = open(path, true);
    for (int round = 0; round < 500; ++round) {
      const std::uint64_t offset = random() % (size + 5000);
      const std::size_t length = random() % (round % 10 == 0 ? 3 * mib : 20'000);
      const Got expected = expected_from(bytes, offset, length);
      ASSERT_EQ(read_from(*buffered, offset, length), expected) << size << " " << offset << " " << length;
      ASSERT_EQ(read_from(*direct, offset, length), expected) << size << " " << offset << " " << length;
    }
  }
}

TEST_F(PosixFile, ManyThreadsReadOneFile) {
  const std::string bytes = random_bytes(2 * mib + 77);
  const std::string path = write_file("image", bytes);
  for (const bool direct : {false, true}) {
    const auto file = open(path, direct);
    std::vector<std::thread> threads;
    std::vector<int> wrong(4, 0);
    for (unsigned number = 0; number < wrong.size(); ++number) {
      threads.emplace_back([&, number] {
        std::mt19937 random(number);
        for (int round = 0; round < 100; ++round) {
          const std::uint64_t offset = random() % bytes.size();
          const std::size_t length = random() % 100'000;
          wrong[number] += read_from(*file, offset, length) != expected_from(bytes, offset, length);
        }
      });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(wrong, std::vector<int>(4, 0));
    EXPECT_EQ(file->reads(), 400u);
  }
}

// Is O_DIRECT on for the descriptor that this process has open on the file?
bool is_open_direct(const std::string& path) {
  struct stat wanted;
  EXPECT_EQ(::stat(path.c_str(), &wanted), 0);
  for (int fd = 0; fd < 1024; ++fd) {
    struct stat status;
    if (::fstat(fd, &status) != 0 || status.st_ino != wanted.st_ino || status.st_dev != wanted.st_dev) continue;
    return (::fcntl(fd, F_GETFL) & O_DIRECT) != 0;
  }
  return false;
}

// A misaligned read would give the right bytes too, by the way around: this sees that it isn't taken for nothing.
TEST_F(PosixFile, DirectStaysDirect) {
  const std::string path = write_file("image", random_bytes(70'001));
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT);
  alignas(4096) static char block[4096];
  const bool possible = fd >= 0 && ::pread(fd, block, sizeof block, 0) == sizeof block;
  if (fd >= 0) ::close(fd);

  const auto file = open(path, true);
  read_from(*file, 777, 12'345);
  read_from(*file, 69'000, 5000);
  EXPECT_EQ(is_open_direct(path), possible);
}

// Kernel files can't do O_DIRECT, and say they are larger than they are.
TEST_F(PosixFile, DoesWithoutDirectWhereTheSystemCannot) {
  const std::string path = "/sys/devices/system/cpu/online";
  const auto buffered = open(path);
  const auto direct = open(path, true);
  ASSERT_GT(direct->size(), 0u);
  const Got got = read_from(*direct, 0, 4096);
  EXPECT_GT(got.count, 0u);
  EXPECT_LT(got.count, direct->size());
  EXPECT_EQ(got, read_from(*buffered, 0, 4096));
}

// How many pages of the file are in the page cache.
std::size_t pages_cached(const std::string& path, std::size_t size) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  void* map = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
  ::close(fd);
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> cached((size + page - 1) / page);
  EXPECT_EQ(::mincore(map, size, cached.data()), 0);
  ::munmap(map, size);
  return static_cast<std::size_t>(std::count_if(cached.begin(), cached.end(), [](auto page_) { return page_ & 1; }));
}

TEST_F(PosixFile, DirectLeavesThePageCacheAlone) {
  const std::string path = write_file("image", random_bytes(mib + 100));
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  ::close(fd);
  if (pages_cached(path, mib + 100) > 0) return;  // a file system that lives in memory: there is nothing to leave alone

  const auto file = open(path, true);
  file->will_need(0, mib);
  read_from(*file, 0, mib + 100);
  read_from(*file, 70'001, 12'345);
  EXPECT_EQ(pages_cached(path, mib + 100), 0u);
}

TEST_F(PosixFile, HintsNeverFail) {
  const auto file = open(write_file("image", random_bytes(5000)));
  for (const std::uint64_t offset : {std::uint64_t{0}, std::uint64_t{4999}, std::uint64_t{5000}, top}) {
    for (const std::uint64_t length : {std::uint64_t{0}, std::uint64_t{1}, top}) file->will_need(offset, length);
  }
}

TEST_F(PosixFile, CountsWhatItReads) {
  const auto file = open(write_file("image", random_bytes(5000)));
  EXPECT_EQ(file->bytes_read(), 0u);
  read_from(*file, 0, 4096);
  read_from(*file, 4096, 4096);
  EXPECT_EQ(file->bytes_read(), 5000u);
  EXPECT_EQ(file->reads(), 2u);
}

// Can this file system tell that a read would have to wait?
bool tells_waiting(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  char byte = 0;
  const iovec into{&byte, 1};
  const ssize_t n = ::preadv2(fd, &into, 1, 0, RWF_NOWAIT);
  const bool can = n >= 0 || errno == EAGAIN;
  ::close(fd);
  return can;
}

TEST_F(PosixFile, KnowsWhetherReadsHaveToWait) {
  const std::string bytes = random_bytes(mib);
  const std::string path = write_file("image", bytes);
  if (!tells_waiting(path)) return;  // then every read counts as waiting
  const auto file = open(path);
  read_from(*file, 0, mib);
  const std::uint64_t before = file->waits();
  EXPECT_EQ(read_from(*file, 4096, 65536), expected_from(bytes, 4096, 65536));
  EXPECT_EQ(file->waits(), before);  // it was all read a moment ago

  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  ::fsync(fd);
  ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  ::close(fd);
  if (pages_cached(path, mib) > 0) return;  // a file system that lives in memory
  EXPECT_EQ(read_from(*file, 4096, 65536), expected_from(bytes, 4096, 65536));
  EXPECT_EQ(file->waits(), before + 1);
}

TEST_F(PosixFile, AlignedDirectReadsEndWithTheFile) {
  const std::string bytes = random_bytes(3 * 4096 + 700);
  const auto file = open(write_file("image", bytes), true);
  ReadBuffer buffer;
  const auto into = std::as_writable_bytes(buffer.words(2 * 4096 / 8));
  for (const std::uint64_t offset : {0, 4096, 2 * 4096, 3 * 4096, 4 * 4096}) {
    std::ranges::fill(into, std::byte{0xee});
    const auto count = file->read(offset, into);
    ASSERT_TRUE(count);
    const Got got{*count, std::string(reinterpret_cast<const char*>(into.data()), into.size())};
    EXPECT_EQ(got, expected_from(bytes, offset, into.size())) << offset;
  }
}

TEST_F(PosixFile, KnowsTheHoles) {
  const std::string path = place("sparse");
  const std::string data = random_bytes(128 * 1024);
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  ASSERT_EQ(::pwrite(fd, data.data(), data.size(), 1 * mib), static_cast<ssize_t>(data.size()));
  ASSERT_EQ(::pwrite(fd, data.data(), data.size(), 4 * mib), static_cast<ssize_t>(data.size()));
  ASSERT_EQ(::ftruncate(fd, 8 * mib), 0);
  ASSERT_EQ(::fsync(fd), 0);
  ::close(fd);

  for (const bool direct : {false, true}) {
    const auto file = open(path, direct);
    EXPECT_EQ(file->size(), 8 * mib);
    EXPECT_LT(file->allocated_bytes(), mib);

    EXPECT_EQ(file->next_data(0), 1 * mib);
    EXPECT_EQ(file->next_data(1 * mib), 1 * mib);
    EXPECT_EQ(file->next_data(1 * mib + 5), 1 * mib + 5);
    EXPECT_EQ(file->next_data(2 * mib), 4 * mib);
    EXPECT_EQ(file->next_data(5 * mib), 8 * mib);
    EXPECT_EQ(file->next_data(8 * mib), 8 * mib);
    EXPECT_EQ(file->next_data(top), 8 * mib);

    EXPECT_EQ(file->stored_bytes(0, top), 2 * data.size());
    EXPECT_EQ(file->stored_bytes(0, mib), 0u);
    EXPECT_EQ(file->stored_bytes(0, mib + 1), 1u);
    EXPECT_EQ(file->stored_bytes(mib + 10, 100), 100u);
    EXPECT_EQ(file->stored_bytes(mib + 10, 4 * mib), 2 * data.size() - 10);
    EXPECT_EQ(file->stored_bytes(5 * mib, 0), 0u);
    EXPECT_EQ(file->stored_bytes(8 * mib, 1), 0u);
    EXPECT_EQ(file->stored_bytes(top, top), 0u);
  }
}

TEST_F(PosixFile, HasOneSizeForAllItsLife) {
  const std::string path = write_file("image", "abcdef");
  const auto file = open(path);
  ASSERT_EQ(::truncate(path.c_str(), 9000), 0);
  EXPECT_EQ(file->size(), 6u);
  EXPECT_EQ(read_from(*file, 0, 10), expected_from("abcdef", 0, 10));
  ASSERT_EQ(::truncate(path.c_str(), 2), 0);
  EXPECT_EQ(file->size(), 6u);
  EXPECT_EQ(read_from(*file, 0, 10), expected_from("ab", 0, 10));
}

TEST_F(PosixFile, ChangesNoTimes) {
  const std::string path = write_file("image", random_bytes(100'000));
  struct stat before;
  struct stat after;
  ASSERT_EQ(::stat(path.c_str(), &before), 0);
  for (const bool direct : {false, true}) {
    const auto file = open(path, direct);
    file->will_need(0, 100'000);
    read_from(*file, 1000, 50'000);
    file->stored_bytes(0, 100'000);
  }
  ASSERT_EQ(::stat(path.c_str(), &after), 0);
  const auto same = [](const timespec& a, const timespec& b) { return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec; };
  EXPECT_TRUE(same(before.st_mtim, after.st_mtim));
  EXPECT_TRUE(same(before.st_ctim, after.st_ctim));
  EXPECT_TRUE(same(before.st_atim, after.st_atim));  // we own it, so O_NOATIME is ours
}

}  // namespace
}  // namespace qd
