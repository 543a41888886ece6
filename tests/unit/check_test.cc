// The check on images that hold exactly one damage. The whole range of images stands under tests/images; here is what
// needs no file: bad sectors, and the figures one can count by hand.
#include <gtest/gtest.h>

#include <algorithm>

#include "tiny_image.h"

namespace qd::check {
namespace {

using test::TinyImage;

// The codes found, each once, in the order of the table.
std::vector<std::string> codes(const Report& result) {
  std::vector<std::string> names;
  for (const Problem& row : problems()) {
    if (result.findings.count(row.code) > 0) names.emplace_back(row.name);
  }
  return names;
}

const Finding& only(const Report& result, Code code) {
  const auto& list = result.findings.list();
  const auto found = std::ranges::find(list, code, &Finding::code);
  EXPECT_NE(found, list.end());
  return *found;
}

using Names = std::vector<std::string>;

TEST(Check, FindsNothingInAConsistentImage) {
  const Report result = TinyImage().check();
  EXPECT_EQ(codes(result), Names{});
  EXPECT_EQ(result.status(), Status::good);
  EXPECT_EQ(result.totals.corruptions, 0u);
  EXPECT_EQ(result.totals.allocated_clusters, 4u);
  EXPECT_EQ(result.totals.total_clusters, 16u);
  EXPECT_EQ(result.totals.image_end_offset, 9 * TinyImage::cluster);
  EXPECT_EQ(result.usage.used, 9u);
  EXPECT_EQ(result.usage.active, 4u);
  EXPECT_EQ(result.reports.at(0).l2.used, 4u);
  EXPECT_EQ(result.reports.at(0).l2.unused, 8192u - 4);
  EXPECT_EQ(result.reports.at(0).new_entries, 4u);
}

TEST(Check, FindsTwoOwnersThoughTheRefcountMatches) {
  TinyImage image;
  image.put64(TinyImage::l2_entry(1), TinyImage::data);
  image.put64(TinyImage::l2_entry(0), TinyImage::data);
  image.put16(TinyImage::refcount(5), 2);
  image.put16(TinyImage::refcount(6), 0);
  const Report result = image.check();
  EXPECT_EQ(codes(result), Names{"cluster.reuse"});
  EXPECT_EQ(result.status(), Status::refcount);
  EXPECT_EQ(result.totals.corruptions, 0u) << "qemu-img doesn't see it";
  EXPECT_EQ(result.owners_of(ClusterIndex(5)).size(), 2u);
}

TEST(Check, FindsDataOnMetadataThoughTheRefcountMatches) {
  TinyImage image;
  image.put64(TinyImage::l2_entry(7), TinyImage::refcount_block);
  image.put16(TinyImage::refcount(2), 2);
  const Report result = image.check();
  EXPECT_EQ(codes(result), (Names{"reftable.shared", "cluster.on-metadata"}));
  EXPECT_EQ(result.totals.corruptions, 1u);
  EXPECT_EQ(only(result, Code::cluster_on_metadata).guest, GuestOffset(7 * TinyImage::cluster));
}

TEST(Check, NamesTheGuestOffsetOfAClusterWithALowRefcount) {
  TinyImage image;
  image.put16(TinyImage::refcount(6), 0);
  const Report result = image.check();
  EXPECT_EQ(codes(result), (Names{"l2.copied", "refcount.low"}));
  const Finding& low = only(result, Code::refcount_low);
  EXPECT_EQ(low.guest, GuestOffset(TinyImage::cluster));
  EXPECT_EQ(low.found, 0u);
  EXPECT_EQ(low.expected, 1u);
}

TEST(Check, JoinsEqualProblemsInARow) {
  TinyImage image;
  for (unsigned i = 0; i < 4; ++i) image.put64(TinyImage::l2_entry(i), 0);
  const Report result = image.check();
  EXPECT_EQ(codes(result), Names{"refcount.leak"});
  ASSERT_EQ(result.findings.list().size(), 1u);
  EXPECT_EQ(result.findings.list()[0].count, 4u);
  EXPECT_EQ(result.totals.leaks, 4u);
}

TEST(Check, CountsFreeClustersAndWhatTheyStillStore) {
  TinyImage image(6);
  for (const unsigned i : {1u, 4u, 5u}) {
    image.put64(TinyImage::l2_entry(i), 0);
    image.put16(TinyImage::refcount(5 + i), 0);
  }
  const Report result = image.check();
  EXPECT_EQ(codes(result), Names{});
  EXPECT_EQ(result.usage.free, 3u);
  EXPECT_EQ(result.usage.discardable_bytes, 3 * TinyImage::cluster);
  EXPECT_EQ(result.refcounts.unused, 3u);
}

TEST(CheckOnABadDisk, SaysWhichL1TableCantBeRead) {
  const Report result = TinyImage().check_with_bad_sector(TinyImage::l1_table);
  EXPECT_EQ(result.findings.count(Code::l1_unreadable), 1u);
  EXPECT_EQ(result.status(), Status::corrupt);
}

TEST(CheckOnABadDisk, SaysWhichL2TableCantBeRead) {
  const Report result = TinyImage().check_with_bad_sector(TinyImage::l2_table + 4096);
  EXPECT_EQ(result.findings.count(Code::l2_unreadable), 1u);
  EXPECT_EQ(only(result, Code::l2_unreadable).host, HostOffset(TinyImage::l2_table));
}

// In pieces of 64 entries, a sector each: the bad one is the ninth.
TEST(CheckOnABadDisk, SaysWhichPieceOfAnL2TableCantBeRead) {
  const Report result = TinyImage().check_with_bad_sector(TinyImage::l2_table + 4096, {.most_entries = 64});
  EXPECT_EQ(result.findings.count(Code::l2_unreadable), 1u);
  EXPECT_EQ(only(result, Code::l2_unreadable).host, HostOffset(TinyImage::l2_table));
  EXPECT_EQ(only(result, Code::l2_unreadable).l2_index, 8 * 64u);
  EXPECT_EQ(result.reports[0].l2.used, 4u) << "the rest of the table is there";
}

TEST(CheckOnABadDisk, SaysThatTheRefcountTableCantBeRead) {
  const Report result = TinyImage().check_with_bad_sector(TinyImage::refcount_table);
  EXPECT_EQ(result.findings.count(Code::reftable_unreadable), 1u);
}

TEST(CheckOnABadDisk, SaysWhichRefcountBlockCantBeRead) {
  const Report result = TinyImage().check_with_bad_sector(TinyImage::refcount_block);
  EXPECT_EQ(codes(result), Names{"refblock.unreadable"});
  EXPECT_EQ(result.totals.check_errors, 9u) << "one a cluster, as qemu-img counts";
}

TEST(CheckOnABadDisk, GoesOnBehindABadSector) {
  TinyImage image;
  image.put16(TinyImage::refcount(8), 0);
  const Report result = image.check_with_bad_sector(TinyImage::l1_table);
  EXPECT_GT(result.findings.count(Code::refcount_leak), 0u) << "refcounts are compared all the same";
}

TEST(Findings, KeepNoMoreThanTheirRoomButCountAll) {
  Findings findings(2);
  for (std::uint64_t i = 0; i < 10; i += 2) {
    Finding f;
    f.code = Code::refcount_leak;
    f.index = i;
    findings.add(f);
  }
  EXPECT_EQ(findings.list().size(), 2u);
  EXPECT_EQ(findings.count(Code::refcount_leak), 5u);
  EXPECT_EQ(findings.unlisted(), 3u);
}

TEST(Findings, AppendingKeepsCounts) {
  Findings all(100), part(1);
  for (std::uint64_t i = 0; i < 6; i += 2) {
    Finding f;
    f.code = Code::refcount_low;
    f.index = i;
    part.add(f);
  }
  all.append(std::move(part));
  EXPECT_EQ(all.count(Code::refcount_low), 3u);
  EXPECT_EQ(all.list().size(), 1u);
  EXPECT_EQ(all.unlisted(), 2u);
}

TEST(Findings, AreAskedByTheColumnsOfTheTable) {
  Findings findings;
  for (const Code code : {Code::header_incompatible, Code::header_version, Code::header_dirty, Code::bitmap_table}) {
    Finding f;
    f.code = code;
    f.count = 2;
    findings.add(f);
  }
  EXPECT_EQ(findings.errors(Subject::header), 4u);
  EXPECT_EQ(findings.errors(Subject::snapshots), 0u);
  EXPECT_EQ(findings.first(Doubt::meaning), Code::header_version);
  EXPECT_EQ(findings.count(Doubt::meaning), 4u);
  EXPECT_FALSE(findings.any(Doubt::disk));
  EXPECT_TRUE(findings.any(Hidden::bitmaps));
}

TEST(Problems, HaveWhatTheirRowPromises) {
  for (const Problem& row : problems()) {
    EXPECT_FALSE(row.advice.empty()) << row.name;
    EXPECT_EQ(find_code(row.name), row.code);
    EXPECT_EQ(row.severity == Severity::warning, row.status == Status::good) << row.name;
  }
}

}  // namespace
}  // namespace qd::check
