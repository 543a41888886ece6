// Findings in sentences.
#pragma once

#include <string>
#include <vector>

#include "check/result.h"
#include "image/image.h"

namespace qd::report {

class Sentences {
 public:
  Sentences(const image::Image& image, const check::Result& result)
      : names_(result.snapshot_names), cluster_size_(image.geometry ? image.geometry->cluster_size() : 0) {}
  // As the image has it: to be escaped for whoever reads it.
  std::string operator()(const check::Finding& finding) const {
    return check::sentence(finding, names_, cluster_size_);
  }

 private:
  const std::vector<std::string>& names_;
  std::uint64_t cluster_size_;
};

}  // namespace qd::report
