#include "image/classify.h"

namespace qd::image {

bool possible_l1_entry(const Image& image, std::uint64_t entry) {
  const std::uint64_t offset = entry & format::offset_mask;
  return image.geometry->offset_in_cluster(offset) == 0 && offset < image.size();
}

bool possible_l2_entry(const Image& image, std::uint64_t entry) {
  const format::Geometry& g = *image.geometry;
  if (entry & format::compressed_flag) {
    if (g.data_file) return false;
    const format::CompressedRange range = g.compressed(entry);
    return !image.past_end(range.offset, range.bytes);
  }
  const std::uint64_t offset = entry & format::offset_mask;
  return g.offset_in_cluster(offset) == 0 && (g.data_file || offset < image.size());
}

TableLook look_at_l1(const Image& image, std::span<const std::uint64_t> words) {
  TableLook look;
  for (const std::uint64_t entry : words) {
    look.used += entry != 0;
    look.copied += (entry & format::copied_flag) != 0;
    look.bad += (entry & format::l1_reserved_mask) != 0 || !possible_l1_entry(image, entry);
  }
  return look;
}

TableLook look_at_l2(const Image& image, std::span<const std::uint64_t> words) {
  TableLook look;
  const unsigned step = image.geometry->l2_words();
  for (std::size_t i = 0; i + step <= words.size(); i += step) {
    const std::uint64_t entry = words[i];
    look.used += entry != 0;
    look.copied += (entry & format::copied_flag) != 0;
    const bool reserved = (entry & format::compressed_flag) == 0 && (entry & format::l2_reserved_mask) != 0;
    look.bad += reserved || !possible_l2_entry(image, entry);
  }
  return look;
}

}  // namespace qd::image
