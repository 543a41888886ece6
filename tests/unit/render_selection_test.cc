#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

#include "render/blocks.h"
#include "render/selection.h"
#include "render_testing.h"

namespace qd::render {
namespace {

image::Image with_snapshots(std::initializer_list<std::pair<std::string, std::string>> snapshots) {
  image::Image image = open_image("");
  for (const auto& [id, name] : snapshots) {
    format::Snapshot s;
    s.id = id;
    s.name = name;
    image.snapshots.entries.push_back(std::move(s));
  }
  return image;
}

int chosen(const image::Image& image, const std::string& snapshot) {
  const auto selection = select(image, "all", snapshot);
  EXPECT_TRUE(selection) << selection.error().message;
  if (!selection) return -2;
  EXPECT_FALSE(selection->active);
  EXPECT_TRUE(selection->inactive);
  return selection->only_snapshot;
}

std::string refused(const image::Image& image, const std::string& snapshot, const std::string& output = "all") {
  const auto selection = select(image, output, snapshot);
  EXPECT_FALSE(selection);
  if (selection) return {};
  EXPECT_EQ(selection.error().number, EINVAL);
  return selection.error().message;
}

TEST(Selection, Words) {
  const image::Image image = with_snapshots({{"1", "first"}});
  const Selection all = *select(image, "all", "all");
  EXPECT_TRUE(all.refcounts && all.mapping && all.shows(-1) && all.shows(0) && all.shows(7));
  const Selection active = *select(image, "snapshot", "active");
  EXPECT_TRUE(!active.refcounts && active.mapping && active.shows(-1) && !active.shows(0));
  const Selection inactive = *select(image, "refcount", "inactive");
  EXPECT_TRUE(inactive.refcounts && !inactive.mapping && !inactive.shows(-1) && inactive.shows(0));
}

TEST(Selection, AnIdGoesBeforeAName) {
  const image::Image image = with_snapshots({{"1", "2"}, {"2", "1"}, {"3", "last"}});
  EXPECT_EQ(chosen(image, "1"), 0);
  EXPECT_EQ(chosen(image, "2"), 1);
  EXPECT_EQ(chosen(image, "last"), 2);
  EXPECT_EQ(chosen(image, "snapshot[2]"), 2);
  EXPECT_FALSE(select(image, "all", "2")->shows(0));
  EXPECT_TRUE(select(image, "all", "2")->shows(1));
}

TEST(Selection, APlaceInTheTableGoesBeforeAll) {
  const image::Image image = with_snapshots({{"snapshot[1]", "a"}, {"2", "snapshot[9]"}});
  EXPECT_EQ(chosen(image, "snapshot[1]"), 1);
  EXPECT_EQ(chosen(image, "snapshot[9]"), 1);  // no such place, but such a name
}

TEST(Selection, UnknownAndAmbiguousOnesAreErrors) {
  const image::Image image = with_snapshots({{"1", "x\x1b"}, {"1", "same"}, {"3", "same"}});
  EXPECT_EQ(refused(image, "nobody"),
            "no snapshot is called \"nobody\"; the image has snapshot[0] 1 (\"x\x1b\"), snapshot[1] 1 (\"same\"), "
            "snapshot[2] 3 (\"same\")");
  EXPECT_EQ(refused(image, "same"),
            "several snapshots are called \"same\": snapshot[1] 1 (\"same\"), snapshot[2] 3 (\"same\"); say which with "
            "snapshot[N]");
  EXPECT_THAT(refused(image, "1"), testing::StartsWith("several"));
  for (const char* bad :
       {"", "snapshot[3]", "snapshot[]", "snapshot[-1]", "snapshot[99999999999999999999]", "snapshot[0"}) {
    EXPECT_THAT(refused(image, bad), testing::StartsWith("no snapshot")) << bad;
  }
  EXPECT_EQ(refused(with_snapshots({}), "1"), "no snapshot is called \"1\"; the image has none");
  EXPECT_THAT(refused(image, "all", "everything"), testing::HasSubstr("everything"));
}

TEST(Blocks, EveryProblemHasItsPlace) {
  const auto block = [](check::Code code, std::int32_t state = check::no_state) {
    check::Finding finding;
    finding.code = code;
    finding.state = state;
    return block_of(finding);
  };
  using enum check::Code;
  EXPECT_EQ(block(header_magic), Block::header);
  EXPECT_EQ(block(image_in_use), Block::header);
  EXPECT_EQ(block(data_file_missing), Block::header);
  EXPECT_EQ(block(l1_unaligned, check::active_state), Block::active);
  EXPECT_EQ(block(l2_unaligned, 0), Block::snapshots);
  EXPECT_EQ(block(compressed_payload, check::active_state), Block::active);
  EXPECT_EQ(block(snapshot_table), Block::snapshots);
  EXPECT_EQ(block(l2_copied, check::active_state), Block::copied);
  EXPECT_EQ(block(refcount_low, check::active_state), Block::refcounts);
  EXPECT_EQ(block(refblock_truncated), Block::refcounts);
  EXPECT_EQ(block(metadata_overlap), Block::clusters);
  EXPECT_EQ(block(data_file_reuse), Block::clusters);
  EXPECT_EQ(block(bitmaps_stale), Block::bitmaps);
}

TEST(Blocks, TheSelectionDecidesWhatIsShown) {
  const image::Image image = with_snapshots({{"1", "a"}, {"2", "b"}});
  const auto shown = [&](const char* output, const char* snapshot, check::Code code, std::int32_t state) {
    check::Finding finding;
    finding.code = code;
    finding.state = state;
    return shows(*select(image, output, snapshot), finding);
  };
  using enum check::Code;
  EXPECT_TRUE(shown("refcount", "1", header_dirty, check::no_state));
  EXPECT_TRUE(shown("refcount", "active", refcount_low, 0));
  EXPECT_FALSE(shown("snapshot", "all", refcount_low, 0));
  EXPECT_FALSE(shown("refcount", "all", l2_unaligned, check::active_state));
  EXPECT_TRUE(shown("snapshot", "1", l2_unaligned, 0));
  EXPECT_FALSE(shown("snapshot", "1", l2_unaligned, 1));
  EXPECT_FALSE(shown("snapshot", "1", l2_unaligned, check::active_state));
  EXPECT_FALSE(shown("all", "active", snapshot_table, check::no_state));
}

}  // namespace
}  // namespace qd::render
