// Checks an image: reads everything, changes nothing, and returns what is wrong.
#pragma once

#include <cstddef>
#include <cstdint>

#include "check/report.h"
#include "image/group.h"
#include "image/image.h"
#include "io/profile.h"

namespace qd::check {

struct Settings {
  bool decompress = false;                      // -c: try every compressed cluster
  bool backing_chain = true;                    // open the backing chain and the data file
  std::size_t most_findings = Findings::limit;  // kept word for word
  Profile* profile = nullptr;                   // filled in, if there is one
  std::uint64_t most_entries = image::as_fits;  // of the walks; what is found doesn't depend on it
};

// Threads: as many as TBB is allowed. The result doesn't depend on their number.
Report check(const image::Image& image, const Settings& options = {});

}  // namespace qd::check
