// Entries one at a time.
#include "image/lookup.h"

#include <gtest/gtest.h>

#include <array>

#include "tiny_image.h"

namespace qd::image {
namespace {

using test::TinyImage;

Image open(TinyImage tiny) { return std::move(*Image::open(memory_file(tiny.bytes()), {})); }

TEST(Lookup, StatesGoByTheirNumber) {
  const std::array<State, 3> states{State{-1}, State{0}, State{2}};
  EXPECT_EQ(find_state(states, -1), &states[0]);
  EXPECT_EQ(find_state(states, 2), &states[2]);
  EXPECT_EQ(find_state(states, 1), nullptr);
  EXPECT_EQ(find_state(states, 3), nullptr);
  EXPECT_EQ(find_state({}, -1), nullptr);
}

TEST(Lookup, AnEntryHasAPlaceAndAValue) {
  const Image image = open(TinyImage());
  const State active{-1, HostOffset(TinyImage::l1_table), 1};
  EXPECT_EQ(l1_entry_at(active, 3), HostOffset(0x30018));
  EXPECT_EQ(*l2_table_of(image, active, 0), HostOffset(0x40000));
  EXPECT_EQ(*l2_table_of(image, active, 1), HostOffset(0));
  EXPECT_EQ(l2_entry_at(image, HostOffset(0x40000), 3), HostOffset(0x40018));
  EXPECT_EQ(read_l2_entry(image, HostOffset(0x40000), 3)->raw, 0x80000 | TinyImage::copied);
  EXPECT_EQ(read_l2_entry(image, HostOffset(0x40000), 4)->raw, 0u);
  EXPECT_EQ(*read_word(image.file(), HostOffset(1) + (std::uint64_t{1} << 60)), 0u);  // behind the file's end
}

TEST(Lookup, AnExtendedEntryHasTwoHalves) {
  TinyImage tiny;
  tiny.put64(72, format::incompatible::extended_l2);
  const Image image = open(std::move(tiny));
  EXPECT_EQ(l2_entry_at(image, HostOffset(0x40000), 1), HostOffset(0x40010));
  const auto entry = read_l2_entry(image, HostOffset(0x40000), 1);
  EXPECT_EQ(entry->raw, 0x70000 | TinyImage::copied);
  EXPECT_EQ(entry->bitmap, 0x80000 | TinyImage::copied);
}

TEST(Lookup, AnotherViewIsOpenedAsTheImageWas) {
  TinyImage tiny;
  tiny.put32(20, 63);
  const auto image = Image::open(memory_file(tiny.bytes()), {.cluster_bits = 16});
  const auto view = image->reopen(memory_file(tiny.bytes()));
  EXPECT_EQ(view->geometry->cluster_bits, 16u);
  EXPECT_TRUE(view->against_header());
  EXPECT_FALSE(open(TinyImage()).against_header());
  tiny.put32(20, 12);  // as an edit would leave it
  EXPECT_EQ(image->reopen(memory_file(tiny.bytes()))->geometry->cluster_bits, 12u);
}

}  // namespace
}  // namespace qd::image
