#include "advice/advice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "advice/trial.h"
#include "render/render.h"
#include "render_testing.h"
#include "words/escape.h"

namespace qd::advice {
namespace {

using check::Code;
using render::ImageBytes;
using render::open_image;
using render::with;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

class Judge : public testing::Test {
 protected:
  Verdict judged(check::Report result) const { return judged(image_, std::move(result)); }
  static Verdict judged(const image::Image& image, check::Report result) {
    judge_leaks(image, result);
    return judge(image, result);
  }
  static std::vector<std::string> commands(const Verdict& verdict) {
    std::vector<std::string> list;
    for (const Advice& advice : verdict.advice) {
      if (!advice.command.empty()) list.push_back(command_line(advice.command));
    }
    return list;
  }
  static std::string words(const Verdict& verdict) {
    std::string all = verdict.text;
    for (const Advice& advice : verdict.advice) all += "\n" + advice.text;
    return all;
  }
  static bool frees(const std::vector<std::string>& commands) {
    return std::ranges::any_of(commands, [](const std::string& c) {
      return c.find("-R leak") != c.npos || c.find("-R all") != c.npos || c.find("-R discard") != c.npos;
    });
  }

  const image::Image image_ = open_image(ImageBytes().bytes());
};

TEST(FewestLeaks, OnlyTheBestAnswersAmbiguityCounts) {
  Fewest<int> answer;
  EXPECT_EQ(answer.alone(), std::nullopt);
  answer.add(1, 5);
  EXPECT_EQ(answer.alone(), 1);
  answer.add(2, 5);
  answer.add(3, 7);
  EXPECT_EQ(answer.alone(), std::nullopt);
  answer.add(4, 2);
  answer.add(5, 3);
  EXPECT_EQ(answer.alone(), 4);
}

TEST_F(Judge, AGoodImage) {
  const Verdict v = judged(with({}));
  EXPECT_EQ(v.text, "Nothing is wrong with this image.");
  EXPECT_THAT(v.advice, IsEmpty());
}

TEST_F(Judge, OneKindOneCommand) {
  EXPECT_THAT(commands(judged(with({{Code::refcount_leak, 1}}))), testing::ElementsAre("qcow2-dump -R leak a.qcow2"));
  EXPECT_THAT(commands(judged(with({{Code::refcount_low, 3}}))), testing::ElementsAre("qcow2-dump -R error a.qcow2"));
  EXPECT_THAT(commands(judged(with({{Code::cluster_reuse, 1}}))), testing::ElementsAre("qcow2-dump -R reuse a.qcow2"));
  EXPECT_THAT(commands(judged(with({{Code::refcount_leak, 1}, {Code::refcount_low, 3}}))),
              testing::ElementsAre("qcow2-dump -R all a.qcow2"));
  EXPECT_THAT(commands(judged(with({{Code::header_corrupt, 1}}))), testing::ElementsAre("qcow2-dump -R error a.qcow2"));
}

TEST_F(Judge, TheCommandSurvivesTheShell) {
  const auto image = open_image(ImageBytes().bytes(), "-my disk's.qcow2");
  EXPECT_EQ(commands(judge(image, with({{Code::refcount_leak, 1}}))).back(),
            "qcow2-dump -R leak './-my disk'\\''s.qcow2'");
}

// The rule that must never break: what looks leaked may be all that is left of a lost table's data.
TEST_F(Judge, NeverFreesLeaksWhileReferencesAreHidden) {
  for (const check::Problem& row : check::problems()) {
    if (row.code == Code::refcount_leak) continue;
    const Verdict v = judged(with({{row.code, 1}, {Code::refcount_leak, 1}}));
    EXPECT_FALSE(row.hides != check::Hidden::nothing && frees(commands(v))) << row.name;
  }
  using enum Code;
  for (const Code code :
       {header_magic,          header_l1_offset,      header_l1_size,       header_crypt,      header_extension,
        l1_unreadable,         l1_truncated,          l1_reserved,          l1_unaligned,      l1_past_end,
        l1_no_offset,          l2_unreadable,         l2_truncated,         l2_reserved,       l2_unaligned,
        l2_past_end,           l2_bitmap_unallocated, snapshot_table,       snapshot_entry,    snapshot_extra_data,
        snapshot_l1_unaligned, snapshot_l1_size,      snapshot_l1_past_end, snapshot_l1_short, cluster_reuse,
        l1_no_table,           image_truncated}) {
    EXPECT_EQ(check::problem(code).hides, check::Hidden::data) << check::problem(code).name;
  }
}

TEST_F(Judge, AdvisesACopyWhereDamageHidesLeakedData) {
  const Verdict v = judged(with({{Code::l1_unaligned, 1}, {Code::refcount_leak, 8000}, {Code::refcount_low, 1}}));
  EXPECT_THAT(v.text, HasSubstr("may be the only copy"));
  EXPECT_THAT(words(v), HasSubstr("Don't free them"));
  EXPECT_THAT(commands(v),
              testing::ElementsAre("cp --sparse=always a.qcow2 a.qcow2.copy", "qcow2-dump -R error a.qcow2"));
}

// A table of the active disk alone, or one that the snapshot has as well.
TEST_F(Judge, ASoundSnapshotIsAWayBack) {
  const auto last_command = [](std::uint64_t entry, std::uint16_t count = 2) {
    const std::uint64_t refcount_of_table = 2 * ImageBytes::cluster + 4 * sizeof count;
    const auto image = open_image(
        ImageBytes().put<std::uint64_t>(entry, 0x7000'0000).put<std::uint16_t>(refcount_of_table, count).bytes());
    return commands(judge(image, check::check(image))).back();
  };
  EXPECT_EQ(last_command(3 * ImageBytes::cluster, 1), "qcow2-dump -A 'snapshot[0]' a.qcow2");
  EXPECT_EQ(last_command(3 * ImageBytes::cluster), "qcow2-dump -m edit -O 'l1[0]' -V 0x4000 a.qcow2");
  EXPECT_THAT(last_command(4 * ImageBytes::cluster), Not(HasSubstr("-A")));
  EXPECT_THAT(last_command(8 * ImageBytes::cluster), Not(HasSubstr("-A")));
}

TEST_F(Judge, LostBitmapsAreNoLostData) {
  const Verdict v = judged(with({{Code::bitmaps_directory, 1}, {Code::refcount_leak, 20}}));
  EXPECT_THAT(v.text, HasSubstr("it can be repaired"));
  EXPECT_THAT(words(v), HasSubstr("guest's data is not concerned"));
  EXPECT_THAT(commands(v), testing::ElementsAre("qcow2-dump -R error a.qcow2"));
}

TEST_F(Judge, ManyLeaksAloneAreSuspect) {
  const Verdict v = judged(with({{Code::refcount_leak, 17}}));
  EXPECT_THAT(commands(v), IsEmpty());
  EXPECT_THAT(words(v), HasSubstr("Don't free them"));
}

TEST_F(Judge, MoreLeakedThanMappedIsSuspect) {
  check::Report result = with({{Code::refcount_leak, 5}});
  result.reports[0].data_clusters = 4;
  EXPECT_FALSE(frees(commands(judged(result))));
  result.reports[0].data_clusters = 5;
  EXPECT_TRUE(frees(commands(judged(result))));
}

TEST_F(Judge, StaleRefcountsAreExpectedWithLazyOnes) {
  const auto lazy = open_image(ImageBytes().put<std::uint64_t>(80, 1).bytes());
  const check::Report stale = with({{Code::header_dirty, 1}, {Code::refcount_low, 500}, {Code::refcount_leak, 500}});
  const Verdict v = judged(lazy, stale);
  EXPECT_THAT(words(v), HasSubstr("lazy refcounts"));
  EXPECT_THAT(commands(v), testing::ElementsAre("qcow2-dump -R all a.qcow2"));
  EXPECT_FALSE(frees(commands(judged(stale)))) << "the same without lazy refcounts";
  const check::Report damaged = with({{Code::header_dirty, 1}, {Code::l1_past_end, 1}, {Code::refcount_leak, 5}});
  EXPECT_FALSE(frees(commands(judged(lazy, damaged))));
  EXPECT_THAT(words(judged(lazy, damaged)), HasSubstr("QEMU frees them, too"));
}

TEST_F(Judge, ADirtyBitAloneIsNoAlarm) {
  const Verdict v = judged(with({{Code::header_dirty, 1}}));
  EXPECT_EQ(v.text, "Nothing is damaged, but there is 1 warning.");
  EXPECT_THAT(commands(v), testing::ElementsAre("qcow2-dump -R error a.qcow2"));
}

TEST_F(Judge, NothingIsRepairedUnderAWriter) {
  for (const check::Problem& row : check::problems()) {
    if (has(row.doubts, check::Doubt::disk) || row.code == Code::header_short) continue;
    const Verdict v = judged(with({{Code::image_in_use, 1}, {row.code, 1}}));
    EXPECT_THAT(commands(v), testing::ElementsAre("qcow2-dump a.qcow2")) << row.name;
  }
}

TEST_F(Judge, AFailingDiskIsCopiedAndNothingElse) {
  for (const Code code :
       {Code::l1_unreadable, Code::l2_unreadable, Code::reftable_unreadable, Code::refblock_unreadable}) {
    const Verdict v = judged(with({{code, 1}, {Code::refcount_low, 4}, {Code::refcount_leak, 1}}));
    EXPECT_THAT(commands(v), testing::ElementsAre("ddrescue a.qcow2 a.qcow2.copy rescue.map"));
  }
}

TEST_F(Judge, WhatAPersonMustDoIsSaid) {
  const Verdict v = judged(with({{Code::backing_missing, 1}}));
  EXPECT_THAT(words(v), HasSubstr("backing.missing: QEMU can't open the image without it"));
  EXPECT_THAT(commands(v), IsEmpty());
}

TEST_F(Judge, WhatNothingCanRepairIsSaid) {
  const Verdict v = judged(with({{Code::compressed_payload, 1}}));
  EXPECT_THAT(v.text, HasSubstr("it can't be repaired"));
  EXPECT_THAT(commands(v), IsEmpty());
}

TEST_F(Judge, EveryProblemGetsASentence) {
  for (const check::Problem& row : check::problems()) {
    const Verdict v = judged(with({{row.code, 1}}));
    EXPECT_TRUE(v.text.ends_with('.')) << row.name << ": " << v.text;
    EXPECT_THAT(v.text, Not(testing::ContainsRegex(" [ ,;.]"))) << row.name;  // "The image has ; it can be repaired."
    EXPECT_FALSE(words(v).empty());
  }
}

TEST_F(Judge, WhatIsNoQcow2ImageIsSaidSo) {
  const auto text = open_image(std::string(65536, 'A'), "notes.txt");
  EXPECT_EQ(judge(text, check::check(text)).text, "This is no qcow2 image, or its beginning was overwritten.");
  const auto empty = open_image("");
  EXPECT_THAT(judge(empty, check::check(empty)).text, HasSubstr("shorter than a header"));
  EXPECT_THAT(judge(empty, check::check(empty)).advice, IsEmpty());
}

TEST_F(Judge, TheKernelLogGetsOneLine) {
  const std::string line = render::summary_line(render::outcome(
      open_image(ImageBytes().bytes(), "a\nb\x1b" + std::string(2000, 'x')), with({{Code::refcount_leak, 2}})));
  EXPECT_EQ(line.find('\n'), line.npos);
  EXPECT_EQ(line.find('\x1b'), line.npos);
  EXPECT_LT(line.size(), 800u);
  EXPECT_THAT(line, HasSubstr("leak (exit code 1)"));
}

}  // namespace
}  // namespace qd::advice
