#include "check/findings.h"

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

std::uint64_t Findings::count(Doubt doubt) const {
  std::uint64_t sum = 0;
  for (const Problem& row : problems()) sum += has(row.doubts, doubt) ? count(row.code) : 0;
  return sum;
}

std::uint64_t Findings::errors(Subject subject) const {
  std::uint64_t sum = 0;
  for (const Problem& row : problems()) {
    if (row.severity == Severity::error && row.subject == subject) sum += count(row.code);
  }
  return sum;
}

bool Findings::any(Hidden hidden) const {
  return std::ranges::any_of(problems(),
                             [&](const Problem& row) { return row.hides == hidden && count(row.code) > 0; });
}

std::optional<Code> Findings::first(Doubt doubt) const {
  const auto rows = problems();
  const auto found =
      std::ranges::find_if(rows, [&](const Problem& row) { return has(row.doubts, doubt) && count(row.code) > 0; });
  return found == rows.end() ? std::nullopt : std::optional(found->code);
}

Status Findings::status() const {
  Status worst = Status::good;
  for (const Problem& row : problems()) {
    if (count(row.code) > 0) worst = std::max(worst, row.status);
  }
  return worst;
}

}  // namespace qd::check
