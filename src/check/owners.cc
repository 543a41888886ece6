#include "check/owners.h"

#include <fmt/core.h>

#include <algorithm>

namespace qd::check {

std::string guest_place(const format::Geometry& g, const Result& result, const Owner& owner, std::string_view whose) {
  const auto state = std::ranges::find(result.states, owner.state, &image::State::snapshot);
  const bool vm_state = state != result.states.end() && state->vm_state > 0 && state->disk_size > 0 &&
                        owner.l1_index >= g.l1_entries_for(state->disk_size);
  return fmt::format("{}guest offset 0x{:x} (L1 entry {}, L2 entry {}{})",
                     owner.kind == OwnerKind::compressed ? "compressed "
                     : vm_state                          ? "VM state at "
                                                         : "",
                     g.guest(owner.l1_index, owner.l2_index).value, owner.l1_index, owner.l2_index, whose);
}

}  // namespace qd::check
