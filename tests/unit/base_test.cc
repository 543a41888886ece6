#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

#include "base/checked.h"
#include "base/endian.h"
#include "base/result.h"
#include "base/uniform.h"
#include "base/units.h"

namespace qd {
namespace {

constexpr auto top = std::numeric_limits<std::uint64_t>::max();

template <class T>
auto bytes_of(const T& value) {
  std::array<unsigned char, sizeof value> bytes;
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

TEST(Endian, SwapsEachWidth) {
  EXPECT_EQ(swap_bytes(std::uint8_t{0x12}), 0x12);
  EXPECT_EQ(swap_bytes(std::uint16_t{0x1234}), 0x3412);
  EXPECT_EQ(swap_bytes(std::uint32_t{0x12345678}), 0x78563412u);
  EXPECT_EQ(swap_bytes(std::uint64_t{0x0123456789abcdef}), 0xefcdab8967452301u);
}

TEST(Endian, StoresTheHighByteFirst) {
  EXPECT_EQ(bytes_of(be16(0x1234)), (std::array<unsigned char, 2>{0x12, 0x34}));
  EXPECT_EQ(bytes_of(be32(0x514649fb)), (std::array<unsigned char, 4>{'Q', 'F', 'I', 0xfb}));
  EXPECT_EQ(bytes_of(be64(0x8000000000040000)), (std::array<unsigned char, 8>{0x80, 0, 0, 0, 0, 4, 0, 0}));
}

TEST(Endian, GivesBackWhatWasSet) {
  be64 value;
  EXPECT_EQ(value.get(), 0u);
  for (const std::uint64_t number : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{0x40000000000516e2}, top}) {
    value.set(number);
    EXPECT_EQ(value.get(), number);
  }
}

// A structure of them mirrors the bytes on disk: no padding, any place.
TEST(Endian, HasNoAlignment) {
  struct OnDisk {
    be16 first;
    be64 second;
    be32 third;
  };
  static_assert(sizeof(OnDisk) == 14 && alignof(OnDisk) == 1);
  static_assert(std::is_trivially_copyable_v<OnDisk>);

  const unsigned char raw[] = {0xee, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 3};
  OnDisk value;
  std::memcpy(&value, raw + 1, sizeof value);
  EXPECT_EQ(value.first.get(), 1u);
  EXPECT_EQ(value.second.get(), 2u);
  EXPECT_EQ(value.third.get(), 3u);
}

TEST(Endian, DoesNotConvertByItself) {
  static_assert(!std::is_convertible_v<be64, std::uint64_t>);
  static_assert(!std::is_convertible_v<std::uint64_t, be64>);
}

TEST(Endian, LoadsFromAnyPlace) {
  const unsigned char raw[] = {0xee, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef};
  EXPECT_EQ(load_big_endian<std::uint8_t>(raw + 1), 0x01u);
  EXPECT_EQ(load_big_endian<std::uint16_t>(raw + 1), 0x0123u);
  EXPECT_EQ(load_big_endian<std::uint32_t>(raw + 1), 0x01234567u);
  EXPECT_EQ(load_big_endian<std::uint64_t>(raw + 1), 0x0123456789abcdefu);
}

TEST(Checked, AddsUpToTheTop) {
  EXPECT_EQ(checked_add(2, 3), 5u);
  EXPECT_EQ(checked_add(top - 1, 1), top);
  EXPECT_EQ(checked_add(top, 0), top);
  EXPECT_FALSE(checked_add(top, 1));
  EXPECT_FALSE(checked_add(1, top));
}

TEST(Checked, MultipliesUpToTheTop) {
  EXPECT_EQ(checked_multiply(6, 7), 42u);
  EXPECT_EQ(checked_multiply(top, 0), 0u);
  EXPECT_EQ(checked_multiply(top, 1), top);
  EXPECT_EQ(checked_multiply(1ull << 32, (1ull << 32) - 1), top - 0xffffffff);
  EXPECT_FALSE(checked_multiply(1ull << 32, 1ull << 32));
  EXPECT_FALSE(checked_multiply(top, 2));
}

TEST(Checked, DividesUp) {
  EXPECT_EQ(divide_up(0, 512), 0u);
  EXPECT_EQ(divide_up(1, 512), 1u);
  EXPECT_EQ(divide_up(512, 512), 1u);
  EXPECT_EQ(divide_up(513, 512), 2u);
  EXPECT_EQ(divide_up(top, 1), top);
  EXPECT_EQ(divide_up(top, 2), 1ull << 63);  // where (value + by - 1) / by would have wrapped
}

TEST(Checked, RoundsUp) {
  EXPECT_EQ(round_up(0, 65536), 0u);
  EXPECT_EQ(round_up(1, 65536), 65536u);
  EXPECT_EQ(round_up(65536, 65536), 65536u);
  EXPECT_EQ(round_up(65537, 65536), 131072u);
  EXPECT_EQ(round_up(10, 3), 12u);  // not for powers of two only
}

TEST(Uniform, IsOneByteThroughout) {
  EXPECT_TRUE(all_same({}));
  for (const std::size_t size : {1, 2, 3, 8, 31, 64, 65, 512, 4097}) {
    for (const std::byte value : {std::byte{0}, std::byte{1}, std::byte{0xff}}) {
      std::vector<std::byte> bytes(size, value);
      EXPECT_TRUE(all_same(bytes)) << size;
      EXPECT_EQ(all_zero(bytes), value == std::byte{0}) << size;
      for (std::size_t i = 0; i < size; i += size < 100 ? 1 : 61) {
        bytes[i] ^= std::byte{0x80};
        EXPECT_EQ(all_same(bytes), size == 1) << size << " " << i;
        EXPECT_FALSE(all_zero(bytes)) << size << " " << i;
        bytes[i] = value;
      }
    }
  }
}

TEST(Uniform, WordsMayBeZero) {
  std::vector<std::uint64_t> words;
  EXPECT_TRUE(all_zero(words));
  words.assign(5, 0);
  EXPECT_TRUE(all_zero(words));
  for (std::uint64_t& word : words) {
    for (const std::uint64_t value : {std::uint64_t{1}, std::uint64_t{0x100}, std::uint64_t{1} << 63}) {
      word = value;
      EXPECT_FALSE(all_zero(words));
    }
    word = 0;
  }
  words.assign(5, 0x0101010101010101);
  EXPECT_FALSE(all_zero(words));
}

TEST(Units, PlacesMoveAndMeasure) {
  constexpr HostOffset start(0x50000);
  EXPECT_EQ((start + 0x10000).value, 0x60000u);
  EXPECT_EQ(HostOffset(0x60000) - start, 0x10000u);
  EXPECT_LT(start, HostOffset(0x50001));
  EXPECT_EQ(HostOffset().value, 0u);
}

template <class A, class B>
concept comparable = requires(A a, B b) {
  a == b;
};
template <class A, class B>
concept subtractable = requires(A a, B b) {
  a - b;
};

TEST(Units, KindsOfPlaceDoNotMix) {
  static_assert(comparable<HostOffset, HostOffset> && subtractable<HostOffset, HostOffset>);
  static_assert(!comparable<HostOffset, GuestOffset> && !subtractable<HostOffset, GuestOffset>);
  static_assert(!std::is_convertible_v<HostOffset, GuestOffset> && !std::is_convertible_v<HostOffset, ClusterIndex>);
  static_assert(!std::is_convertible_v<std::uint64_t, HostOffset> && !std::is_convertible_v<HostOffset, std::uint64_t>);
  static_assert(sizeof(HostOffset) == sizeof(std::uint64_t));
}

TEST(Result, HoldsAValueOrTheReason) {
  const auto halve = [](int number) -> Result<int> {
    if (number % 2 != 0) return fail(EINVAL, "cannot halve an odd number");
    return number / 2;
  };
  EXPECT_EQ(halve(8).value(), 4);
  const auto odd = halve(7);
  ASSERT_FALSE(odd);
  EXPECT_EQ(odd.error().number, EINVAL);
  EXPECT_EQ(odd.error().message, "cannot halve an odd number");
}

}  // namespace
}  // namespace qd
