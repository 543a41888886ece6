// The problem table for readers: --explain, and docs/problems.md.
#include "render/text/text.h"
#include "words/names.h"

namespace qd::render {
namespace {

using check::Counted;
using check::Problem;
using check::Repair;
using check::Status;

std::string_view status_text(Status status) {
  switch (status) {
    case Status::good:
      return "good (warnings may be printed)";
    case Status::leak:
      return "leaked clusters only";
    case Status::copied:
      return "COPIED flags disagree with refcounts, nothing worse";
    case Status::corrupt_flag:
      return "metadata good, header says corrupt";
    case Status::refcount:
      return "refcounts too low, or a cluster used twice";
    case Status::snapshot:
      return "snapshot table or bitmap directory damaged";
    case Status::corrupt:
      return "header, L1, L2, refcount table or compressed data damaged";
  }
  return {};
}

std::string_view repair_text(Repair repair) {
  switch (repair) {
    case Repair::none:
      return "nothing can, or nothing need";
    case Repair::user:
      return "a person decides: a file to bring back, an option to give, an entry to edit";
    case Repair::leak:
      return "-R leak frees the space";
    case Repair::error:
      return "-R error sets it right";
    case Repair::reuse:
      return "-R reuse gives each user a cluster of its own";
    case Repair::edit:
      return "-m edit, where the rest of the file tells the value that was lost: the verdict has the command";
  }
  return {};
}

std::string_view counted_text(Counted counted) {
  switch (counted) {
    case Counted::nowhere:
      return "not counted";
    case Counted::corruption:
      return "counted as a corruption";
    case Counted::leak:
      return "counted as a leak";
  }
  return {};
}

// The row's pattern with its arguments as <words>: {found} and {found_n} are the same value, in hex and in decimal.
std::string sentence_text(std::string_view pattern) {
  std::string text;
  while (!pattern.empty()) {
    const std::size_t open = pattern.find('{');
    text += pattern.substr(0, open);
    if (open == pattern.npos) break;
    const std::size_t close = pattern.find('}', open);
    std::string_view name = pattern.substr(open + 1, close - open - 1);
    if (name.ends_with("_n")) name.remove_suffix(2);
    text += fmt::format("<{}>", name);
    pattern.remove_prefix(close + 1);
  }
  return text;
}

// The anchor that hosting sites make of a heading.
std::string anchor(std::string_view heading) {
  std::string text(heading);
  std::erase(text, '.');
  return text;
}

std::string introduction() {
  std::string text =
      "# Problems\n\n"
      "<!-- Made from src/check/problems.cc; a unit test fails when this file is stale, and says how to make it anew. "
      "-->\n\n"
      "Every problem that `qcow2-dump` reports has a code, which never changes. `qcow2-dump --explain CODE` prints "
      "what\n"
      "stands here about one of them; `qcow2-dump -m error IMAGE` prints each problem with its place, `--json` the "
      "same\n"
      "for programs. In the sentences below, words in angle brackets stand for what was found.\n\n"
      "## Exit codes\n\nThe exit code is that of the worst problem found.\n\n| code | status | state of the image |\n"
      "|---|---|---|\n";
  for (int code = 0; code <= static_cast<int>(Status::corrupt); ++code) {
    const auto status = static_cast<Status>(code);
    text += fmt::format("| {} | {} | {} |\n", code, check::status_name(status), status_text(status));
  }
  text += "\n## Repairs\n\n| repair | what mends it |\n|---|---|\n";
  for (int number = 0; number <= static_cast<int>(Repair::edit); ++number) {
    const auto repair = static_cast<Repair>(number);
    text += fmt::format("| {} | {} |\n", check::repair_name(repair), repair_text(repair));
  }
  return text;
}

std::string table_of_contents() {
  std::string text = "\n## All problems\n\n";
  for (const Problem& row : check::problems()) {
    text += fmt::format("- [{}](#{})\n", row.name, anchor(row.name));
  }
  return text;
}

std::string section(const Problem& row) {
  std::string text = fmt::format("\n### {}\n\n> `{}`\n\n", row.name, sentence_text(row.sentence));
  text += fmt::format("- severity: {}\n- exit code: {} ({})\n- `qemu-img check`: {}\n- repair: {} ({})\n\n",
                      severity_name(row.severity), static_cast<int>(row.status), check::status_name(row.status),
                      counted_text(row.counted), check::repair_name(row.repair), repair_text(row.repair));
  return text + std::string(row.advice) + "\n";
}

}  // namespace

std::string explain(const Problem& problem) {
  std::string text = fmt::format("{}\n\n", problem.name) + wrap(sentence_text(problem.sentence), "    ") + "\n";
  const auto line = [&](std::string_view name, std::string_view value) {
    text += wrap(value, fmt::format("{:<12}", std::string(name) + ":"));
  };
  line("Severity", severity_name(problem.severity));
  line("Exit code", fmt::format("{}: {}", static_cast<int>(problem.status), status_text(problem.status)));
  line("qemu-img", counted_text(problem.counted));
  line("Repair", fmt::format("{}: {}", check::repair_name(problem.repair), repair_text(problem.repair)));
  return text + "\n" + wrap(problem.advice);
}

std::string explained_list() {
  std::string text;
  for (const Problem& row : check::problems())
    text += fmt::format("{:<27} {}\n", row.name, sentence_text(row.sentence));
  return text + "\n" + words_list();
}

std::string problems_document() {
  std::string text = introduction() + table_of_contents();
  for (const Problem& row : check::problems()) text += section(row);
  return text;
}

}  // namespace qd::render
