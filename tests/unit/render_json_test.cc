#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "render/render.h"
#include "render_testing.h"

namespace qd::render {
namespace {

using nlohmann::json;

json document(const session::Outcome& outcome, const Selection& selection = {}, const std::string& mode = "check") {
  const std::string text = written([&](Output& out) { print_json(out, outcome, mode, {.selection = selection}); });
  EXPECT_EQ(text.find('\n'), text.size() - 1) << "one line an image";
  return json::parse(text);  // refuses what is not UTF-8
}

json document(const ImageBytes& bytes, const Selection& selection = {}, const std::string& mode = "check") {
  return document(checked(open_image(bytes.bytes())), selection, mode);
}

TEST(Json, AGoodImage) {
  const json j = document(ImageBytes());
  EXPECT_EQ(j["schema"], 2);
  EXPECT_EQ(j["tool"], "qcow2-dump " QCOW2DUMP_VERSION);
  EXPECT_EQ(j["image"], "a.qcow2");
  EXPECT_EQ(j["mode"], "check");
  EXPECT_EQ(j["status"], "good");
  EXPECT_EQ(j["exit-code"], 0);
  EXPECT_EQ(j["totals"]["image-end-offset"], 9 * 4096);
  EXPECT_EQ(j["totals"]["allocated-clusters"], 2);
  EXPECT_EQ(j["header"]["cluster-bits"], 12);
  EXPECT_EQ(j["snapshots"][0]["name"], "first");
  EXPECT_EQ(j["tables"]["refcount"]["used"], 9);
  EXPECT_EQ(j["states"].size(), 2u);
  EXPECT_EQ(j["states"][1]["state"], "snapshot[0]");
  EXPECT_EQ(j["problems"], json::array());
  EXPECT_EQ(j["advice"], json::array());
}

TEST(Json, AProblemHasTheKeysThatApply) {
  const json j = document(ImageBytes().put<std::uint64_t>(4 * 4096 + 8, 0x6200));
  EXPECT_EQ(j["status"], "corrupt");
  EXPECT_EQ(j["exit-code"], 6);
  const auto& problems = j["problems"];
  const auto found = std::ranges::find_if(problems, [](const json& p) { return p["code"] == "l2.unaligned"; });
  ASSERT_NE(found, problems.end());
  const json& p = *found;
  EXPECT_EQ(p["severity"], "error");
  EXPECT_EQ(p["repair"], "user");
  EXPECT_EQ(p["host-offset"], 0x6200);
  EXPECT_EQ(p["guest-offset"], 4096);
  EXPECT_EQ(p["l1-index"], 0);
  EXPECT_EQ(p["l2-index"], 1);
  EXPECT_EQ(p["found"], 0x6200);
  EXPECT_EQ(p["count"], 1);
  EXPECT_TRUE(p["text"].is_string());
  for (const char* key : {"index", "detail", "expected"}) EXPECT_FALSE(p.contains(key)) << key;
}

TEST(Json, AdviceHasACommand) {
  const json j = document(outcome(open_image(ImageBytes().bytes()), with({{check::Code::refcount_leak, 2}})));
  ASSERT_EQ(j["advice"].size(), 1u);
  EXPECT_EQ(j["advice"][0]["command"], "qcow2-dump -R leak a.qcow2");
  EXPECT_FALSE(j["advice"][0].contains("loses"));
}

TEST(Json, AnyBytesInNamesGiveAValidDocument) {
  const std::string evil = "\xff\xc0\x80\"\\\n\x1b\x01\xed\xa0\x80é";
  ImageBytes bytes(evil);
  bytes.put<std::uint64_t>(7 * 4096, 0x8001);
  const session::Outcome looked_at = checked(open_image(bytes.bytes(), "\xfe" + evil));
  for (const char* mode : {"check", "error", "info", "dump"}) {
    const json j = document(looked_at, {}, mode);
    EXPECT_EQ(j["snapshots"][0]["name"],
              "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"\\\n\x1b\x01\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdé");
    EXPECT_TRUE(j.contains("problems"));
  }
}

TEST(Json, TheSelectionChangesTheListOnly) {
  ImageBytes bytes;
  bytes.put<std::uint64_t>(4 * 4096 + 8, 5 * 4096);
  json whole = document(bytes), part = document(bytes, {.refcounts = false, .inactive = false});
  EXPECT_EQ(whole["problems"].size(), 3u);
  EXPECT_EQ(part["problems"].size(), 1u);
  EXPECT_EQ(part["states"].size(), 1u);
  for (const char* key : {"problems", "states"}) {
    whole.erase(key);
    part.erase(key);
  }
  EXPECT_EQ(whole, part);
}

TEST(Json, ALongListIsStreamed) {
  check::Report result;
  for (std::uint32_t i = 0; i < check::Findings::limit + 10; ++i) {
    check::Finding finding;
    finding.code = check::Code::l2_unaligned;
    finding.l1_index = i * 2;  // no two in a row
    finding.detail = "x";
    result.findings.add(std::move(finding));
  }
  const json j = document(outcome(open_image(ImageBytes().bytes()), std::move(result)));
  EXPECT_EQ(j["problems"].size(), check::Findings::limit);
  EXPECT_EQ(j["problems-unlisted"], 10);
}

TEST(Json, RuinedImages) {
  for (const std::string& bytes :
       {std::string(), std::string(50, '\xff'), std::string(512, '\xff'), std::string(4096, '\0')}) {
    const json j = document(checked(open_image(bytes)), {}, "info");
    EXPECT_EQ(j["exit-code"], 6);
    EXPECT_FALSE(j.contains("tables"));
  }
}

TEST(Json, WhatCannotBeOpened) {
  session::Outcome failed;
  failed.path = "no\xffne";
  failed.error = Error{ENOENT, "cannot open it: No such file or directory"};
  const json j = document(failed);
  EXPECT_EQ(j["schema"], 2);
  EXPECT_EQ(j["status"], "failed");
  EXPECT_EQ(j["exit-code"], 254);
  EXPECT_EQ(j["image"], "no\xef\xbf\xbdne");
  EXPECT_EQ(j["error"], "cannot open it: No such file or directory");
}

TEST(Json, ARefusedCommandLineNamesNoImage) {
  session::Outcome refused;
  refused.error = Error{EINVAL, "no image was named"};
  const json j = document(refused, {}, "none");
  EXPECT_EQ(j["mode"], "none");
  EXPECT_EQ(j["exit-code"], 234);
  EXPECT_FALSE(j.contains("image"));
}

TEST(Json, ValuesAreNumbersAndFieldsTogetherAreDigits) {
  session::Outcome repaired = checked(open_image(ImageBytes().bytes()));
  repair::Plan& plan = repaired.change.emplace().plan;
  plan.actions.push_back({{}, false, HostOffset{72}, 8, "a bit", "0004000000000000", "0"});
  plan.actions.push_back({{}, true, HostOffset{48}, 12, "a table", "000000000003000000000001", ""});
  plan.unlisted = 3;
  const json j = document(repaired, {}, "repair");
  const json& actions = j["repair"]["actions"];
  EXPECT_EQ(actions[0]["before"], 1ULL << 50);
  EXPECT_EQ(actions[0]["after"], 0);
  EXPECT_EQ(actions[1]["before-hex"], "000000000003000000000001");
  for (const char* key : {"before", "after", "after-hex"}) EXPECT_FALSE(actions[1].contains(key)) << key;
  EXPECT_EQ(j["repair"]["actions-unlisted"], 3);
}

}  // namespace
}  // namespace qd::render
