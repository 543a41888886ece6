#include "advice/evidence.h"

namespace qd::advice {

const Orphans& Clues::orphans() {
  if (!orphans_) orphans_ = find_orphans(image, result);
  return *orphans_;
}

// First what gives the rest its meaning, and then one thing at a time: the next check knows more.
std::optional<Evidence> find_evidence(const image::Image& image, const check::Result& result) {
  if (image.header_cut_off()) return std::nullopt;
  Clues clues(image, result);
  if (!image.geometry || !result.claims) {
    auto found = header_evidence(clues);
    return clues.trial.exhausted() ? std::nullopt : found;
  }
  for (const auto finder : {header_evidence, snapshot_evidence, l1_evidence, l2_evidence}) {
    auto found = finder(clues);
    if (clues.trial.exhausted()) break;
    if (found) return found;
  }
  return std::nullopt;
}

}  // namespace qd::advice
