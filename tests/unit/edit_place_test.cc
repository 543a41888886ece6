// Places by name, in images whose headers say anything at all.
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

#include "base/number.h"
#include "edit/place.h"
#include "tiny_image.h"

namespace qd::edit {
namespace {

using test::TinyImage;
using testing::HasSubstr;

image::Image open(TinyImage tiny) { return std::move(*image::Image::open(memory_file(tiny.bytes()), {})); }

// Offset and width; the reason where there is no such place.
std::string place(const image::Image& image, const std::string& text) {
  const auto found = find_place(image, text);
  if (!found) return found.error().message;
  return fmt::format("{:#x}+{} bits {}", found->at.value, found->bits, found->shift);
}

TEST(Place, NumbersAreAsPeopleWriteThem) {
  EXPECT_EQ(parse_number("0"), 0u);
  EXPECT_EQ(parse_number("0x10"), 16u);
  EXPECT_EQ(parse_number("18446744073709551615"), ~std::uint64_t{0});
  EXPECT_EQ(parse_number("64k"), 65536u);
  EXPECT_EQ(parse_number("2T"), std::uint64_t{2} << 40);
  for (const char* wrong :
       {"", "k", "0x", "-1", "+1", " 1", "1 ", "1.5", "0xg", "18446744073709551616", "16777216T", "1kk"}) {
    EXPECT_EQ(parse_number(wrong), std::nullopt) << wrong;
  }
}

TEST(Place, EachHasItsOffset) {
  const image::Image image = open(TinyImage());
  EXPECT_EQ(place(image, "4096"), "0x1000+64 bits 0");
  EXPECT_EQ(place(image, "header.cluster_bits"), "0x14+32 bits 0");
  EXPECT_EQ(place(image, "header.compression_type"), "0x68+8 bits 0");
  EXPECT_EQ(place(image, "l1[0]"), "0x30000+64 bits 0");
  EXPECT_EQ(place(image, "l2[0,3]"), "0x40018+64 bits 0");
  EXPECT_EQ(place(image, "l2[0x0,0x3]"), "0x40018+64 bits 0");
  EXPECT_EQ(place(image, "refcount[4]"), "0x20008+16 bits 0");
  EXPECT_EQ(place(image, "refcount_table[1]"), "0x10008+64 bits 0");
}

TEST(Place, RefcountsOfLessThanAByteAreBits) {
  TinyImage tiny;
  tiny.put32(96, 1);
  const image::Image image = open(std::move(tiny));
  EXPECT_EQ(place(image, "refcount[0]"), "0x20000+2 bits 0");
  EXPECT_EQ(place(image, "refcount[3]"), "0x20000+2 bits 6");
  EXPECT_EQ(place(image, "refcount[5]"), "0x20001+2 bits 2");
}

TEST(Place, WhatIsNotThereIsSaid) {
  const image::Image image = open(TinyImage());
  for (const char* wrong : {"", "l1", "l1[", "l1[]", "l1[1", "l1[-1]", "l1[0]]", "l1[0].x", "l2[0]", "l2[0,1,2]",
                            "l2[0,]", "refcount", "refcount[]", "snapshot", "snapshot[0]", "elsewhere[0]", "header"}) {
    EXPECT_THAT(place(image, wrong), HasSubstr("is no place; they are called like")) << wrong;
  }
  EXPECT_THAT(place(image, "header.nothing"), HasSubstr("-H lists"));
  EXPECT_THAT(place(image, "l1[1]"), HasSubstr("the L1 table has 1 entries"));
  EXPECT_THAT(place(image, "l2[0,8192]"), HasSubstr("an L2 table has 8192 entries"));
  EXPECT_THAT(place(image, "refcount[0x8000]"), HasSubstr("leads to no block"));
  EXPECT_THAT(place(image, "refcount[0xffffffffffffffff]"), HasSubstr("the refcount table ends before"));
  EXPECT_THAT(place(image, "snapshot[0].name"), HasSubstr("0 snapshots can be read"));
}

TEST(Place, HostileHeadersHarmNobody) {
  TinyImage tiny;
  tiny.put32(36, ~0u);                // L1 size
  tiny.put64(40, ~std::uint64_t{0});  // its offset
  tiny.put64(48, ~std::uint64_t{0});  // refcount table
  tiny.put32(56, ~0u);
  const image::Image image = open(std::move(tiny));
  EXPECT_THAT(place(image, "l1[3]"), HasSubstr("lies nowhere"));  // and not at offset 16
  EXPECT_THAT(place(image, "refcount_table[2]"), HasSubstr("lies nowhere"));
  EXPECT_THAT(place(image, "refcount[2]"), HasSubstr("lies nowhere"));
  for (const char* text :
       {"l1[4294967294]", "l2[4294967294,8191]", "refcount[0]", "refcount[0xffffffff]", "refcount_table[0]"}) {
    (void)place(image, text);
  }
  (void)recognise(image, HostOffset(~std::uint64_t{0} - 7), 8);
  (void)recognise(image, HostOffset(0x40000), 8);
}

TEST(Place, ARefcountBlockMayLieNowhere) {
  TinyImage tiny;
  tiny.put64(TinyImage::refcount_table, 0xfffffffffffffe00);
  EXPECT_THAT(place(open(std::move(tiny)), "refcount[256]"), HasSubstr("leads nowhere"));
}

TEST(Place, ANumberThatHasANameIsRecognised) {
  const image::Image image = open(TinyImage());
  EXPECT_EQ(recognise(image, HostOffset(24), 8).name, "header.size");
  EXPECT_EQ(recognise(image, HostOffset(24), 4).name, "");
  EXPECT_EQ(recognise(image, HostOffset(0x30000), 8).name, "l1[0]");
  EXPECT_EQ(recognise(image, HostOffset(0x40008), 8).name, "l2[0,1]");
  EXPECT_EQ(recognise(image, HostOffset(0x40000), 8).name, "l2[0,0]");
  EXPECT_EQ(recognise(image, HostOffset(0x40004), 8).name, "");
  EXPECT_EQ(recognise(image, HostOffset(0x50000), 8).name, "");
}

TEST(Place, ValuesHaveAMeaning) {
  const image::Image image = open(TinyImage());
  const auto says = [&](const char* text, std::uint64_t value) {
    return meaning(image, *find_place(image, text), value);
  };
  EXPECT_EQ(says("l1[0]", 0x8000000000040000), "L2 table at 0x40000, COPIED");
  EXPECT_EQ(says("l1[0]", 0), "no L2 table");
  EXPECT_EQ(says("l1[0]", 7), "no L2 table, reserved bits 0x7");
  EXPECT_EQ(says("l2[0,0]", 0x8100000000050200),
            "data at 0x50200, COPIED, not cluster-aligned, reserved bits 0x100000000000000");
  EXPECT_EQ(says("l2[0,0]", 0x50000), "data at 0x50000");
  EXPECT_EQ(says("l2[0,0]", 1), "zeros");
  EXPECT_EQ(says("l2[0,0]", 0x50001), "zeros, with a cluster at 0x50000");
  EXPECT_EQ(says("l2[0,0]", 0), "unallocated");
  EXPECT_THAT(says("l2[0,0]", 0x4000000000050123), HasSubstr("compressed data at 0x50123"));
  EXPECT_EQ(says("refcount_table[0]", 0), "no block");
  EXPECT_EQ(says("refcount_table[0]", 0x8000000000020301),
            "block at 0x8000000000020200, not cluster-aligned, reserved bits 0x101");
  EXPECT_EQ(says("header.cluster_bits", 16), "16 (64.00K)");
  EXPECT_EQ(says("refcount[0]", 3), "3");
}

}  // namespace
}  // namespace qd::edit
