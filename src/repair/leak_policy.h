// How far refcounts may fall: never by more than the plan itself has taken away, unless leaked clusters may be freed.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <unordered_map>
#include <utility>

#include "repair/plan.h"
#include "repair/view.h"

namespace qd::repair {

class LeakPolicy {
 public:
  LeakPolicy(const View& view, const Wanted& wanted) : view_(view), wanted_(wanted) {}

  // Clusters of a structure that the plan has moved: their refcounts may fall by that one reference, even if leaks must
  // not be freed.
  void release(HostOffset at, std::uint64_t bytes);
  std::uint64_t released(std::uint64_t cluster) const {
    const auto found = released_.find(cluster);
    return found == released_.end() ? 0 : found->second;
  }
  // References that were in `before` and are gone now went on purpose: refcounts may fall by as many.
  void let_go_since(check::Report before) { before_.emplace(std::move(before)); }
  std::uint64_t let_go(ClusterIndex cluster) const {
    const std::uint64_t was = before_ ? before_->references(cluster) : 0,
                        is = before_ ? view_.result().references(cluster) : 0;
    return was - std::min(was, is);
  }
  void let_go_no_more() { before_.reset(), released_.clear(); }

  // All refcounts that are too high may fall, however suspicious the leaks are.
  void free_all() { free_all_ = true; }
  // A snapshot that may have mapped data was given up, so leaks stay suspicious.
  void lost_something() { lost_ = true; }
  void found_again() { lost_ = false; }
  // Bitmaps were given up: leaks that look like their tables are no sign of lost data.
  void dropped_bitmaps() { bitmaps_dropped_ = true; }
  bool may_free() const;

 private:
  const View& view_;
  const Wanted wanted_;
  bool free_all_ = false, lost_ = false, bitmaps_dropped_ = false;
  std::unordered_map<std::uint64_t, std::uint64_t> released_;
  std::optional<check::Report> before_;
};

}  // namespace qd::repair
