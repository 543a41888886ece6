// A bitmap whose table says "all ones" everywhere needs no clusters: every backup that goes by it copies the whole
// disk, which is always right. Specification: "Bitmap table".
#include "base/checked.h"
#include "base/text.h"
#include "edit/commands.h"

namespace qd::edit {
namespace {

using repair::Work;

constexpr std::uint64_t all_ones = 1;

// How many clusters hold the bits of a disk; each bit stands for 2^granularity_bits bytes.
std::uint64_t table_entries(const format::Geometry& g, std::uint64_t disk_size, unsigned granularity_bits) {
  const std::uint64_t granules = divide_up(disk_size, std::uint64_t{1} << granularity_bits);
  return g.clusters(divide_up(granules, 8));
}

Result<void> mark_dirty(Work& w, const format::Bitmap& b, std::uint64_t disk_size) {
  const format::Geometry& g = w.view.geometry();
  const std::uint64_t entries = table_entries(g, disk_size, b.granularity_bits);
  if (entries == 0 || entries > format::max_bitmap_bytes >> g.cluster_bits) {
    return refused(fmt::format("bitmap \"{}\" can't describe a disk of {} bytes", beginning(b.name), disk_size));
  }
  const std::uint64_t clusters = g.clusters(entries * sizeof(be64));
  std::vector<be64> table((clusters << g.cluster_bits) / sizeof(be64));
  std::fill_n(table.begin(), entries, be64(all_ones));
  const auto at = w.editor.allocate(clusters);
  if (!at) return {};
  w.editor.write(Stage::fresh, *at, std::as_bytes(std::span(table)));
  struct {
    be64 offset;
    be32 entries;
  } const field{be64(at->value), be32(static_cast<std::uint32_t>(entries))};
  static_assert(offsetof(format::RawBitmapEntry, table_offset) == 0 && sizeof field == 12);
  w.editor.write(Stage::point, b.at, std::as_bytes(std::span(&field, 1)));
  act(w, b.at, sizeof field, fmt::format("bitmap \"{}\" says that all of the disk has changed", beginning(b.name)));
  return {};
}

}  // namespace

Result<void> mark_bitmaps_dirty(Work& w, std::uint64_t disk_size) {
  const image::Bitmaps& bitmaps = w.view.image().bitmaps;
  if (!bitmaps.valid || bitmaps.stop) return {};
  for (const format::Bitmap& b : bitmaps.entries) {
    const bool usable = (b.flags & format::bitmap_in_use) == 0 && b.granularity_bits >= 9 && b.granularity_bits <= 31;
    if (!usable) continue;  // nobody reads it
    if (auto done = mark_dirty(w, b, disk_size); !done) return done;
  }
  return {};
}

}  // namespace qd::edit
