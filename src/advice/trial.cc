#include "advice/trial.h"

#include <algorithm>
#include <utility>

#include "base/checked.h"
#include "check/check.h"
#include "check/leaks.h"
#include "image/refcounts.h"

namespace qd::advice {

using check::Code;
using check::Severity;

Change header_field(const format::HeaderField& field, std::uint64_t value) { return {field.at(), field.bytes, value}; }

std::uint64_t work(const check::Report& result) {
  constexpr std::uint64_t start = 1 << 16, a_finding = 8;
  const auto entries = [](const check::TableCounts& c) { return c.unaligned + c.invalid + c.unused + c.used; };
  std::uint64_t sum = start + entries(result.refcount_table) + result.refcounts.unused + result.refcounts.used;
  for (const check::StateReport& r : result.reports) {
    sum += entries(r.l1) + entries(r.l2) + r.zero_allocated + r.zero_plain + r.compressed;
  }
  sum += a_finding * result.findings.list().size();
  return sum;
}

namespace {

// Clusters of the L1 tables of all states. Tables longer than the format allows aren't walked, and count as none.
std::uint64_t l1_clusters(const image::Image& image) {
  const auto bytes_of = [](std::uint64_t l1_size) {
    return l1_size > format::max_l1_entries ? 0 : l1_size * sizeof(std::uint64_t);
  };
  std::uint64_t bytes = bytes_of(image.header.l1_size);
  for (const format::Snapshot& s : image.snapshots.entries) bytes += bytes_of(s.l1_size);
  return image.geometry->clusters(bytes);
}

// If the cluster size itself is tried, the user's hint must not stand in for it: it would hide whether the value fits.
image::Hints hints_for(const image::Image& image, std::span<const Change> changes) {
  image::Hints hints = image.hints();
  const auto is_size = [](const Change& c) { return c.at == header_field(format::field::cluster_bits, 0).at; };
  if (std::ranges::any_of(changes, is_size)) hints.cluster_bits.reset();
  return hints;
}

}  // namespace

// Small images have work enough for every candidate; large ones are tried as often as a person would wait for.
Trial::Trial(const image::Image& image, const check::Report& now)
    : image_(image), now_(now), left_((1 << 22) + 8 * work(now)) {}

std::optional<Trial::Outcome> Trial::with(std::span<const Change> changes) {
  if (left_ == 0) {
    exhausted_ = true;
    return std::nullopt;
  }
  Outcome outcome;
  outcome.plan = std::make_unique<Transaction>(image_.file());
  const std::uint64_t end = round_up(image_.size(), image_.geometry ? image_.geometry->cluster_size() : 1);
  for (const Change& change : changes) {
    if (change.bytes > end || change.at.value > end - change.bytes) return std::nullopt;  // a table cut off, or nowhere
    std::vector<std::byte> bytes(change.bytes);
    std::uint64_t value = change.value;
    for (std::size_t i = bytes.size(); i-- > 0; value >>= 8) bytes[i] = static_cast<std::byte>(value);
    if (!outcome.plan->write(Stage::point, change.at.value, bytes)) return std::nullopt;
  }
  auto opened = image::Image::open(outcome.plan->view(), hints_for(image_, changes));
  if (!opened || !opened->geometry) return std::nullopt;
  constexpr std::uint64_t few = 1 << 22;
  constexpr std::size_t few_findings = 4096;  // all are counted, and only the counts are asked for
  const std::uint64_t now = image_.geometry ? l1_clusters(image_) : 0;
  if (l1_clusters(*opened) > std::max(few, now)) {  // with another cluster size there are many more
    exhausted_ = true;
    return std::nullopt;
  }
  outcome.image = std::make_unique<image::Image>(std::move(*opened));
  outcome.result = check::check(*outcome.image, {.backing_chain = false, .most_findings = few_findings});
  left_ -= std::min(left_, work(outcome.result));
  return outcome;
}

bool Trial::Outcome::abandons(HostOffset at) const {
  if (at.value == 0 || at.value >= image->size() || !result.disk_refcounts) return false;
  const ClusterIndex cluster = image->geometry->cluster(at);
  return result.disk_refcounts->get(cluster) > 0 && result.references(cluster) == 0;
}

namespace {

// Can a trial see this kind of error? It neither opens other files nor decompresses, so it never makes those errors go.
bool is_tried(const check::Problem& row) { return !is_other_file(row.subject) && row.code != Code::compressed_payload; }

}  // namespace

std::uint64_t errors(const check::Report& result) {
  std::uint64_t sum = 0;
  for (const check::Problem& row : check::problems()) {
    if (row.severity == Severity::error && is_tried(row)) sum += result.findings.count(row.code);
  }
  return sum;
}

bool Trial::better(const check::Report& then) const {
  const bool unread = check::snapshots_unread(now_);  // tables that nothing names may be theirs, and count as not lost
  for (const check::Problem& row : check::problems()) {
    if (row.code == Code::l2_lost && unread) continue;
    if (row.severity == Severity::error && then.findings.count(row.code) > now_.findings.count(row.code)) return false;
  }
  const std::uint64_t before = errors(now_), after = errors(then);
  const std::uint64_t leaked = now_.findings.count(Code::refcount_leak),
                      leaks = then.findings.count(Code::refcount_leak);
  return (after < before && leaks <= leaked) || (after == before && leaks < leaked);
}

bool Trial::sound(const check::Report& then, const check::Report& now) {
  for (const check::Problem& row : check::problems()) {
    if (row.severity != Severity::error || then.findings.count(row.code) == 0) continue;
    const bool known = row.subject == check::Subject::header && now.findings.count(row.code) > 0;
    if (!known && row.status > check::Status::corrupt_flag) return false;
  }
  if (then.leak_doubt.data_at_risk()) return false;
  // A header, a refcount table and a block are no proof; an L2 table is, with refcounts that fit.
  return !then.reports.empty() && then.reports[0].l1.used > 0 && then.refcounts.used > 3;
}

}  // namespace qd::advice
