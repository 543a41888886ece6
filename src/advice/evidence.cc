#include "advice/evidence.h"

namespace qd::advice {

// First what gives the rest its meaning, and then one thing at a time: the next check knows more.
std::optional<Evidence> find_evidence(const image::Image& image, const check::Result& result) {
  Trial trial(image, result);
  if (image.header_cut_off()) return std::nullopt;
  if (!image.geometry || !result.claims) return header_evidence(image, result, trial);
  for (const auto finder : {header_evidence, l1_evidence, l2_evidence}) {
    if (auto found = finder(image, result, trial)) return found;
  }
  return std::nullopt;
}

}  // namespace qd::advice
