// A check comes to the same result however its walks are cut into pieces, on images full of shared and damaged tables.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "tiny_image.h"

namespace qd::check {
namespace {

using test::TinyImage;

constexpr std::uint64_t cluster = TinyImage::cluster, entries = cluster / 8;

// A disk of 1 GiB with two snapshots, all with L2 tables of their own. The tables of a group agree in stretches, and
// name clusters from 13 on, of which the file has some.
class Image {
 public:
  explicit Image(unsigned seed) : random_(seed) {
    tiny_.put64(24, 1 << 30);
    tiny_.put32(36, 2);
    tiny_.put64(TinyImage::l1_table + 8, 5 * cluster | TinyImage::copied);
    tiny_.put32(60, 2);
    tiny_.put64(64, 6 * cluster);
    put_snapshot(6 * cluster, 7, '1');
    put_snapshot(6 * cluster + 64, 10, '2');
    for (unsigned c = 13; c < 25; ++c) tiny_.put16(TinyImage::refcount(c), static_cast<std::uint16_t>(random_() % 4));
    put_tables({4, 8, 11});
    put_tables({5, 9, 12});
  }
  const TinyImage& made() const { return tiny_; }

 private:
  void put_snapshot(std::uint64_t at, unsigned l1_cluster, char name) {
    tiny_.put64(at, l1_cluster * cluster);
    tiny_.put32(at + 8, 2);
    tiny_.put16(at + 12, 1);  // of the ID
    tiny_.put16(at + 14, 1);  // of the name
    tiny_.put32(at + 36, 16);
    tiny_.put64(at + 48, 1 << 30);
    tiny_.bytes()[at + 56] = tiny_.bytes()[at + 57] = name;
    for (unsigned i = 0; i < 2; ++i) tiny_.put64(l1_cluster * cluster + i * 8, (l1_cluster + 1 + i) * cluster);
  }

  std::uint64_t some_entry() {
    const std::uint64_t offset = (13 + random_() % 14) * cluster, copied = random_() % 2 ? TinyImage::copied : 0;
    switch (random_() % 12) {
      case 0:
        return offset | format::compressed_flag | random_() % cluster;
      case 1:
        return offset | copied | format::zero_flag;
      case 2:
        return format::zero_flag;
      case 3:
        return offset | copied | (random_() % 4 ? 0 : 512);
      case 4:
        return offset | 1 << 3;  // reserved
      default:
        return offset | copied;
    }
  }

  void put_tables(const std::vector<unsigned>& tables) {
    for (std::uint64_t i = 0; i < entries;) {
      const std::uint64_t count = std::min<std::uint64_t>(1 + random_() % 40, entries - i);
      const std::uint64_t first = random_() % 16 ? 0 : some_entry(), step = random_() % 8 ? cluster : 0;
      for (const unsigned table : tables) {
        const std::uint64_t own = random_() % (first == 0 ? 64 : 4) ? first : some_entry();
        for (std::uint64_t k = 0; k < count; ++k)
          tiny_.put64(table * cluster + (i + k) * 8, own == 0 ? 0 : own + k * step);
      }
      i += count;
    }
  }

  std::mt19937 random_;
  TinyImage tiny_{20};
};

TEST(Check, DoesNotDependOnThePieces) {
  for (unsigned seed = 0; seed < 10; ++seed) {
    const Image image(seed);
    const Report whole = image.made().check();
    ASSERT_EQ(whole.states.size(), 3u);
    ASSERT_GT(whole.findings.total(), 100u);
    for (const std::uint64_t most : {8u, 64u, 1024u}) {
      const Report pieces = image.made().check({.most_entries = most});
      EXPECT_EQ(pieces.totals, whole.totals) << "seed " << seed << ", " << most << " entries";
      EXPECT_EQ(pieces.reports, whole.reports);
      EXPECT_EQ(pieces.usage, whole.usage);
      for (const Problem& row : problems()) {
        EXPECT_EQ(pieces.findings.count(row.code), whole.findings.count(row.code)) << row.name;
      }
      EXPECT_EQ(pieces.owners.size(), whole.owners.size());
    }
  }
}

}  // namespace
}  // namespace qd::check
