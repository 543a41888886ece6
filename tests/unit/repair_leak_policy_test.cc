// How far refcounts may fall.
#include <gtest/gtest.h>

#include "repair/leak_policy.h"
#include "repair_testing.h"

namespace qd::repair {
namespace {

constexpr Wanted leaks{.leak = true};

// A leak that nothing makes suspicious: a cluster of zeros that no entry names, while all tables are sound.
TinyImage leaky() {
  TinyImage tiny;
  tiny.put64(TinyImage::l2_entry(3), 0);
  return tiny;
}

TEST(RepairLeakPolicy, LeaksAreFreedForWhoAsks) {
  EXPECT_FALSE(Workshop{leaky()}.work.leaks.may_free());
  EXPECT_TRUE(Workshop(leaky(), leaks).work.leaks.may_free());
}

TEST(RepairLeakPolicy, SuspiciousOnesAreFreedByForce) {
  TinyImage tiny;
  tiny.put64(TinyImage::l1_table, (TinyImage::l2_table + 512) | copied);  // unaligned: hides all data
  EXPECT_FALSE(Workshop(tiny, leaks).work.leaks.may_free());
  EXPECT_TRUE(Workshop(tiny, {.leak = true, .force = true}).work.leaks.may_free());
}

TEST(RepairLeakPolicy, WhatThePlanGaveUpKeepsThemSuspicious) {
  Workshop shop(leaky(), leaks);
  shop.work.leaks.lost_something();
  EXPECT_FALSE(shop.work.leaks.may_free());
  shop.work.leaks.found_again();
  EXPECT_TRUE(shop.work.leaks.may_free());
}

TEST(RepairLeakPolicy, AllMayFallWhereTheUserSaysSo) {
  Workshop shop{leaky()};
  shop.work.leaks.free_all();
  EXPECT_TRUE(shop.work.leaks.may_free());
}

TEST(RepairLeakPolicy, AMovedStructureGivesItsClustersBack) {
  Workshop shop{TinyImage()};
  shop.work.leaks.release(HostOffset(TinyImage::data), cluster + 1);
  shop.work.leaks.release(HostOffset(TinyImage::data), 1);
  shop.work.leaks.release(HostOffset(behind), cluster);  // nothing lies there
  const std::uint64_t first = TinyImage::data / cluster;
  EXPECT_EQ(shop.work.leaks.released(first), 2u);
  EXPECT_EQ(shop.work.leaks.released(first + 1), 1u);
  EXPECT_EQ(shop.work.leaks.released(first + 2), 0u);
  EXPECT_EQ(shop.work.leaks.released(behind / cluster), 0u);
  shop.work.leaks.let_go_no_more();
  EXPECT_EQ(shop.work.leaks.released(first), 0u);
}

TEST(RepairLeakPolicy, ReferencesThatThePlanTookAwayMayBeCountedNoMore) {
  Workshop shop{TinyImage()};
  const ClusterIndex first(TinyImage::data / cluster), second = first + 1;
  EXPECT_EQ(shop.work.leaks.let_go(first), 0u);
  shop.work.leaks.let_go_since(shop.work.view.result());
  shop.write(TinyImage::l2_entry(0), 0);
  EXPECT_EQ(shop.work.leaks.let_go(first), 1u);
  EXPECT_EQ(shop.work.leaks.let_go(second), 0u);
  shop.work.leaks.let_go_no_more();
  EXPECT_EQ(shop.work.leaks.let_go(first), 0u);
}

}  // namespace
}  // namespace qd::repair
