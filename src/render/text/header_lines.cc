// The header block of a check, and the bitmaps: what the image says about itself.
#include "render/text/text.h"
#include "words/escape.h"
#include "words/names.h"
#include "words/sizes.h"

namespace qd::render {
namespace {

using format::FeatureKind;

// What follows from the cluster size and the refcount width.
void print_shape(Output& out, const image::Image& image) {
  const format::Header& h = image.header;
  out.print("cluster_bits: {}\n", h.cluster_bits);
  if (image.geometry) out.print("cluster_size: {}\n", image.geometry->cluster_size());
  out.print("crypt_method: {} [{}]\n", h.crypt_method, crypt_method_name(h.crypt_method));
  if (h.compression_type != 0) {
    out.print("compression_type: {} [{}]\n", h.compression_type, compression_name(h.compression_type));
  }
  out.print("l1_table_offset: 0x{:x}\nl1_size: {}\n", h.l1_table_offset, h.l1_size);
  if (image.geometry) {
    out.print("l1_vm_state_index: {}\nl2_size: {}\n", image.geometry->l1_entries_for(h.size),
              image.geometry->l2_entries());
  }
  out.print("refcount_order: {}\n", h.refcount_order);
  if (image.geometry && image.refcounts_readable) {
    out.print("refcount_bits: {}\nrefcount_block_bits: {}\nrefcount_block_size: {}\n", image.geometry->refcount_bits(),
              image.geometry->refcount_block_bits(), image.geometry->refcount_block_entries());
  }
}

std::string bitmap_flags(const format::Bitmap& bitmap) {
  std::string text;
  const auto add = [&](bool set, std::string_view name) {
    if (set) text += (text.empty() ? "" : ", ") + std::string(name);
  };
  add((bitmap.flags & format::bitmap_in_use) != 0, "in use");
  add((bitmap.flags & format::bitmap_auto) != 0, "auto");
  add((bitmap.flags & format::bitmap_extra_compatible) != 0, "extra data compatible");
  add((bitmap.flags & ~7u) != 0, fmt::format("unknown flags 0x{:x}", bitmap.flags & ~7u));
  return text.empty() ? "none" : text;
}

}  // namespace

void print_header_lines(Output& out, const image::Image& image) {
  const format::Header& h = image.header;
  out.print("magic: 0x{:08x}\n", h.magic);
  const bool foreign = !image.ours() && !image.geometry;
  if (foreign || image.header_bytes_present < format::header_bytes_v2) {
    // Whatever stands where the fields would be means nothing.
    out.print("file_size: {}\ndisk_size: {}\n", size_text(image.file().size()),
              size_text(image.file().allocated_bytes()));
    return;
  }
  out.print("version: {}\nbacking_file_offset: 0x{:x}\nbacking_file_size: {}\n", h.version, h.backing_file_offset,
            h.backing_file_size);
  if (image.backing_file) out.print("backing_file: {}\n", escape(*image.backing_file));
  if (image.data_file) out.print("data_file: {}\n", escape(*image.data_file, 4096));
  out.print("virtual_size: {}\ndisk_size: {}\n", size_text(h.size), size_text(image.file().allocated_bytes()));
  print_shape(out, image);
  out.print("refcount_table_offset: 0x{:x}\nrefcount_table_clusters: {}\n", h.refcount_table_offset,
            h.refcount_table_clusters);
  out.print("snapshots_offset: 0x{:x}\nnb_snapshots: {}\n", h.snapshots_offset, h.nb_snapshots);
  out.print("incompatible_features: {}\ncompatible_features: {}\nautoclear_features: {}\n",
            escape(features_text(image, FeatureKind::incompatible, h.incompatible_features)),
            escape(features_text(image, FeatureKind::compatible, h.compatible_features)),
            escape(features_text(image, FeatureKind::autoclear, h.autoclear_features)));
}

void print_bitmap_lines(Output& out, const image::Image& image) {
  const image::Bitmaps& bitmaps = image.bitmaps;
  if (bitmaps.extension) {
    out.print("Directory:      [offset: 0x{:x}, len: {}], bitmaps: {}\n", bitmaps.extension->directory_offset.get(),
              bitmaps.extension->directory_size.get(), bitmaps.extension->count.get());
    if (!bitmaps.valid) out.write("                not valid any more (autoclear bit 0 is clear)\n");
  }
  for (std::size_t i = 0; i < bitmaps.entries.size(); ++i) {
    const format::Bitmap& b = bitmaps.entries[i];
    const std::string granularity =
        b.granularity_bits < 64 ? short_size(1ULL << b.granularity_bits) : fmt::format("2^{}", b.granularity_bits);
    out.print("bitmap[{}]:      NAME: {}\n", i, short_name(b.name));
    out.print("                granularity: {}, flags: {}\n", granularity, bitmap_flags(b));
    out.print("                [offset: 0x{:x}, len: {}]\n", b.table_offset.value, b.table_size);
  }
}

}  // namespace qd::render
