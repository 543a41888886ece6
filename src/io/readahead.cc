#include "io/readahead.h"

#include <algorithm>
#include <utility>

namespace qd {

// Has a read had to wait since the last time?
bool Readahead::waited() {
  const std::uint64_t now = file_.waits();
  return std::exchange(waits_, now) != now;
}

void Readahead::announce() {
  std::ranges::sort(ranges_, {}, &Range::offset);
  for (std::size_t i = 0; i < ranges_.size();) {
    const std::uint64_t begin = ranges_[i].offset;
    std::uint64_t end = begin;
    for (; i < ranges_.size() && ranges_[i].offset <= end; ++i)
      end = std::max(end, ranges_[i].offset + ranges_[i].length);
    file_.will_need(begin, end - begin);
  }
  ranges_.clear();
}

}  // namespace qd
