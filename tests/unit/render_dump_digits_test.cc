#include <fmt/core.h>
#include <gtest/gtest.h>

#include <limits>
#include <random>
#include <vector>

#include "render/dump/digits.h"

namespace qd::render {
namespace {

// Numbers of every length, those at which a length changes among them.
std::vector<std::uint64_t> numbers() {
  std::vector<std::uint64_t> all{0, std::numeric_limits<std::uint64_t>::max()};
  std::mt19937_64 random(1);
  for (unsigned bits = 1; bits <= 64; ++bits) {
    const std::uint64_t top = std::uint64_t{1} << (bits - 1);
    all.insert(all.end(), {top, top - 1, top + 1, 0xfedcba9876543210 >> (64 - bits), random() >> (64 - bits)});
  }
  for (std::uint64_t power = 1; power < 1'000'000'000'000'000'000; power *= 10) {
    all.insert(all.end(), {power - 1, power, power + 1});
  }
  return all;
}

template <class Put>
std::string written(Put&& put_number) {
  char memory[64];
  std::fill(std::begin(memory), std::end(memory), '#');
  const char* end = put_number(memory + 8);
  EXPECT_EQ(memory[7], '#') << "wrote before its place";
  EXPECT_EQ(memory[8 + 36], '#') << "wrote too far beyond its end";
  return std::string(static_cast<const char*>(memory) + 8, end);
}

TEST(Digits, HexIsAsPrintfWritesIt) {
  for (const std::uint64_t n : numbers()) {
    EXPECT_EQ(written([&](char* at) { return put_hex(at, n); }), fmt::format("{:x}", n));
  }
}

TEST(Digits, DecimalIsAsPrintfWritesIt) {
  for (const std::uint64_t n : numbers()) {
    EXPECT_EQ(written([&](char* at) { return put_decimal(at, n); }), fmt::format("{}", n));
    for (unsigned width = 1; width <= 8; ++width) {
      EXPECT_EQ(written([&](char* at) { return put_padded(at, n, width); }), fmt::format("{:{}}", n, width));
    }
  }
}

TEST(Digits, TextIsCopiedWithoutItsEnd) {
  EXPECT_EQ(written([](char* at) { return put(at, "l2 table["); }), "l2 table[");
  EXPECT_EQ(written([](char* at) { return put(at, std::string_view(" [leak]")); }), " [leak]");
}

}  // namespace
}  // namespace qd::render
