// A consistent qcow2 image of a few clusters, made byte by byte, for tests that damage single fields: 64 KiB clusters,
// a disk of 1 MiB whose first clusters are allocated in order.
//
// Clusters: 0 header, 1 refcount table, 2 refcount block, 3 L1 table, 4 L2 table, 5… data.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>

#include "base/endian.h"
#include "check/check.h"

namespace qd::test {

class TinyImage {
 public:
  static constexpr std::uint64_t cluster = 65536;
  static constexpr std::uint64_t refcount_table = cluster, refcount_block = 2 * cluster, l1_table = 3 * cluster,
                                 l2_table = 4 * cluster, data = 5 * cluster;
  static constexpr std::uint64_t copied = 1ULL << 63;

  explicit TinyImage(unsigned data_clusters = 4) : bytes_((5 + data_clusters) * cluster, '\0') {
    put32(0, format::magic);
    put32(4, 3);
    put32(20, 16);
    put64(24, 1 << 20);
    put32(36, 1);
    put64(40, l1_table);
    put64(48, refcount_table);
    put32(56, 1);
    put32(96, 4);
    put32(100, 112);
    put64(refcount_table, refcount_block);
    put64(l1_table, l2_table | copied);
    for (unsigned i = 0; i < data_clusters; ++i) put64(l2_entry(i), (data + i * cluster) | copied);
    for (unsigned i = 0; i < 5 + data_clusters; ++i) put16(refcount(i), 1);
  }

  static std::uint64_t l2_entry(unsigned i) { return l2_table + i * 8; }
  static std::uint64_t refcount(unsigned i) { return refcount_block + i * 2; }

  void put16(std::uint64_t at, std::uint16_t value) { put(at, be16(value)); }
  void put32(std::uint64_t at, std::uint32_t value) { put(at, be32(value)); }
  void put64(std::uint64_t at, std::uint64_t value) { put(at, be64(value)); }
  std::string& bytes() { return bytes_; }

  check::Report check(const check::Settings& options = {}) const { return check_file(memory_file(bytes_), options); }
  // As check(), on a disk whose sector at `offset` can't be read.
  check::Report check_with_bad_sector(std::uint64_t offset, const check::Settings& options = {}) const {
    return check_file(faulty_file(memory_file(bytes_), offset, 512, EIO), options);
  }

 private:
  template <class T>
  void put(std::uint64_t at, T value) {
    std::memcpy(bytes_.data() + at, &value, sizeof value);
  }
  static check::Report check_file(std::unique_ptr<File> file, const check::Settings& options) {
    auto image = image::Image::open(std::move(file), {});
    return check::check(*image, options);
  }

  std::string bytes_;
};

}  // namespace qd::test
