#include "render/text/reused.h"

#include <fmt/core.h>

#include "image/lookup.h"
#include "render/text/text.h"

namespace qd::render {
namespace {

// Where in the file the L2 entry stands, for whoever wants to edit it; 0 if nothing leads to it.
HostOffset entry_of(const image::Image& image, const check::Report& result, const check::Owner& owner) {
  const image::State* state = image::find_state(result.states, owner.state);
  if (!state) return {};
  const auto table = image::l2_table_of(image, *state, owner.l1_index);
  return table ? image::l2_entry_at(image, *table, owner.l2_index) : HostOffset();
}

// Its place in the tables, without the snapshot: "l1_index:    0, l2_index:    1 [entry: 0x40008]".
std::string place_of(const image::Image& image, const check::Report& result, const check::Owner& owner) {
  switch (owner.kind) {
    case check::OwnerKind::data:
    case check::OwnerKind::compressed:
      return fmt::format("l1_index: {:4}, l2_index: {:4} [entry: 0x{:x}]", owner.l1_index, owner.l2_index,
                         entry_of(image, result, owner).value);
    case check::OwnerKind::l2_table:
      return fmt::format("l1_index: {:4}, L2 table", owner.l1_index);
    case check::OwnerKind::refcount_block:
      return fmt::format("refcount block[{}]", owner.index);
    case check::OwnerKind::bitmap_table:
    case check::OwnerKind::bitmap_data:
      return fmt::format("{} of bitmap[{}]", check::owner_name(owner.kind), owner.index);
    default:
      return std::string(check::owner_name(owner.kind));
  }
}

}  // namespace

void print_reused(Output& out, const image::Image& image, const check::Report& result, const check::Finding& finding,
                  const Style& style) {
  if (!finding.index) return;
  const ClusterIndex cluster(*finding.index);
  const bool data_file = finding.code == check::Code::data_file_reuse;
  const std::uint64_t refcount = result.disk_refcounts && !data_file ? result.disk_refcounts->get(cluster) : 0;
  for (const check::Owner& owner : data_file ? result.data_owners_of(cluster) : result.owners_of(cluster)) {
    out.print("{}  cluster offset: 0x{:x} | {}", paint(style, Color::red, "REUSED"),
              image.geometry->offset(cluster).value, place_of(image, result, owner));
    if (data_file) {
      out.write(" | data file");
    } else {
      out.print(" | refcount: {}", refcount);
    }
    if (owner.state >= 0) out.print(" | snapshot[{}]", owner.state);
    if (owner.kind == check::OwnerKind::compressed) out.write(" [compressed]");
    out.write("\n");
  }
}

}  // namespace qd::render
