#include "check/owners.h"

#include <fmt/core.h>

#include "image/lookup.h"

namespace qd::check {
namespace {

// The guest offset of an owner that is data or compressed data; `whose` goes behind its entries.
std::string guest_place(const format::Geometry& g, const Report& result, const Owner& owner, std::string_view whose) {
  const image::State* state = image::find_state(result.states, owner.state);
  const bool vm_state =
      state && state->vm_state > 0 && state->disk_size > 0 && owner.l1_index >= g.l1_entries_for(state->disk_size);
  return fmt::format("{}guest offset 0x{:x} (L1 entry {}, L2 entry {}{})",
                     owner.kind == OwnerKind::compressed ? "compressed "
                     : vm_state                          ? "VM state at "
                                                         : "",
                     g.guest(owner.l1_index, owner.l2_index).value, owner.l1_index, owner.l2_index, whose);
}

}  // namespace

std::string owner_text(const format::Geometry& g, const Report& result, const Owner& owner, SnapshotsBy by) {
  const bool by_name = by == SnapshotsBy::name;
  const std::string whose = owner.state < 0 ? ""
                            : by_name ? " of snapshot " + result.snapshot_names[static_cast<std::size_t>(owner.state)]
                                      : fmt::format(" of snapshot[{}]", owner.state);
  switch (owner.kind) {
    case OwnerKind::l1_table:
      return (by_name && owner.state < 0 ? "active L1 table" : "L1 table") + whose;
    case OwnerKind::l2_table:
      return fmt::format("L2 table of L1 entry {}{}", owner.l1_index, whose);
    case OwnerKind::refcount_block:
      return fmt::format("refcount block {}", owner.index);
    case OwnerKind::data:
    case OwnerKind::compressed:
      return guest_place(g, result, owner, whose);
    default:
      return std::string(owner_name(owner.kind));
  }
}

}  // namespace qd::check
