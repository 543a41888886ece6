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

// Where in the file the L2 entry stands, for whoever wants to edit it; 0 if nothing leads to it.
HostOffset entry_of(const image::Image& image, const Report& result, const Owner& owner) {
  const image::State* state = image::find_state(result.states, owner.state);
  if (!state) return {};
  const auto table = image::l2_table_of(image, *state, owner.l1_index);
  return table ? image::l2_entry_at(image, *table, owner.l2_index) : HostOffset();
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

std::string owner_place(const image::Image& image, const Report& result, const Owner& owner) {
  switch (owner.kind) {
    case OwnerKind::data:
    case OwnerKind::compressed:
      return fmt::format("l1_index: {:4}, l2_index: {:4} [entry: 0x{:x}]", owner.l1_index, owner.l2_index,
                         entry_of(image, result, owner).value);
    case OwnerKind::l2_table:
      return fmt::format("l1_index: {:4}, L2 table", owner.l1_index);
    case OwnerKind::refcount_block:
      return fmt::format("refcount block[{}]", owner.index);
    case OwnerKind::bitmap_table:
    case OwnerKind::bitmap_data:
      return fmt::format("{} of bitmap[{}]", owner_name(owner.kind), owner.index);
    default:
      return std::string(owner_name(owner.kind));
  }
}

}  // namespace qd::check
