// Findings in sentences. A snapshot's name may be 64 KiB long, and stands in every sentence about its tables: it is cut
// once, here, so that a hundred thousand of them stay a report.
#pragma once

#include <string>
#include <vector>

#include "check/result.h"
#include "image/image.h"

namespace qd::report {

class Sentences {
 public:
  Sentences(const image::Image& image, const check::Result& result)
      : names_(result.snapshot_names), cluster_size_(image.geometry ? image.geometry->cluster_size() : 0) {
    constexpr std::size_t most = 128;
    for (std::string& name : names_) {
      if (name.size() > most) name = name.substr(0, most) + "...";
    }
  }
  // As the image has it: to be escaped for whoever reads it.
  std::string operator()(const check::Finding& finding) const {
    return check::sentence(finding, names_, cluster_size_);
  }

 private:
  std::vector<std::string> names_;
  std::uint64_t cluster_size_;
};

}  // namespace qd::report
