// Findings in whole sentences.
#pragma once

#include <string>
#include <vector>

#include "check/report.h"
#include "image/image.h"

namespace qd {

class Sentences {
 public:
  Sentences(const image::Image& image, const check::Report& result)
      : names_(result.snapshot_names), cluster_size_(image.geometry ? image.geometry->cluster_size() : 0) {}
  // The sentence of the problem's row, with the finding's place and values. Names in it aren't escaped.
  std::string operator()(const check::Finding& finding) const;

 private:
  const std::vector<std::string>& names_;
  std::uint64_t cluster_size_;  // the step of a range
};

}  // namespace qd
