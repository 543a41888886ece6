#include "advice/evidence.h"

#include <algorithm>

#include "check/claims.h"

namespace qd::advice {

const Orphans& Clues::orphans() {
  if (!orphans_) orphans_ = find_orphans(image, result);
  return *orphans_;
}

namespace {

// If the snapshot table that the header names isn't one, it claims clusters of others, and right entries look wrong.
bool claims_by_mistake(const check::Report& result) {
  return result.findings.any(check::Doubt::snapshot_table) &&
         std::ranges::any_of(result.owners, [&](const check::Owner& o) {
           return o.kind == check::OwnerKind::snapshot_table && result.claims->conflict.test(o.cluster.value);
         });
}

}  // namespace

bool counts_tell(const check::Report& result) {
  using enum check::Code;
  const auto& findings = result.findings;
  if (findings.count(header_dirty) > 0 || findings.any(check::Doubt::refcounts)) return false;
  std::uint64_t explained = 0;
  for (const check::Finding& f : findings.list()) {
    if (f.code != refcount_low || !f.index) continue;
    const std::uint64_t end = std::min(*f.index + f.count, result.claims->clusters());
    for (std::uint64_t c = *f.index; c < end; ++c) explained += result.claims->conflict.test(c);
  }
  return explained >= findings.count(refcount_low);
}

// Values that give the rest its meaning come first. One value at a time: the next check knows more.
std::optional<Evidence> find_evidence(const image::Image& image, const check::Report& result) {
  if (image.header_cut_off()) return std::nullopt;
  Clues clues(image, result);
  if (!image.geometry || !result.claims) {
    auto found = header_evidence(clues);
    return clues.trial.exhausted() ? std::nullopt : found;
  }
  // What a lost L1 table leaves behind looks like what lost entries leave behind.
  const bool mistaken = claims_by_mistake(result) || result.findings.count(check::Code::header_l1_offset) > 0;
  for (const auto finder : {header_evidence, snapshot_evidence, l1_evidence, l2_evidence}) {
    if (mistaken && (finder == l1_evidence || finder == l2_evidence)) break;
    auto found = finder(clues);
    if (clues.trial.exhausted()) break;
    if (found) return found;
  }
  return std::nullopt;
}

}  // namespace qd::advice
