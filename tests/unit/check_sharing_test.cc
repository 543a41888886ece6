#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "check/sharing.h"

namespace qd::check {
namespace {

constexpr std::uint64_t entries = 64;

// Entries that often agree from table to table, and then differ in COPIED, in the subcluster bitmap or in all.
std::vector<std::vector<std::uint64_t>> random_tables(std::mt19937& random, unsigned width) {
  std::vector<std::vector<std::uint64_t>> tables(1 + random() % 4, std::vector<std::uint64_t>(entries * width));
  const unsigned sameness = 1 + random() % 200;
  for (std::uint64_t i = 0; i < entries; ++i) {
    const std::uint64_t common = (1 + random() % 9) << 16 | (random() % 4 ? 0 : format::compressed_flag);
    for (auto& table : tables) {
      const bool differs = random() % sameness == 0;
      table[i * width] = common ^ (differs && random() % 2 ? std::uint64_t{1} << 20 : 0);
      if (random() % sameness == 0) table[i * width] ^= format::copied_flag;
      if (width == 2 && differs) table[i * width + 1] = std::uint64_t{1} << (random() % 3 ? 63 : 5);
    }
  }
  return tables;
}

// Whatever stretches a group is cut into: each entry is led by the first table that refers to the same cluster.
TEST(SharedStretches, LeadByWhatEachEntryRefersTo) {
  std::mt19937 random(5);
  for (int round = 0; round < 2000; ++round) {
    const unsigned width = 1 + round % 2;
    const auto words = random_tables(random, width);
    std::vector<image::Table> tables(words.size());
    for (std::size_t t = 0; t < words.size(); ++t) tables[t].l2 = image::L2Entries(words[t], 0, width);
    if (tables.size() > 1 && random() % 8 == 0) tables[random() % tables.size()].l2 = {};  // can't be read

    const auto key_of = [&](std::size_t t, std::uint64_t i) {
      return key(words[t][i * width], width == 2 ? words[t][i * width + 1] : 0);
    };
    const auto leader_of = [&](std::size_t t, std::uint64_t i) {
      std::size_t leader = 0;
      while (tables[leader].l2.empty() || key_of(leader, i) != key_of(t, i)) ++leader;
      return leader;
    };
    std::vector<std::uint64_t> seen(tables.size(), 0);
    const image::Group group{.l1_index = 0, .begin = 0, .end = entries, .tables = tables};
    SharedStretches(group).for_each(
        [&](std::size_t t, std::uint64_t begin, std::uint64_t end, const Sharing& sharing, const Leaders& leaders) {
          ASSERT_EQ(begin, seen[t]);
          seen[t] = end;
          for (std::uint64_t i = begin; i < end; ++i) {
            ASSERT_EQ(leaders[t], leader_of(t, i)) << "round " << round << ", table " << t << ", entry " << i;
            ASSERT_EQ(sharing.claims, leader_of(t, i) == t);
            if (sharing.identical) {
              ASSERT_EQ((words[t][i * width] ^ words[leaders[t]][i * width]) & ~format::copied_flag, 0u);
            }
          }
        });
    for (std::size_t t = 0; t < tables.size(); ++t) ASSERT_EQ(seen[t], tables[t].l2.empty() ? 0 : entries);
  }
}

}  // namespace
}  // namespace qd::check
