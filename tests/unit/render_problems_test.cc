#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "render/render.h"

namespace qd::render {
namespace {

TEST(ProblemsDocument, IsUpToDate) {
  const std::string path = QCOW2DUMP_SOURCE_DIR "/docs/problems.md", now = problems_document();
  if (std::getenv("QCOW2DUMP_UPDATE")) std::ofstream(path, std::ios::binary) << now;
  std::ifstream file(path, std::ios::binary);
  std::ostringstream written;
  written << file.rdbuf();
  EXPECT_TRUE(written.str() == now)
      << path << " is stale. QCOW2DUMP_UPDATE=1 unit-tests --gtest_filter='ProblemsDocument.*' writes it anew.";
}

TEST(ProblemsDocument, TellsOfEveryProblemOnce) {
  const std::string text = problems_document();
  for (const check::Problem& row : check::problems()) {
    const std::string heading = "\n### " + std::string(row.name) + "\n";
    const std::size_t at = text.find(heading);
    ASSERT_NE(at, text.npos) << row.name;
    EXPECT_EQ(text.find(heading, at + 1), text.npos) << row.name;
    EXPECT_THAT(text, testing::HasSubstr(std::string(row.advice))) << row.name;
  }
}

TEST(Explain, HasNoHolesAndFitsTheTerminal) {
  for (const check::Problem& row : check::problems()) {
    const std::string text = explain(row);
    EXPECT_THAT(text, testing::StartsWith(std::string(row.name) + "\n"));
    EXPECT_EQ(text.find_first_of("{}"), text.npos) << text;
    std::istringstream lines(text);
    std::string line;
    while (std::getline(lines, line)) EXPECT_LE(line.size(), 80u) << line;
  }
}

}  // namespace
}  // namespace qd::render
