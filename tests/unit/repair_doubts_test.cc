// What a repair believes: of one cluster's owners, of a table, of what damage has touched before.
#include <gtest/gtest.h>

#include "repair/doubts.h"
#include "repair_testing.h"

namespace qd::repair {
namespace {

constexpr HostOffset first_data(TinyImage::data);

TEST(RepairDoubts, ASoundImageLeavesNone) {
  Workshop shop{TinyImage()};
  Doubts& doubts = shop.work.doubts;
  EXPECT_FALSE(doubts.refcounts_were_in_doubt());
  EXPECT_FALSE(doubts.was_at_risk());
  EXPECT_FALSE(doubts.any_dubious());
  EXPECT_TRUE(doubts.undisputed(first_data));
  EXPECT_FALSE(doubts.undisputed(HostOffset(behind)));
  EXPECT_EQ(doubts.l2_table(check::active_state, 0), HostOffset(TinyImage::l2_table));
  EXPECT_EQ(doubts.l2_table(check::active_state, 1), std::nullopt);  // no such entry
  EXPECT_TRUE(doubts.l2_look(HostOffset(TinyImage::l2_table)).speaks_for_itself());
  EXPECT_FALSE(doubts.l2_look(first_data).speaks_for_itself());  // nothing but zeros
}

TEST(RepairDoubts, TwoSoundEntriesContestACluster) {
  TinyImage tiny;
  tiny.put64(TinyImage::l2_entry(1), TinyImage::data | copied);
  Workshop shop{tiny};
  EXPECT_FALSE(shop.work.doubts.undisputed(first_data));
  EXPECT_TRUE(shop.work.doubts.credible(shop.owner(TinyImage::data, 0)));
  EXPECT_TRUE(shop.work.doubts.credible(shop.owner(TinyImage::data, 1)));
  EXPECT_TRUE(shop.work.doubts.contested(first_data));
}

TEST(RepairDoubts, AnEntryWithReservedBitsContestsNothing) {
  TinyImage tiny;
  tiny.put64(TinyImage::l2_entry(1), TinyImage::data | copied | std::uint64_t{1} << 60);
  Workshop shop{tiny};
  EXPECT_FALSE(shop.work.doubts.undisputed(first_data));
  EXPECT_FALSE(shop.work.doubts.credible(shop.owner(TinyImage::data, 1)));
  EXPECT_FALSE(shop.work.doubts.contested(first_data));
}

// An L1 entry that names data: what lies there says that it is no table, and what such a table claims means nothing.
TEST(RepairDoubts, AnL1EntryThatNamesDataContestsNothing) {
  TinyImage tiny;
  tiny.put32(36, 2);
  tiny.put64(TinyImage::l1_table + 8, TinyImage::data | copied);
  for (unsigned i = 0; i < 4; ++i) tiny.put64(TinyImage::data + 8 * i, 0x2020202020202020);  // few: else it's no owner
  Workshop shop{tiny};
  EXPECT_FALSE(shop.work.doubts.undisputed(first_data));
  EXPECT_FALSE(shop.work.doubts.l2_look(first_data).is_table());
  EXPECT_FALSE(shop.work.doubts.contested(first_data));
}

TEST(RepairDoubts, WhatWasDisputedStaysSoUntilItIsForgotten) {
  TinyImage tiny;
  tiny.put64(TinyImage::l2_entry(1), TinyImage::data | copied);
  Workshop shop{tiny};
  shop.write(TinyImage::l2_entry(1), (TinyImage::data + cluster) | copied);
  const ClusterIndex first(TinyImage::data / cluster);
  EXPECT_TRUE(shop.work.doubts.undisputed(first_data));
  EXPECT_TRUE(shop.work.doubts.was_disputed(first));
  EXPECT_TRUE(shop.work.look_anew());
  EXPECT_FALSE(shop.work.doubts.was_disputed(first));
}

TEST(RepairDoubts, RefcountsThatWereTooLowStayInDoubt) {
  TinyImage tiny;
  tiny.put16(TinyImage::refcount(6), 0);
  Workshop shop{tiny};
  EXPECT_TRUE(shop.work.doubts.refcounts_were_in_doubt());
  EXPECT_FALSE(shop.work.doubts.was_at_risk());  // a refcount hides no reference
  shop.work.editor.write(Stage::claim, HostOffset(TinyImage::refcount(6)), std::as_bytes(std::span("\0\1", 2)));
  ASSERT_TRUE(shop.work.look());
  ASSERT_EQ(shop.work.view.result().status(), check::Status::good);
  EXPECT_TRUE(shop.work.doubts.refcounts_were_in_doubt());
}

TEST(RepairDoubts, DamageThatHidesReferencesPutsLeaksAtRisk) {
  TinyImage tiny;
  tiny.put64(TinyImage::l1_table, (TinyImage::l2_table + 512) | copied);  // unaligned
  EXPECT_TRUE(Workshop{tiny}.work.doubts.was_hidden());
}

// The L1 table and the refcount block in one place: what is there can be one of them at most.
TEST(RepairDoubts, AnL1TableOverwrittenByRefcountsIsDubious) {
  TinyImage tiny;
  tiny.put64(40, TinyImage::refcount_block);
  Workshop shop{tiny};
  Doubts& doubts = shop.work.doubts;
  EXPECT_TRUE(doubts.dubious(check::active_state));
  EXPECT_EQ(doubts.l2_table(check::active_state, 0), std::nullopt);
  doubts.trust(check::active_state);
  EXPECT_FALSE(doubts.any_dubious());
}

TEST(RepairDoubts, ABlockIsKnownByItsCounts) {
  Workshop shop{TinyImage()};
  EXPECT_TRUE(shop.work.doubts.reads_as_block(0));
  EXPECT_FALSE(shop.work.doubts.reads_as_none(0));
  TinyImage text;
  for (unsigned i = 0; i < 32768; ++i)
    text.put16(TinyImage::refcount(i), static_cast<std::uint16_t>(0x2020 + i * 7919));
  Workshop other{text};
  EXPECT_FALSE(other.work.doubts.reads_as_block(0));
  EXPECT_TRUE(other.work.doubts.reads_as_none(0));
}

}  // namespace
}  // namespace qd::repair
