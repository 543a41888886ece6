#include "image/group.h"

#include <algorithm>

namespace qd::image {

// Of the states that share a table, the one with the largest disk counts.
std::uint64_t end_of_disk(const format::Geometry& g, std::span<const State> states, std::uint32_t l1_index,
                          std::span<const L1Entry> entries) {
  const std::uint64_t start = g.guest(l1_index, 0).value;
  std::uint64_t limit = 0;
  for (const L1Entry& e : entries) {
    const State& state = states[e.state];
    if (state.disk_size == 0) return g.l2_entries();  // a lost size is one finding, not one for each entry
    const bool vm_area = l1_index >= g.l1_entries_for(state.disk_size);
    const std::uint64_t inside = state.disk_size > start ? g.clusters(state.disk_size - start) : 0;
    limit = std::max(limit, vm_area && state.vm_state > 0 ? g.l2_entries() : inside);
  }
  return std::min(limit, g.l2_entries());
}

}  // namespace qd::image
