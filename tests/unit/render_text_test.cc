#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

#include "render/text/text.h"
#include "render_testing.h"

namespace qd::render {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string check_text(const ImageBytes& bytes, bool problems = true, const Selection& selection = {},
                       bool color = false) {
  const session::Outcome outcome = checked(open_image(bytes.bytes()));
  const View view{.selection = selection, .problems = problems, .style = {.color = color}};
  return written([&](Output& out) { print_check(out, outcome, view); });
}

TEST(Wrap, KeepsWordsWholeAndLinesShort) {
  EXPECT_EQ(wrap("one two", "- "), "- one two\n");
  EXPECT_EQ(wrap(""), "\n");
  const std::string text = wrap(std::string(70, 'a') + " " + std::string(20, 'b') + " " + std::string(100, 'c'), "12 ");
  EXPECT_EQ(text,
            "12 " + std::string(70, 'a') + "\n   " + std::string(20, 'b') + "\n   " + std::string(100, 'c') + "\n");
}

TEST(Wrap, TheOtherLinesMayHaveAnIndentOfTheirOwn) {
  const std::string word(70, 'a');
  EXPECT_EQ(wrap(word + " " + word, "ERROR ", 2), "ERROR " + word + "\n  " + word + "\n");
}

TEST(CheckText, ALongVerdictSaysItsHeadlineAgainOnAScreen) {
  check::Report result;
  const auto verdict = [&](bool screen) {
    const session::Outcome judged = outcome(open_image(ImageBytes().bytes()), result);
    return written([&](Output& out) { print_verdict(out, judged, {.screen = screen}); });
  };
  EXPECT_EQ(verdict(true), verdict(false));
  check::Finding leak;
  leak.code = check::Code::refcount_leak;
  result.findings.add(std::move(leak));
  result.leak_doubt.lost_table = true;
  for (int i = 0; i < 300; ++i) result.leak_doubt.evidence += "word ";
  const std::string box = verdict(false), shown = verdict(true);
  ASSERT_GE(std::ranges::count(box, '\n'), 24);
  ASSERT_TRUE(shown.starts_with(box));
  const std::string last = shown.substr(box.size());
  EXPECT_THAT(last, testing::StartsWith("LEAK: "));
  EXPECT_THAT(box, HasSubstr("#\n" + last));
}

// Scripts read these lines: column by column.
TEST(CheckText, ResultLinesKeepTheirShape) {
  const std::string text = check_text(ImageBytes());
  for (const char* line :
       {"\nvirtual_size: 1048576 / 1.00M / 0.00G\n", "\nActive Snapshot:\n", "\nInactive Snapshot:\n",
        "\nRefcount Table:\n", "\nCOPIED OFLAG:\n", "\nActive Cluster:\n", "\nSummary:\n",
        "\nL1 Table:       unaligned: 0, invalid: 0, unused: 0, used: 1\n",
        "\nL2 Table:       unaligned: 0, invalid: 0, unused: 510, used: 2\n",
        "\n                new/diff: 2, zero_alloc: 0, zero_plain: 0\n",
        "\nRefcount Table: unaligned: 0, invalid: 0, unused: 511, used: 1\n",
        "\nRefcount:       error: 0, leak: 0, unused: 0, used: 9\n", "\nL1 Table ERROR OFLAG_COPIED: 0\n",
        "\nL2 Table ERROR OFLAG_COPIED: 0\n", "\nActive Cluster: reuse: 0\n",
        "\nActive Cluster:   2 [8192 / 0.01M / 0.00G]\n", "\nGOOD: Nothing is wrong with this image.\n"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
  EXPECT_THAT(check_text(ImageBytes(), true, {}, true), HasSubstr("\x1b[32mGOOD\x1b[0m: Nothing"));
}

TEST(CheckText, ProblemsStandInTheirBlock) {
  ImageBytes bytes;
  bytes.put<std::uint64_t>(4 * 4096 + 8, 5 * 4096);  // both L2 entries name one cluster
  const std::string text = check_text(bytes);
  const std::size_t refcounts = text.find("\nRefcount Table:\n---"), clusters = text.find("\nActive Cluster:\n---");
  const std::size_t leak = text.find("\nLEAK [refcount.leak] cluster 6 at 0x6000 ");
  const std::size_t reuse = text.find("\nERROR [cluster.reuse] cluster 5 at 0x5000 ");
  ASSERT_NE(leak, text.npos);
  ASSERT_NE(reuse, text.npos);
  EXPECT_TRUE(refcounts < leak && leak < clusters && clusters < reuse);
  EXPECT_THAT(text, HasSubstr("\nREUSED  cluster offset: 0x5000 | l1_index:    0, l2_index:    0 [entry: 0x4000] | "
                              "refcount: 2\n"
                              "REUSED  cluster offset: 0x5000 | l1_index:    0, l2_index:    1 [entry: 0x4008] | "
                              "refcount: 2\n"));
  EXPECT_THAT(check_text(bytes, false), Not(HasSubstr("[cluster.reuse]")));
  EXPECT_THAT(check_text(bytes, false), HasSubstr("Where:          qcow2-dump -m error a.qcow2\n"));
}

TEST(CheckText, EveryProblemIsListedOnce) {
  for (const check::Problem& row : check::problems()) {
    image::Image image = open_image(ImageBytes().bytes());
    check::Report result = check::check(image);
    check::Finding finding;
    finding.code = row.code;
    result.findings.add(std::move(finding));
    const session::Outcome found = outcome(std::move(image), std::move(result), false);
    const std::string text = written([&](Output& out) { print_check(out, found, {.problems = true}); });
    const std::string name = "[" + std::string(row.name) + "] ";
    const std::size_t at = text.find(name);
    ASSERT_NE(at, text.npos) << row.name;
    EXPECT_EQ(text.find(name, at + 1), text.npos) << row.name;
  }
}

TEST(CheckText, TheSelectionNeverChangesTheVerdict) {
  ImageBytes bytes;
  bytes.put<std::uint64_t>(4 * 4096 + 8, 5 * 4096);
  const std::string whole = check_text(bytes);
  for (const Selection& selection :
       {Selection{.refcounts = false}, Selection{.mapping = false}, Selection{.active = false},
        Selection{.inactive = false}, Selection{.active = false, .only_snapshot = 0}}) {
    const std::string part = check_text(bytes, true, selection);
    EXPECT_LT(part.size(), whole.size());
    EXPECT_EQ(part.substr(part.find("\nSummary:")), whole.substr(whole.find("\nSummary:")));
  }
  EXPECT_THAT(check_text(bytes, true, {.refcounts = false}), Not(HasSubstr("[refcount.leak]")));
  EXPECT_THAT(check_text(bytes, true, {.mapping = false}), Not(HasSubstr("[cluster.reuse]")));
}

TEST(CheckText, FitsTheTerminal) {
  ImageBytes bytes;
  bytes.put<std::uint64_t>(3 * 4096, 0xfff000).put<std::uint64_t>(40, 77);
  for (const bool ruined : {false, true}) {
    if (ruined) bytes.put<std::uint32_t>(20, 99);
    std::istringstream text(check_text(bytes, false));
    std::string line;
    while (std::getline(text, line)) {
      const bool one_line_a_problem = line.starts_with("ERROR") || line.starts_with("LEAK");
      EXPECT_TRUE(one_line_a_problem || line.size() <= 80) << line;
      EXPECT_FALSE(line.ends_with(' ')) << line;
    }
  }
}

// Names come from the image: none may do anything to the terminal, wherever it is printed.
TEST(AllText, NamesCannotDriveTheTerminal) {
  for (const int ruined : {0, 1, 2}) {
    ImageBytes bytes("\x1b[2J\x07\xff\n");
    if (ruined == 1) bytes.put<std::uint64_t>(7 * 4096, 0x8001);  // the sentence about it holds its name
    // The advice to go back to it does.
    if (ruined == 2) bytes.put<std::uint64_t>(3 * 4096, 0x7000'0000).put<std::uint16_t>(2 * 4096 + 8, 1);
    const session::Outcome outcome = checked(open_image(bytes.bytes(), "a\x1b]0;x\x07.qcow2"));
    for (const std::string& text : {written([&](Output& out) { print_check(out, outcome, {.problems = true}); }),
                                    written([&](Output& out) { print_info(out, outcome); }),
                                    written([&](Output& out) { print_header(out, &*outcome.image); })}) {
      EXPECT_THAT(text, Not(HasSubstr("\x1b")));
      EXPECT_THAT(text, Not(HasSubstr("\x07")));
      EXPECT_THAT(text, HasSubstr("\\x1b"));
    }
  }
}

// A name may have 65535 bytes, and stands in every sentence about its snapshot.
TEST(AllText, LongNamesStayShort) {
  ImageBytes bytes(std::string(4000, 'n'));
  bytes.put<std::uint64_t>(8 * 4096, 0x4000'0000'0000);
  const std::string text = check_text(bytes);
  EXPECT_THAT(text, HasSubstr("[l1.past-end]"));
  EXPECT_THAT(text, Not(HasSubstr(std::string(130, 'n'))));
  EXPECT_THAT(text, HasSubstr(std::string(100, 'n') + "n"));
}

TEST(AllText, AnyHeaderIsPrinted) {
  for (const std::string& bytes :
       {std::string(), std::string("QFI\xfb"), std::string(30, '\xff'), std::string(100, '\0'),
        std::string(512, '\xff'), ImageBytes().bytes().substr(0, 100),
        ImageBytes().put<std::uint32_t>(96, 200).bytes()}) {
    const session::Outcome outcome = checked(open_image(bytes));
    EXPECT_THAT(written([&](Output& out) { print_check(out, outcome, {.problems = true}); }), HasSubstr("CORRUPT: "));
    EXPECT_THAT(written([&](Output& out) { print_info(out, outcome); }), HasSubstr("check:"));
    EXPECT_THAT(written([&](Output& out) { print_header(out, &*outcome.image); }), HasSubstr("snapshots_offset"));
  }
}

TEST(HeaderText, ShowsValuesRawAndDecoded) {
  const image::Image image = open_image(ImageBytes().put<std::uint64_t>(72, 0x21).bytes());
  const std::string text = written([&](Output& out) { print_header(out, &image); });
  EXPECT_THAT(text, HasSubstr("\n    20     4  cluster_bits             0x0000000c          12 (4.00K)\n"));
  EXPECT_THAT(text, HasSubstr("\n    72     8  incompatible_features    0x0000000000000021  dirty bit, bit 5\n"));
  EXPECT_THAT(text, HasSubstr("\n   104     1  compression_type         (header_length ends before)\n"));
  const image::Image ruined = open_image(std::string(512, '\xff'));
  EXPECT_THAT(written([&](Output& out) { print_header(out, &ruined); }),
              HasSubstr("\n    80     8  compatible_features      0xffffffffffffffff\n"
                        "                lazy refcounts, bit 1, bit 2, bit 3, bit 4 and 59 more\n"));
  EXPECT_THAT(written([&](Output& out) { print_header(out, nullptr); }), HasSubstr("\n    20     4  cluster_bits\n"));
}

}  // namespace
}  // namespace qd::render
