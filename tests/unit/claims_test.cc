#include <gtest/gtest.h>

#include <numeric>
#include <random>
#include <thread>
#include <vector>

#include "base/bits.h"
#include "check/claims.h"
#include "image/refcounts.h"

namespace qd {
namespace {

// A set answers the same, however it is kept.
class BitSetKept : public testing::TestWithParam<bool> {};

TEST_P(BitSetKept, TellsWhatWasSetBefore) {
  BitSet set(1000, GetParam());
  std::uint64_t twice = 0;
  const auto count = [&](std::uint64_t, std::uint64_t bits) { twice += bits; };
  set.set_range(10, 200, count);
  EXPECT_EQ(twice, 0u);
  set.set_range(200, 20, count);
  EXPECT_EQ(twice, 10u);
  EXPECT_TRUE(set.test(219));
  EXPECT_FALSE(set.test(220));
  EXPECT_TRUE(set.any(0, 11));
  EXPECT_FALSE(set.any(0, 10));
}

TEST_P(BitSetKept, FindsItsWayThroughEmptySpace) {
  BitSet set(std::uint64_t{1} << 40, GetParam());
  EXPECT_TRUE(set.empty());
  for (const std::uint64_t bit : {std::uint64_t{5}, std::uint64_t{70000}, (std::uint64_t{1} << 40) - 1}) set.set(bit);
  EXPECT_EQ(set.next(0), 5u);
  EXPECT_EQ(set.next(6), 70000u);
  EXPECT_EQ(set.next(70001), (std::uint64_t{1} << 40) - 1);
  EXPECT_EQ(set.next(std::uint64_t{1} << 40), std::nullopt);
}

INSTANTIATE_TEST_SUITE_P(AsBitsAndAsRanges, BitSetKept, testing::Bool());

TEST(BitSet, IsTheSameAsRanges) {
  constexpr std::uint64_t bits = 100000;
  BitSet plain(bits), ranges(bits, true);
  std::mt19937_64 random(1);
  const auto set = [](BitSet& into, std::uint64_t first, std::uint64_t count) {
    std::vector<bool> before(bits);
    into.set_range(first, count, [&](std::uint64_t at, std::uint64_t n) {
      for (; n > 0; --n) before[at++] = true;
    });
    return before;
  };
  for (int i = 0; i < 200; ++i) {
    const std::uint64_t first = random() % (bits - 1000), count = 1 + random() % (i % 2 == 0 ? 3 : 900);
    ASSERT_EQ(set(plain, first, count), set(ranges, first, count)) << first << " " << count;
  }
  for (std::uint64_t word = 0; word <= bits / 64; ++word) ASSERT_EQ(plain.word(word), ranges.word(word)) << word;
  for (std::uint64_t bit = 0; bit < bits; ++bit) {
    ASSERT_EQ(plain.test(bit), ranges.test(bit)) << bit;
    ASSERT_EQ(plain.next(bit), ranges.next(bit)) << bit;
    ASSERT_EQ(plain.last_before(bit), ranges.last_before(bit)) << bit;
  }
}

TEST(BitSet, NeedsNoAddressSpaceAsRanges) {
  BitSet set(std::uint64_t{1} << 47, true);
  set.set_range(1, std::uint64_t{1} << 46);
  EXPECT_EQ(set.next(0), 1u);
  EXPECT_EQ(set.last_before(std::uint64_t{1} << 47), std::uint64_t{1} << 46);
}

TEST(Tally, CountsBeyondAByte) {
  check::Tally tally(4);
  for (int i = 0; i < 1000; ++i) tally.add(1, 1);
  tally.add(1, 70000);
  tally.add(2, 256);
  EXPECT_EQ(tally.get(0), 0u);
  EXPECT_EQ(tally.get(1), 71000u);
  EXPECT_EQ(tally.get(2), 256u);
}

TEST(Tally, CountsInATableAlone) {
  check::Tally tally(std::uint64_t{1} << 47, true);
  for (int i = 0; i < 1000; ++i) tally.add(std::uint64_t{1} << 46, 3);
  EXPECT_EQ(tally.get(std::uint64_t{1} << 46), 3000u);
  EXPECT_EQ(tally.get(0), 0u);
}

TEST(Tally, CountsWithManyThreads) {
  constexpr std::uint64_t clusters = 100;
  check::Tally tally(clusters);
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (unsigned round = 0; round < 1000; ++round) {
        for (std::uint64_t c = 0; c < clusters; ++c) tally.add(c, 1 + c % 7);  // neighbours share a word
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (std::uint64_t c = 0; c < clusters; ++c) EXPECT_EQ(tally.get(c), 4000 * (1 + c % 7)) << c;
}

// A refcount block of `values` at width 1 << order, as it lies on disk.
std::vector<std::byte> encode(const std::vector<std::uint64_t>& values, unsigned order) {
  std::vector<std::byte> raw((values.size() << order) / 8);
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (order < 3) {
      const std::size_t bit = i << order;
      raw[bit / 8] |= static_cast<std::byte>(values[i] << (bit % 8));
      continue;
    }
    const std::size_t width = std::size_t{1} << (order - 3);
    for (std::size_t b = 0; b < width; ++b) {
      raw[i * width + b] = static_cast<std::byte>(values[i] >> (8 * (width - 1 - b)));
    }
  }
  return raw;
}

// However a block is kept inside, it must answer as the plain list of its values does.
class RefcountBlockAtWidth : public testing::TestWithParam<unsigned> {};

TEST_P(RefcountBlockAtWidth, AnswersAsThePlainValuesDo) {
  const unsigned order = GetParam();
  const std::uint64_t most = order == 6 ? ~std::uint64_t{0} : (std::uint64_t{1} << (1u << order)) - 1;
  std::mt19937_64 random(order);
  for (const unsigned distinct : {1u, 2u, 3u, 4u, 5u, 300u}) {
    std::vector<std::uint64_t> choices(distinct), values(512);
    for (auto& c : choices) c = random() % 3 == 0 ? random() & most : random() % 4 & most;
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = i % 7 < 5 && i > 0 ? values[i - 1] : choices[random() % distinct];
    const image::RefcountBlock block(encode(values, order), order, values.size());
    for (std::size_t i = 0; i < values.size(); ++i) ASSERT_EQ(block.get(i), values[i]) << distinct << " " << i;
    for (std::size_t w = 0; w < values.size() / 64; ++w) {
      std::uint64_t nonzero = 0;
      for (unsigned k = 0; k < 64; ++k) nonzero |= std::uint64_t{values[w * 64 + k] != 0} << k;
      ASSERT_EQ(block.nonzero(w), nonzero);
    }
    for (int round = 0; round < 500; ++round) {
      const std::size_t first = random() % values.size(), count = 1 + random() % std::min<std::size_t>(9, values.size() - first);
      const std::uint64_t guess = values[first + random() % count];
      const bool equal = std::all_of(values.begin() + static_cast<long>(first), values.begin() + static_cast<long>(first + count),
                                     [&](std::uint64_t v) { return v == guess; });
      ASSERT_EQ(block.run(first, count) == guess, equal);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(AllWidths, RefcountBlockAtWidth, testing::Range(0u, 7u));

}  // namespace
}  // namespace qd
