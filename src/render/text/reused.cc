#include "render/text/reused.h"

#include <algorithm>
#include <array>

#include "base/endian.h"
#include "render/text/text.h"

namespace qd::render {
namespace {

// Where in the file the L2 entry stands, for whoever wants to edit it. A look at one L1 entry, not a walk.
std::uint64_t entry_offset(const image::Image& image, const check::Result& result, const check::Owner& owner) {
  const auto state = std::ranges::find(result.states, owner.state, &image::State::snapshot);
  if (state == result.states.end()) return 0;
  std::array<std::byte, 8> entry{};
  if (!image.file().read(state->l1_offset.value + std::uint64_t{owner.l1_index} * 8, entry)) return 0;
  const std::uint64_t table = load_big_endian<std::uint64_t>(entry.data()) & format::offset_mask;
  return table + std::uint64_t{owner.l2_index} * image.geometry->l2_entry_bytes();
}

std::string user(const image::Image& image, const check::Result& result, const check::Owner& owner) {
  using enum check::OwnerKind;
  switch (owner.kind) {
    case data:
    case compressed:
      return fmt::format("l1_index: {:4}, l2_index: {:4} [entry: 0x{:x}]", owner.l1_index, owner.l2_index,
                         entry_offset(image, result, owner));
    case l2_table:
      return fmt::format("l1_index: {:4}, L2 table", owner.l1_index);
    case refcount_block:
      return fmt::format("refcount block[{}]", owner.index);
    case bitmap_table:
    case bitmap_data:
      return fmt::format("{} of bitmap[{}]", check::owner_name(owner.kind), owner.index);
    default:
      return std::string(check::owner_name(owner.kind));
  }
}

}  // namespace

void print_reused(Output& out, const image::Image& image, const check::Result& result, const check::Finding& finding,
                  const Style& style) {
  if (!finding.index) return;
  const ClusterIndex cluster(*finding.index);
  const bool data_file = finding.code == check::Code::data_file_reuse;
  const std::uint64_t refcount = result.disk_refcounts && !data_file ? result.disk_refcounts->get(cluster) : 0;
  for (const check::Owner& owner : data_file ? result.data_owners_of(cluster) : result.owners_of(cluster)) {
    out.print("{}  cluster offset: 0x{:x} | {}", paint(style, Color::red, "REUSED"),
              image.geometry->offset(cluster).value, user(image, result, owner));
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
