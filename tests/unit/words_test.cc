#include <gtest/gtest.h>

#include "io/file.h"
#include "words/sentences.h"
#include "words/sizes.h"

namespace qd {
namespace {

TEST(Sizes, HaveTheirKnownShape) {
  EXPECT_EQ(size_text(10485760), "10485760 / 10.00M / 0.01G");
  EXPECT_EQ(size_text(1073741824), "1073741824 / 1024.00M / 1.00G");
  EXPECT_EQ(short_size(0), "0B");
  EXPECT_EQ(short_size(1536), "1.50K");
  EXPECT_EQ(short_size(~0ULL), "16.00E");
  EXPECT_EQ(percent(1, 8), "12.50%");
  EXPECT_EQ(percent(0, 0), "0.00%");
}

TEST(Sentences, CanBeSaidOfEveryProblem) {
  const auto image = image::Image::open(memory_file(""), {});
  ASSERT_TRUE(image);
  const check::Report result;
  const Sentences sentence(*image, result);
  for (const check::Problem& row : check::problems()) {
    check::Finding finding;
    finding.code = row.code;
    EXPECT_FALSE(sentence(finding).empty()) << row.name;
  }
}

}  // namespace
}  // namespace qd
