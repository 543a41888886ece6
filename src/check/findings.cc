#include "check/findings.h"

#include <fmt/args.h>
#include <fmt/core.h>

#include <algorithm>
#include <numeric>

namespace qd::check {
namespace {

// Is `next` the same problem, one step behind the places that `range` already covers?
bool continues(const Finding& range, const Finding& next) {
  if (range.code != next.code || range.state != next.state || range.expected != next.expected) return false;
  if (range.index || next.index) {
    return range.index && next.index && *next.index == *range.index + range.count && range.found == next.found;
  }
  if (range.l1_index != next.l1_index && (range.l2_index || next.l2_index)) return false;
  if (range.l2_index && next.l2_index) return *next.l2_index == *range.l2_index + range.count;
  if (range.l2_index || next.l2_index) return false;
  return range.l1_index && next.l1_index && *next.l1_index == *range.l1_index + range.count;
}

}  // namespace

void Findings::add(Finding finding) {
  counts_[static_cast<std::size_t>(finding.code)] += finding.count;
  if (!list_.empty() && continues(list_.back(), finding)) {
    list_.back().count += finding.count;
  } else if (list_.size() < room_) {
    list_.push_back(std::move(finding));
  } else {
    unlisted_ += finding.count;
  }
}

bool Findings::extend(Code code, std::int32_t state, std::uint64_t index, std::uint64_t found, std::uint64_t expected) {
  if (list_.empty()) return false;
  Finding& last = list_.back();
  if (last.code != code || last.state != state || last.found != found || last.expected != expected || !last.index ||
      *last.index + last.count != index) {
    return false;
  }
  ++last.count;
  ++counts_[static_cast<std::size_t>(code)];
  return true;
}

void Findings::append(Findings&& other) {
  std::array<std::uint64_t, code_count> kept{};
  for (Finding& finding : other.list_) {
    kept[static_cast<std::size_t>(finding.code)] += finding.count;
    add(std::move(finding));
  }
  for (std::size_t code = 0; code < code_count; ++code) counts_[code] += other.counts_[code] - kept[code];
  unlisted_ += other.unlisted_;
}

std::uint64_t Findings::total() const { return std::accumulate(counts_.begin(), counts_.end(), std::uint64_t{0}); }

Status Findings::status() const {
  Status worst = Status::good;
  for (const Problem& row : problems()) {
    if (count(row.code) > 0) worst = std::max(worst, row.status);
  }
  return worst;
}

namespace {

std::string whose(const Finding& f, const std::vector<std::string>& snapshots) {
  if (f.state < 0) return {};
  const auto number = static_cast<std::size_t>(f.state);
  return fmt::format(" of snapshot {}", number < snapshots.size() ? snapshots[number] : std::to_string(number));
}

std::string where(const Finding& f, const std::vector<std::string>& snapshots) {
  std::string place = f.l1_index ? fmt::format("L1 entry {}", *f.l1_index) : "";
  if (f.l2_index) place += fmt::format(", L2 entry {}", *f.l2_index);
  return place + whose(f, snapshots);
}

std::string range_suffix(const Finding& f, std::uint64_t cluster_size) {
  if (f.count < 2) return {};
  if (f.index && f.host && problem(f.code).name.starts_with("refcount.")) {
    return fmt::format("; the same for {} clusters in a row, up to 0x{:x}", f.count,
                       f.host->value + f.count * cluster_size);
  }
  return fmt::format("; {} in a row", f.count);
}

}  // namespace

std::string sentence(const Finding& f, const std::vector<std::string>& snapshots, std::uint64_t cluster_size) {
  const auto hex = [](std::optional<std::uint64_t> v) { return fmt::format("0x{:x}", v.value_or(0)); };
  fmt::dynamic_format_arg_store<fmt::format_context> args;
  args.push_back(fmt::arg("where", where(f, snapshots)));
  args.push_back(fmt::arg("host", hex(f.host ? std::optional(f.host->value) : std::nullopt)));
  args.push_back(fmt::arg("guest", hex(f.guest ? std::optional(f.guest->value) : std::nullopt)));
  args.push_back(fmt::arg("found", hex(f.found)));
  args.push_back(fmt::arg("expected", hex(f.expected)));
  args.push_back(fmt::arg("found_n", f.found.value_or(0)));
  args.push_back(fmt::arg("expected_n", f.expected.value_or(0)));
  args.push_back(fmt::arg("index", f.index.value_or(0)));
  args.push_back(fmt::arg("detail", f.detail));
  const std::string_view pattern = problem(f.code).sentence;
  return fmt::vformat(fmt::string_view(pattern.data(), pattern.size()), args) + range_suffix(f, cluster_size);
}

}  // namespace qd::check
