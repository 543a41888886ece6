#include "advice/evidence.h"

namespace qd::advice {

// First what gives the rest its meaning, and then one thing at a time: the next check knows more.
std::optional<Evidence> find_evidence(const image::Image& image, const check::Result& result) {
  Trial trial(image, result);
  if (image.header_cut_off()) return std::nullopt;
  if (!image.geometry || !result.claims) {
    auto found = header_evidence(image, result, trial);
    return trial.exhausted() ? std::nullopt : found;
  }
  for (const auto finder : {header_evidence, l1_evidence, l2_evidence}) {
    auto found = finder(image, result, trial);
    if (trial.exhausted()) break;
    if (found) return found;
  }
  return std::nullopt;
}

}  // namespace qd::advice
