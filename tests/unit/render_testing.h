// What the tests of reports share: a small image with one snapshot, made in memory, and what a renderer writes.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <initializer_list>
#include <string>
#include <utility>

#include "base/endian.h"
#include "check/check.h"
#include "image/image.h"
#include "render/output.h"
#include "session/outcome.h"

namespace qd::render {

// Clusters of 4 KiB: header, refcount table, refcount block, L1, L2, data, data, snapshot table, the snapshot's L1.
// The snapshot shares the L2 table with the active disk. Nothing is wrong with it.
class ImageBytes {
 public:
  static constexpr std::uint64_t cluster = 4096;

  explicit ImageBytes(const std::string& snapshot_name = "first") : bytes_(9 * cluster, '\0') {
    put<std::uint32_t>(0, 0x514649fb);
    put<std::uint32_t>(4, 3);
    put<std::uint32_t>(20, 12);
    put<std::uint64_t>(24, 1 << 20);
    put<std::uint32_t>(36, 1);
    put<std::uint64_t>(40, 3 * cluster);
    put<std::uint64_t>(48, cluster);
    put<std::uint32_t>(56, 1);
    put<std::uint32_t>(60, 1);
    put<std::uint64_t>(64, 7 * cluster);
    put<std::uint32_t>(96, 4);
    put<std::uint32_t>(100, 104);
    put<std::uint64_t>(cluster, 2 * cluster);
    for (std::uint64_t i = 0; i < 9; ++i) put<std::uint16_t>(2 * cluster + i * 2, i >= 4 && i <= 6 ? 2 : 1);
    put<std::uint64_t>(3 * cluster, 4 * cluster);
    put<std::uint64_t>(8 * cluster, 4 * cluster);
    put<std::uint64_t>(4 * cluster, 5 * cluster);
    put<std::uint64_t>(4 * cluster + 8, 6 * cluster);

    const std::uint64_t entry = 7 * cluster;
    put<std::uint64_t>(entry, 8 * cluster);
    put<std::uint32_t>(entry + 8, 1);
    put<std::uint16_t>(entry + 12, 1);
    put<std::uint16_t>(entry + 14, static_cast<std::uint16_t>(snapshot_name.size()));
    put<std::uint32_t>(entry + 36, 16);
    put<std::uint64_t>(entry + 48, 1 << 20);
    bytes_.replace(entry + 56, 1, "1");
    bytes_.replace(entry + 57, snapshot_name.size(), snapshot_name);
  }

  template <class T>
  ImageBytes& put(std::uint64_t at, T value) {
    value = from_big_endian(value);
    std::memcpy(bytes_.data() + at, &value, sizeof value);
    return *this;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

inline image::Image open_image(const std::string& bytes, const std::string& name = "a.qcow2") {
  auto image = image::Image::open(memory_file(bytes, name), {});
  EXPECT_TRUE(image) << image.error().message;
  return std::move(*image);
}

// What a session would have made of an image and the result of its check.
inline session::Outcome outcome(image::Image image, check::Report result, bool advice = true) {
  session::Outcome o;
  o.path = image.file().path();
  o.image = std::move(image);
  o.result = std::move(result);
  o.verdict = advice::judge(*o.image, *o.result, advice);
  return o;
}
inline session::Outcome checked(image::Image image) {
  check::Report result = check::check(image);
  return outcome(std::move(image), std::move(result));
}

// A result with problems of these kinds, without places, on a disk with 100 clusters of data.
inline check::Report with(std::initializer_list<std::pair<check::Code, std::uint64_t>> problems) {
  check::Report result;
  result.states.resize(1);
  result.reports.resize(1);
  result.reports[0].data_clusters = 100;
  for (const auto& [code, count] : problems) {
    check::Finding finding;
    finding.code = code;
    finding.count = count;
    result.findings.add(std::move(finding));
  }
  return result;
}

// What `render` writes.
template <class Render>
std::string written(Render&& render) {
  const int fd = memfd_create("written", MFD_CLOEXEC);
  EXPECT_GE(fd, 0);
  {
    Output out(fd);
    render(out);
    EXPECT_TRUE(out.flush());
  }
  std::string text(static_cast<std::size_t>(lseek(fd, 0, SEEK_END)), '\0');
  EXPECT_EQ(pread(fd, text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
  close(fd);
  return text;
}

}  // namespace qd::render
