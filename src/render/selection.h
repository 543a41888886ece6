// What of a result is printed (-o, -s). It never changes the verdict or the exit code.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "check/report.h"
#include "image/image.h"

namespace qd::render {

struct Selection {
  bool refcounts = true;   // -o refcount or all
  bool mapping = true;     // -o snapshot or all
  bool active = true;      // -s: the active tables
  bool inactive = true;    // -s: snapshots; all of them, or the one named here
  int only_snapshot = -1;  // number in the snapshot table

  // Whether a state (check::active_state or a snapshot number) is to be shown.
  bool shows(std::int32_t state) const {
    if (state < 0) return active;
    return inactive && (only_snapshot < 0 || only_snapshot == state);
  }
};

// `output`: "refcount", "snapshot", "all". `snapshot`: "active", "inactive", "all", "snapshot[N]", an ID or a name;
// as image::find_snapshot knows them. EINVAL with the candidates where nothing or more than one matches.
Result<Selection> select(const image::Image& image, const std::string& output, const std::string& snapshot);

}  // namespace qd::render
