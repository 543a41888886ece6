// A set of bytes as ranges [start, end) that neither overlap nor touch: terabytes in a few words.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>
#include <optional>

namespace qd {

class Ranges {
 public:
  void add(std::uint64_t start, std::uint64_t end) {
    if (start >= end) return;
    auto at = first_ending_after(start == 0 ? 0 : start - 1);  // one that ends where this starts is joined
    while (at != ranges_.end() && at->first <= end) {
      start = std::min(start, at->first);
      end = std::max(end, at->second);
      at = ranges_.erase(at);
    }
    ranges_.emplace(start, end);
  }

  void remove(std::uint64_t start, std::uint64_t end) {
    if (start >= end) return;
    for (auto at = first_ending_after(start); at != ranges_.end() && at->first < end;) {
      const auto [from, to] = *at;
      at = ranges_.erase(at);
      if (from < start) ranges_.emplace(from, start);
      if (to > end) ranges_.emplace(end, to);
    }
  }

  // each(start, end) for every part of a range that lies within [start, end).
  template <class Each>
  void within(std::uint64_t start, std::uint64_t end, Each&& each) const {
    for (auto at = first_ending_after(start); at != ranges_.end() && at->first < end; ++at) {
      each(std::max(start, at->first), std::min(end, at->second));
    }
  }

  bool overlaps(std::uint64_t start, std::uint64_t end) const {
    if (ranges_.empty()) return false;
    const auto at = first_ending_after(start);
    return at != ranges_.end() && at->first < end;
  }

  // The first byte at or after `offset` that is in the set; `none` if there is none.
  std::uint64_t next(std::uint64_t offset, std::uint64_t none) const {
    const auto at = first_ending_after(offset);
    return at == ranges_.end() ? none : std::max(offset, at->first);
  }

  // The last byte before `end` that is in the set.
  std::optional<std::uint64_t> last_before(std::uint64_t end) const {
    const auto behind = ranges_.lower_bound(end);
    if (behind == ranges_.begin()) return std::nullopt;
    return std::min(end, std::prev(behind)->second) - 1;
  }

  // The end of the range that `offset` lies in; `offset` itself if it is in none.
  std::uint64_t end_of(std::uint64_t offset) const {
    const auto at = first_ending_after(offset);
    return at != ranges_.end() && at->first <= offset ? at->second : offset;
  }

  bool empty() const { return ranges_.empty(); }

 private:
  using Map = std::map<std::uint64_t, std::uint64_t>;

  Map::const_iterator first_ending_after(std::uint64_t offset) const {
    auto at = ranges_.upper_bound(offset);
    if (at != ranges_.begin() && std::prev(at)->second > offset) --at;
    return at;
  }
  Map::iterator first_ending_after(std::uint64_t offset) {
    const auto found = static_cast<const Ranges*>(this)->first_ending_after(offset);
    return ranges_.erase(found, found);  // erases nothing: the same place, as an iterator that may change it
  }

  Map ranges_;
};

}  // namespace qd
