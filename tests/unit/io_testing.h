// What the tests of files share: bytes to write, what a read must give, and a folder to write in.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <limits>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "io/file.h"

namespace qd {

inline constexpr auto top = std::numeric_limits<std::uint64_t>::max();
inline constexpr std::uint64_t mib = 1 << 20;

inline std::string random_bytes(std::size_t length, unsigned seed = 1) {
  std::mt19937 random(seed);
  std::string bytes(length, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random() % 255 + 1);  // never zero: zeros are what is filled in
  return bytes;
}

// What a read gave, in a buffer that was full of rubbish before.
struct Got {
  std::size_t count = 0;
  std::string bytes;
  bool operator==(const Got&) const = default;
};

inline Got read_from(const File& file, std::uint64_t offset, std::size_t length) {
  Got got{0, std::string(length, '\xee')};
  const auto count = file.read(offset, std::as_writable_bytes(std::span(got.bytes)));
  EXPECT_TRUE(count) << count.error().message;
  got.count = count.value_or(0);
  return got;
}

inline Got expected_from(const std::string& bytes, std::uint64_t offset, std::size_t length) {
  Got expected{0, std::string(length, '\0')};
  if (offset < bytes.size()) expected.count = bytes.copy(expected.bytes.data(), length, offset);
  return expected;
}

inline Error error_of(const Result<std::unique_ptr<File>>& opened) { return opened ? Error{} : opened.error(); }

// A folder for the files of one test, gone after it.
class FolderTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "qd-file-XXXXXX";
    ASSERT_NE(::mkdtemp(folder_.data()), nullptr);
  }
  void TearDown() override {
    for (const auto& path : made_) ::unlink(path.c_str());
    EXPECT_EQ(::rmdir(folder_.c_str()), 0);
  }

  std::string place(const std::string& name) { return made_.emplace_back(folder_ + "/" + name); }

  std::string write_file(const std::string& name, const std::string& bytes) {
    const std::string path = place(name);
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    EXPECT_EQ(::write(fd, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
    EXPECT_EQ(::fsync(fd), 0);
    ::close(fd);
    return path;
  }

  static std::unique_ptr<File> open(const std::string& path, bool direct = false) {
    auto opened = open_file(path, {.direct = direct});
    EXPECT_TRUE(opened) << opened.error().message;
    return opened ? std::move(*opened) : memory_file("");
  }

  std::string folder_;
  std::vector<std::string> made_;
};

}  // namespace qd
