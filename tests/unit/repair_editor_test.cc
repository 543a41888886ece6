// Where new clusters come from, and what is written down of a change.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

#include "repair/editor.h"
#include "repair_testing.h"

namespace qd::repair {
namespace {

using check::Code;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr Wanted forced{.force = true};

std::unique_ptr<File> device(Fate& fate, TinyImage tiny, std::uint64_t bytes) {
  tiny.bytes().resize(bytes);
  auto file = std::make_unique<SimulatedFile>(fate, tiny.bytes(), "DEVICE");
  file->become_device();
  return file;
}

std::vector<std::string> refusals(const Plan& plan) {
  std::vector<std::string> texts;
  for (const Refusal& refusal : plan.refusals) texts.push_back(refusal.text);
  return texts;
}

TEST(RepairEditor, NewClustersLieBehindTheEnd) {
  Workshop shop{TinyImage()};
  EXPECT_EQ(shop.work.editor.allocate(2), HostOffset(behind));
  EXPECT_EQ(shop.work.editor.allocate(1), HostOffset(behind + 2 * cluster));
}

TEST(RepairEditor, WhatARefcountCountsBehindTheEndIsInUse) {
  TinyImage tiny;
  tiny.put16(TinyImage::refcount(behind / cluster + 1), 1);
  EXPECT_EQ(Workshop{tiny}.work.editor.allocate(1), HostOffset(behind));
  EXPECT_EQ(Workshop{tiny}.work.editor.allocate(2), HostOffset(behind + 2 * cluster));  // in a row
}

TEST(RepairEditor, ABlockThatAnotherOwnerHasCountsNothingBehindTheEnd) {
  TinyImage tiny;
  tiny.put16(TinyImage::refcount(behind / cluster), 1);
  tiny.put64(TinyImage::l2_entry(3), TinyImage::refcount_block | copied);
  EXPECT_EQ(Workshop{tiny}.work.editor.allocate(1), HostOffset(behind));
}

TEST(RepairEditor, NothingGrowsOverWhatWasCutOff) {
  TinyImage tiny;
  tiny.put64(TinyImage::l2_entry(4), behind | copied);
  Workshop shop{tiny};
  EXPECT_EQ(shop.work.editor.allocate(1), std::nullopt);
  EXPECT_TRUE(shop.work.editor.growth_refused());
  EXPECT_EQ(shop.work.view.error().number, EFBIG);
  Workshop by_force(tiny, forced);
  EXPECT_EQ(by_force.work.editor.allocate(1), HostOffset(behind + cluster));
}

TEST(RepairEditor, ADeviceHasTheRoomItHas) {
  Fate fate;
  Workshop shop(device(fate, TinyImage(), behind + 2 * cluster));
  EXPECT_EQ(shop.work.editor.allocate(2), HostOffset(behind));
  EXPECT_EQ(shop.work.editor.allocate(1), std::nullopt);
  EXPECT_EQ(shop.work.view.error().number, ENOSPC);
  EXPECT_THAT(shop.work.view.error().message, HasSubstr("make the device larger"));
}

// Behind the image a device holds what it held before. If some refcounts were too low, others may be as well.
TEST(RepairEditor, OnADeviceWhoseRefcountsAreWrongOnlyZerosAreRoom) {
  TinyImage tiny;
  tiny.put16(TinyImage::refcount(6), 0);
  tiny.bytes().resize(behind + 2 * cluster);
  tiny.bytes()[behind + 5] = 'x';
  Fate fate;
  EXPECT_EQ(Workshop(device(fate, tiny, behind + 2 * cluster)).work.editor.allocate(1), HostOffset(behind + cluster));
  EXPECT_EQ(Workshop(device(fate, tiny, behind + 2 * cluster), forced).work.editor.allocate(1), HostOffset(behind));
}

TEST(RepairEditor, AfterAnErrorNothingIsPlanned) {
  Workshop shop{TinyImage()};
  shop.work.view.fail({EIO, "broken"});
  shop.work.editor.write64(Stage::point, HostOffset(0), 1);
  shop.work.editor.copy(HostOffset(behind), HostOffset(TinyImage::data), cluster);
  EXPECT_TRUE(shop.transaction.empty());
}

TEST(RepairEditor, ANumberThatIsRightIsNoChange) {
  Workshop shop{TinyImage()};
  const HostOffset entry(TinyImage::l2_entry(0));
  shop.work.editor.put64(Stage::point, entry, TinyImage::data | copied, Code::l2_copied, "as it is");
  EXPECT_THAT(shop.work.editor.plan.actions, IsEmpty());
  EXPECT_TRUE(shop.transaction.empty());
  shop.work.editor.put64(Stage::point, entry, TinyImage::data, Code::l2_copied, "without the flag");
  ASSERT_EQ(shop.work.editor.plan.actions.size(), 1u);
  const Action& action = shop.work.editor.plan.actions[0];
  EXPECT_EQ(action.at, entry);
  EXPECT_EQ(action.before, "8000000000050000");
  EXPECT_EQ(action.after, "0000000000050000");
}

TEST(RepairEditor, DataIsCopiedAsItIsAndTablesAsTheyWillBe) {
  Workshop shop{TinyImage()};
  Editor& editor = shop.work.editor;
  editor.write64(Stage::point, HostOffset(TinyImage::l2_entry(0)), 7);
  ASSERT_TRUE(shop.work.look());
  editor.copy(HostOffset(behind), HostOffset(TinyImage::l2_table), cluster);
  editor.copy_planned(HostOffset(behind + cluster), HostOffset(TinyImage::l2_table), cluster);
  ASSERT_TRUE(shop.work.look());
  EXPECT_EQ(shop.work.view.read64(HostOffset(behind)), TinyImage::data | copied);
  EXPECT_EQ(shop.work.view.read64(HostOffset(behind + cluster)), 7u);
}

TEST(RepairEditor, AStepThatRunsAgainRefusesAnew) {
  Workshop shop{TinyImage()};
  Editor& editor = shop.work.editor;
  const Editor::Step step = [](Work&) {}, other = [](Work&w) { w.editor.act({}); };
  editor.begin(step);
  editor.refuse(Code::l2_reserved, "of the first run");
  editor.refuse(Code::l2_reserved, "of the first run");
  editor.begin(other);
  editor.refuse(Code::l2_reserved, "of another step");
  editor.begin(nullptr);
  editor.refuse(Code::l2_reserved, "of no step");
  EXPECT_THAT(refusals(editor.plan), ElementsAre("of the first run", "of another step", "of no step"));
  editor.begin(step);
  EXPECT_THAT(refusals(editor.plan), ElementsAre("of another step", "of no step"));
}

}  // namespace
}  // namespace qd::repair
