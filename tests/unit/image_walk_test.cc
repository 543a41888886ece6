#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "image/runs.h"
#include "image/walk.h"
#include "tiny_image.h"

namespace qd::image {
namespace {

constexpr std::uint64_t cluster = 65536, copied = format::copied_flag;

std::vector<std::uint64_t> counting(std::uint64_t first, std::size_t count) {
  std::vector<std::uint64_t> entries(count);
  for (std::size_t i = 0; i < count; ++i) entries[i] = first + i * cluster;
  return entries;
}

TEST(RunLength, EndsWhereTheCountingEnds) {
  for (const std::size_t length : {1u, 2u, 7u, 8u, 9u, 16u, 17u, 100u}) {
    std::vector<std::uint64_t> entries = counting(5 * cluster | copied, 100);
    if (length < entries.size()) entries[length] ^= 1;
    EXPECT_EQ(run_length(entries.data(), entries.size(), cluster), length);
    EXPECT_EQ(run_length(entries.data(), std::max<std::size_t>(length, 3) - 2, cluster),
              std::min(length, std::max<std::size_t>(length, 3) - 2));
  }
}

TEST(RunLength, LeavesAloneWhatDoesNotCount) {
  EXPECT_EQ(run_length(counting(format::compressed_flag, 20).data(), 20, cluster), 1u);
  EXPECT_EQ(run_length(counting(0, 20).data(), 20, cluster), 1u);  // offset 0 is no cluster
  // A run that would count into the flags.
  EXPECT_EQ(run_length(counting(0x00ffffffffff0000 - cluster, 20).data(), 20, cluster), 1u);
}

TEST(EmptyLength, EndsAtTheFirstEntry) {
  for (const std::size_t length : {1u, 7u, 8u, 9u, 63u, 64u}) {
    std::vector<std::uint64_t> entries(64, 0);
    if (length < entries.size()) entries[length] = 7;
    EXPECT_EQ(empty_length(entries.data(), entries.size()), length);
  }
}

// Entries that are partly in runs, empty, single, compressed.
std::vector<std::uint64_t> mixed_table(unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::uint64_t> entries;
  while (entries.size() < 8192) {
    const std::size_t count = std::min<std::size_t>(1 + random() % 40, 8192 - entries.size());
    const std::uint64_t first = (1 + random() % 1000) * cluster;
    switch (random() % 4) {
      case 0:
        entries.resize(entries.size() + count, 0);
        break;
      case 1:
        entries.push_back(first | format::compressed_flag);
        break;
      default:
        for (const std::uint64_t entry : counting(first | copied, count)) entries.push_back(entry);
    }
  }
  return entries;
}

TEST(ForRuns, CoversEachEntryOnce) {
  format::Geometry geometry;
  for (unsigned seed = 0; seed < 20; ++seed) {
    const std::vector<std::uint64_t> entries = mixed_table(seed);
    std::vector<std::uint64_t> seen(entries.size(), 0);
    for_runs(geometry, L2Entries(entries, 0, 1), 0, entries.size(), [&](std::uint64_t first, std::uint64_t count) {
      for (std::uint64_t i = 0; i < count; ++i) seen[first + i] = entries[first] + i * cluster;
    });
    EXPECT_EQ(seen, entries);
  }
}

// All entries of all states, by L1 index and L2 index, however the walk is cut.
std::vector<std::uint64_t> walked(const Image& image, const WalkOptions& options, std::size_t& groups) {
  const State active{-1, HostOffset(image.header.l1_table_offset), image.header.l1_size, image.header.size, 0};
  const std::vector<State> states{active, {0, active.l1_offset, active.l1_size, active.disk_size, 0}};
  std::vector<std::uint64_t> all;
  groups = 0;
  struct Part {
    std::vector<std::uint64_t> entries;
    std::size_t groups = 0;
  };
  walk<Part>(
      image, states,
      [](const Group& group, Part& part) {
        ++part.groups;
        ASSERT_EQ(group.tables.size(), 1u);  // both states have the same
        ASSERT_EQ(group.tables[0].entries.size(), 2u);
        const L2Entries& l2 = group.tables[0].l2;
        ASSERT_EQ(l2.begin(), group.begin);
        ASSERT_EQ(l2.end(), group.end);
        for (std::uint64_t i = group.begin; i < group.end; ++i) part.entries.push_back(l2.raw(i));
      },
      [&](Part&& part) {
        all.insert(all.end(), part.entries.begin(), part.entries.end());
        groups += part.groups;
      },
      options);
  return all;
}

TEST(Walk, GivesTheSameEntriesInPieces) {
  test::TinyImage tiny(8);
  const auto image = Image::open(memory_file(tiny.bytes()), {});
  ASSERT_TRUE(image);
  std::size_t groups = 0;
  const std::vector<std::uint64_t> whole = walked(*image, {}, groups);
  EXPECT_EQ(groups, 1u);
  EXPECT_EQ(whole.size(), 8192u);
  EXPECT_EQ(whole[3], (5 + 3) * cluster | copied);
  for (const std::uint64_t most : {8u, 64u, 4096u}) {
    EXPECT_EQ(walked(*image, {.most_entries = most}, groups), whole);
    EXPECT_EQ(groups, 8192 / most);
  }
}

TEST(Walk, StopsWhenItIsTold) {
  test::TinyImage tiny(8);
  const auto image = Image::open(memory_file(tiny.bytes()), {});
  ASSERT_TRUE(image);
  const std::atomic<bool> stop = true;
  std::size_t groups = 0;
  EXPECT_TRUE(walked(*image, {.most_entries = 8, .stop = &stop}, groups).empty());
}

}  // namespace
}  // namespace qd::image
