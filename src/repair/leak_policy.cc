#include "repair/leak_policy.h"

#include <algorithm>

namespace qd::repair {

void LeakPolicy::release(HostOffset at, std::uint64_t bytes) {
  if (bytes == 0 || at.value >= view_.image().size()) return;
  const std::uint64_t end = std::min(at.value + bytes, view_.image().size());
  std::uint64_t data = 0;  // up to here the file stores nothing
  for (std::uint64_t c = view_.geometry().cluster(at).value; c < view_.geometry().clusters(end); ++c) {
    if (view_.refcounts().get(ClusterIndex(c)) == 0) {  // nothing can fall
      const std::uint64_t from = c << view_.geometry().cluster_bits;
      if (data <= from) data = view_.image().file().next_data(from);
      if (data >= from + view_.geometry().cluster_size()) continue;
    }
    ++released_[c];
  }
}

bool LeakPolicy::may_free() const {
  if (free_all_) return true;
  const check::LeakDoubt& doubt = view_.result().leak_doubt;
  const bool explained = !doubt.forbids_freeing() || (bitmaps_dropped_ && doubt.maybe_bitmap && !doubt.hidden);
  return wanted_.leak && (wanted_.force || (explained && !lost_));
}

}  // namespace qd::repair
