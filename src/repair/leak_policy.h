// How far refcounts may fall. Never by more than the plan itself has let go, unless what is leaked may be freed.
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

  // Clusters of a structure that the plan has moved: their refcounts may fall by that one reference, whatever is
  // thought of leaks.
  void release(HostOffset at, std::uint64_t bytes);
  std::uint64_t released(std::uint64_t cluster) const {
    const auto found = released_.find(cluster);
    return found == released_.end() ? 0 : found->second;
  }
  // References that were there in `before` and aren't any more went on purpose: refcounts fall with them, by as much.
  void let_go_since(check::Report before) { before_.emplace(std::move(before)); }
  std::uint64_t let_go(ClusterIndex cluster) const {
    const std::uint64_t was = before_ ? before_->references(cluster) : 0,
                        is = before_ ? view_.result().references(cluster) : 0;
    return was - std::min(was, is);
  }
  void let_go_no_more() { before_.reset(), released_.clear(); }

  // Refcounts that are too high fall, whatever is thought of leaks.
  void free_all() { free_all_ = true; }
  // A snapshot was given up that may have led to data, so leaks stay suspicious.
  void lost_something() { lost_ = true; }
  void found_again() { lost_ = false; }
  // Bitmaps were: what looks like their tables is no sign of lost data.
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
