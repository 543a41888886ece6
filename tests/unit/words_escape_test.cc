#include <gtest/gtest.h>

#include <cstdio>
#include <string>

#include "words/escape.h"

namespace qd {
namespace {

TEST(Escape, LeavesTextAlone) {
  EXPECT_EQ(escape("daily backup, 50% (\"ok\") \\ é 数据 🖴"), "daily backup, 50% (\"ok\") \\ é 数据 🖴");
  EXPECT_EQ(escape(""), "");
}

TEST(Escape, NothingReachesTheTerminalThatMovesItsCursor) {
  EXPECT_EQ(escape("\x1b[2J\r\n\t\x7f"), "\\x1b[2J\\x0d\\x0a\\x09\\x7f");
  EXPECT_EQ(escape(std::string("a\0b", 3)), "a\\x00b");
  EXPECT_EQ(escape("\xc2\x9b[31m"), "\\xc2\\x9b[31m");  // CSI as one character
  EXPECT_EQ(escape("a\xe2\x80\xae"
                   "b"),
            "a\\xe2\\x80\\xaeb");  // right-to-left override
  EXPECT_EQ(escape("a\xe2\x80\x8b"
                   "b"),
            "a\\xe2\\x80\\x8bb");                                 // zero width space
  EXPECT_EQ(escape("\xf3\xa0\x81\x81"), "\\xf3\\xa0\\x81\\x81");  // tag character
}

TEST(Escape, BytesThatAreNoUtf8) {
  EXPECT_EQ(escape("\xff\xfe"), "\\xff\\xfe");
  EXPECT_EQ(escape("\xc0\xaf"), "\\xc0\\xaf");                    // overlong
  EXPECT_EQ(escape("\xe0\x80\xaf"), "\\xe0\\x80\\xaf");           // overlong
  EXPECT_EQ(escape("\xed\xa0\x80"), "\\xed\\xa0\\x80");           // a surrogate
  EXPECT_EQ(escape("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");  // beyond U+10FFFF
  EXPECT_EQ(escape("\xe6\x95"), "\\xe6\\x95");                    // cut off
  EXPECT_EQ(escape("\xe6"
                   "a"),
            "\\xe6"
            "a");
}

TEST(Escape, CutsBetweenCharacters) {
  EXPECT_EQ(escape("abcdef", 6), "abcdef");
  EXPECT_EQ(escape("abcdefg", 6), "abcdef...");
  EXPECT_EQ(escape("abcd数据", 6), "abcd...");
  EXPECT_EQ(escape("ab\x1b"
                   "c",
                   6),
            "ab\\x1b...");
  EXPECT_EQ(escape("abc\x1b", 6), "abc...");
  EXPECT_EQ(escape(std::string(100, '\0'), 8), "\\x00\\x00...");
}

TEST(ValidUtf8, ReplacesOnlyWhatIsBroken) {
  EXPECT_EQ(json_string("数\xff\x1b"), "\"数\xef\xbf\xbd\\u001b\"");
  EXPECT_EQ(json_string("\xed\xa0\x80"), "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
  EXPECT_EQ(json_string("a\n\"\\/\u007f\u009b\u202e\U000e0001ü"), R"("a\n\"\\/\u007f\u009b\u202e\udb40\udc01ü")");
}

TEST(ShellQuote, OnlyWhereNeeded) {
  EXPECT_EQ(shell_quote("/var/lib/a-1.qcow2"), "/var/lib/a-1.qcow2");
  EXPECT_EQ(shell_quote("-a.qcow2"), "./-a.qcow2");
  EXPECT_EQ(shell_quote("my disk.qcow2"), "'my disk.qcow2'");
  EXPECT_EQ(shell_quote("~root"), "'~root'");
  EXPECT_EQ(shell_quote(""), "''");
}

TEST(ShellQuote, TheShellGetsTheSameName) {
  for (const std::string name : {"a b", "it's", "$(reboot)", "`reboot`", "a;b|c&d", "a\"b", "*?[x]", "new\nline",
                                 "\x1b[2J", "\xff\xfe'\\", "-rf", "!x", "tab\t'$HOME'\\", "数据",
                                 "\x01"
                                 "1"}) {
    FILE* pipe = popen(("bash -c " + shell_quote("printf %s " + shell_quote(name))).c_str(), "r");
    ASSERT_NE(pipe, nullptr);
    std::string got;
    for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe)) got += static_cast<char>(c);
    EXPECT_EQ(pclose(pipe), 0);
    EXPECT_EQ(got, name.starts_with('-') ? "./" + name : name);
  }
}

}  // namespace
}  // namespace qd
