// The image as it will be.
#include <gtest/gtest.h>

#include <cerrno>

#include "repair/view.h"
#include "repair_testing.h"

namespace qd::repair {
namespace {

using check::Code;

TEST(RepairView, WhatIsPlannedIsSeenByTheNextLook) {
  Workshop shop{TinyImage()};
  const View& view = shop.work.view;
  EXPECT_EQ(view.result().status(), check::Status::good);
  shop.work.editor.write64(Stage::point, HostOffset(TinyImage::l2_entry(1)), 0);
  EXPECT_TRUE(view.outdated());
  EXPECT_EQ(view.count(Code::refcount_leak), 0u);
  ASSERT_TRUE(shop.work.look());
  EXPECT_FALSE(view.outdated());
  EXPECT_EQ(view.count(Code::refcount_leak), 1u);
  be64 entry;
  ASSERT_TRUE(shop.base->read(TinyImage::l2_entry(1), std::as_writable_bytes(std::span(&entry, 1))));
  EXPECT_EQ(entry.get(), (TinyImage::data + cluster) | copied);
}

TEST(RepairView, TheFirstErrorIsKept) {
  Workshop shop{TinyImage()};
  shop.work.view.fail({EIO, "the first"});
  shop.work.view.fail({ENOSPC, "the second"});
  EXPECT_EQ(shop.work.view.error().message, "the first");
  EXPECT_FALSE(shop.work.look());
}

TEST(RepairView, AReadThatFailsIsAnError) {
  Workshop shop(faulty_file(memory_file(TinyImage().bytes()), TinyImage::data, 512, EIO));
  EXPECT_EQ(shop.work.view.read64(HostOffset(TinyImage::data + 512)), 0u);
  EXPECT_FALSE(shop.work.view.failed());
  (void)shop.work.view.read64(HostOffset(TinyImage::data));
  EXPECT_TRUE(shop.work.view.failed());
}

TEST(RepairView, WordsEndWhereTheFileEnds) {
  Workshop shop{TinyImage()};
  EXPECT_EQ(shop.work.view.read_words(HostOffset(behind - 16), 64).size(), 2u);
  EXPECT_TRUE(shop.work.view.read_words(HostOffset(behind + 8), 64).empty());
  EXPECT_FALSE(shop.work.view.failed());
}

TEST(RepairView, AnL1EntryLiesWithinItsTable) {
  const Workshop shop{TinyImage()};
  EXPECT_EQ(shop.work.view.l1_entry(check::active_state, 0), HostOffset(TinyImage::l1_table));
  EXPECT_EQ(shop.work.view.l1_entry(check::active_state, 1), std::nullopt);
  EXPECT_EQ(shop.work.view.l1_entry(0, 0), std::nullopt);  // there is no such snapshot
}

TEST(RepairView, AFieldThatGivesEntriesAnotherMeaningQuestionsAll) {
  EXPECT_EQ(Workshop{TinyImage()}.work.view.questions_everything(), std::nullopt);
  TinyImage cleared;
  cleared.put64(TinyImage::l2_entry(0), 0);  // a plain fault
  EXPECT_EQ(Workshop{cleared}.work.view.questions_everything(), std::nullopt);
  TinyImage unknown;
  unknown.put64(72, std::uint64_t{1} << 40);  // an incompatible feature that nobody knows
  EXPECT_EQ(Workshop{unknown}.work.view.questions_everything(), Code::header_incompatible);
}

}  // namespace
}  // namespace qd::repair
