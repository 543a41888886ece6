#include <fmt/core.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <cerrno>

#include "cli/options.h"

namespace qd::cli {
namespace {

Result<Options> parsed(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "qcow2-dump");
  return parse(static_cast<int>(arguments.size()), arguments.data());
}

int error_of(std::vector<const char*> arguments) {
  const auto options = parsed(std::move(arguments));
  return options ? 0 : options.error().number;
}

TEST(Options, HaveDefaults) {
  const auto options = parsed({"a.qcow2"});
  ASSERT_TRUE(options);
  EXPECT_EQ(options->images, std::vector<std::string>{"a.qcow2"});
  EXPECT_EQ(options->mode, "check");
  EXPECT_EQ(options->output, "all");
  EXPECT_EQ(options->snapshot, "all");
  EXPECT_FALSE(options->request.changes());
  EXPECT_EQ(options->progress, "auto");
  EXPECT_FALSE(options->color.has_value());
  EXPECT_FALSE(options->jobs.has_value());
  EXPECT_FALSE(options->request.hints.cluster_bits.has_value());
}

TEST(Options, ShortOnesCanBeJoined) {
  const auto options = parsed({"-fbclNK", "-mdump", "-o", "refcount", "-ssnapshot[3]", "-j2", "a", "b"});
  ASSERT_TRUE(options);
  EXPECT_TRUE(options->flags && options->request.alone && options->request.decompress && options->request.lock);
  EXPECT_TRUE(options->request.direct && options->kernel_log);
  EXPECT_EQ(options->mode, "dump");
  EXPECT_EQ(options->output, "refcount");
  EXPECT_EQ(options->snapshot, "snapshot[3]");
  EXPECT_EQ(options->jobs, 2u);
  EXPECT_EQ(options->images, (std::vector<std::string>{"a", "b"}));
}

TEST(Options, OrderDoesNotMatterAndTheLastCounts) {
  const auto options = parsed({"a", "--mode=info", "b", "--mode", "error", "--json"});
  ASSERT_TRUE(options);
  EXPECT_EQ(options->mode, "error");
  EXPECT_TRUE(options->json);
  EXPECT_EQ(options->images, (std::vector<std::string>{"a", "b"}));
}

TEST(Options, AnImageMayBeCalledLikeAnOption) {
  const auto options = parsed({"--", "-f"});
  ASSERT_TRUE(options);
  EXPECT_EQ(options->images, std::vector<std::string>{"-f"});
}

TEST(Options, ColorIsAsAsked) {
  EXPECT_EQ(parsed({"-d", "color", "a"})->color, true);
  EXPECT_EQ(parsed({"-d", "off", "a"})->color, false);
  EXPECT_EQ(parsed({"-d", "none", "a"})->color, false);
}

TEST(Options, ClusterSizeIsAPowerOfTwo) {
  EXPECT_EQ(parsed({"--cluster-size", "64K", "a"})->request.hints.cluster_bits, 16u);
  EXPECT_EQ(parsed({"--cluster-size", "512", "a"})->request.hints.cluster_bits, 9u);
  EXPECT_EQ(parsed({"--cluster-size", "2M", "a"})->request.hints.cluster_bits, 21u);
  for (const char* wrong : {"0", "256", "4M", "65537", "-1", "x", "", "99999999999999999999G"}) {
    EXPECT_EQ(error_of({"--cluster-size", wrong, "a"}), EINVAL) << wrong;
  }
}

TEST(Options, BadUsageIsRefused) {
  EXPECT_EQ(error_of({}), EINVAL);
  EXPECT_EQ(error_of({"--json", "-H"}), EINVAL);
  EXPECT_EQ(error_of({"--nonsense", "a"}), EINVAL);
  EXPECT_EQ(error_of({"a", "-m"}), EINVAL);
  for (const char* option : {"-m", "-o", "-R", "-d", "-M", "-C", "--progress", "-j", "--mode", "--jobs"}) {
    EXPECT_EQ(error_of({option, "nonsense", "a"}), EINVAL) << option;
  }
  for (const char* jobs : {"0", "-1", "1.5", "", "2x", "99999999999999999999"}) {
    EXPECT_EQ(error_of({"-j", jobs, "a"}), EINVAL) << jobs;
  }
  for (const char* operand :
       {"-F", "-O", "-S", "-V", "-w", "-L", "--file", "--offset", "--src", "--value", "--width", "--length"}) {
    EXPECT_EQ(error_of({operand, "8", "a"}), EINVAL) << operand;
  }
}

TEST(Options, WhatWritesWantsItsOwn) {
  const Result<Options> undo = parsed({"-m", "undo", "-F", "log", "a"});
  EXPECT_EQ(std::get<session::TakeBack>(undo->request.task).log, "log");
  const Result<Options> repair = parsed({"-R", "all", "--dry-run", "--force", "--undo-log", "log", "a"});
  EXPECT_TRUE(repair->request.dry_run && repair->request.force);
  EXPECT_EQ(repair->request.undo_log, "log");
  const std::vector<std::vector<const char*>> senseless{{"-m", "undo", "a"},
                                                        {"-m", "undo", "-F", "log", "a", "b"},
                                                        {"-m", "undo", "-F", "l", "-R", "all", "a"},
                                                        {"--dry-run", "a"},
                                                        {"--force", "a"},
                                                        {"--no-undo", "a"},
                                                        {"--undo-log", "l", "a"},
                                                        {"-R", "all", "-F", "l", "a"},
                                                        {"-R", "all", "-H", "a"},
                                                        {"-R", "all", "--undo-log", "l", "a", "b"},
                                                        {"-R", "all", "--undo-log", "l", "--no-undo", "a"}};
  for (const std::vector<const char*>& arguments : senseless) {
    EXPECT_EQ(error_of(arguments), EINVAL) << arguments.front() << " " << arguments[1];
  }
}

TEST(Options, EditsAreCommands) {
  using Arguments = std::vector<const char*>;
  const auto command = [](const Arguments& arguments) {
    return std::get<edit::Command>(parsed(arguments)->request.task);
  };
  const auto apply = std::get<edit::Apply>(command({"-A", "1", "--keep-as", "old", "a"}));
  EXPECT_EQ(apply.snapshot, "1");
  EXPECT_EQ(apply.keep_as, "old");
  EXPECT_FALSE(std::get<edit::Apply>(command({"-A", "1", "a", "b"})).keep_as);
  EXPECT_FALSE(std::get<edit::Remove>(command({"-D", "all", "a"})).all_but);
  EXPECT_TRUE(std::get<edit::Remove>(command({"-E", "0", "a"})).all_but);
  EXPECT_TRUE(std::get<edit::Mark>(command({"-M", "corrupt", "a"})).set);
  EXPECT_EQ(std::get<edit::Mark>(command({"-C", "dirty", "a"})).bit, 1u);
  const auto set = std::get<edit::SetValue>(command({"-m", "edit", "-O", "0x10", "-V", "~0", "-w", "4", "a"}));
  EXPECT_EQ(set.place, "0x10");
  EXPECT_EQ(set.value, "~0");
  EXPECT_EQ(set.width, 4u);
  EXPECT_FALSE(std::get<edit::SetValue>(command({"-m", "edit", "-O", "l2[0,1]", "-V", "1", "a"})).width);
  const auto copy = std::get<edit::CopyBytes>(command({"-m", "copy", "-O", "1", "-S", "2", "-L", "64k", "a"}));
  EXPECT_EQ(copy.bytes, 65536u);
  EXPECT_EQ(copy.file, "");
  const auto rebase = std::get<edit::Rebase>(command({"-m", "rebase", "-F", "", "-b", "a"}));
  EXPECT_EQ(rebase.name, "");
  EXPECT_TRUE(rebase.unchecked);
  EXPECT_FALSE(parsed({"a"})->request.changes());

  const std::vector<Arguments> senseless{{"-m", "edit", "a"},
                                         {"-m", "edit", "-O", "0", "a"},
                                         {"-m", "edit", "-O", "0", "-V", "1", "-w", "3", "a"},
                                         {"-m", "edit", "-O", "0", "-V", "1", "-w", "16", "a"},
                                         {"-m", "edit", "-O", "0", "-V", "1", "-F", "f", "a"},
                                         {"-m", "edit", "-O", "0", "-V", "1", "a", "b"},
                                         {"-m", "copy", "-O", "0", "-S", "1", "a"},
                                         {"-m", "copy", "-O", "0", "-S", "1", "-w", "0", "a"},
                                         {"-m", "copy", "-O", "0", "-w", "1", "a"},
                                         {"-m", "rebase", "a"},
                                         {"-m", "rebase", "-F", "b", "-O", "0", "a"},
                                         {"-A", "1", "-D", "2", "a"},
                                         {"-A", "1", "-R", "all", "a"},
                                         {"-M", "corrupt", "-C", "dirty", "a"},
                                         {"-M", "other", "a"},
                                         {"-A", "1", "-m", "undo", "-F", "l", "a"},
                                         {"-A", "1", "-H", "a"},
                                         {"--keep-as", "n", "a"},
                                         {"-D", "all"},
                                         {"-O", "0", "a"},
                                         {"-V", "0", "a"}};
  for (const Arguments& arguments : senseless) {
    EXPECT_EQ(error_of(arguments), EINVAL) << fmt::format("{}", fmt::join(arguments, " "));
  }
}

TEST(Options, HelpAndVersionNeedNoImage) {
  EXPECT_TRUE(parsed({"-h"})->help);
  EXPECT_TRUE(parsed({"--version"})->version);
  EXPECT_TRUE(parsed({"-h", "-R", "leak"})->help);
  EXPECT_TRUE(parsed({"-H"})->header);
  EXPECT_EQ(parsed({"--explain", "list"})->explain, "list");
}

}  // namespace
}  // namespace qd::cli
