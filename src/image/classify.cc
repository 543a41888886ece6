#include "image/classify.h"

#include <algorithm>

namespace qd::image {

bool possible_place(const Image& image, HostOffset at) {
  return at.value != 0 && image.geometry->offset_in_cluster(at.value) == 0 && at.value < image.size();
}

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

bool names_table(const Image& image, std::uint64_t l1_entry) {
  return (l1_entry & format::l1_reserved_mask) == 0 &&
         possible_place(image, HostOffset(l1_entry & format::offset_mask));
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

bool reads_as_l2_table(const Image& image, HostOffset table) {
  // Most clusters of data show in their first page that they are no table.
  constexpr std::uint64_t a_page = 4096;
  for (std::uint64_t bytes = std::min(a_page, image.geometry->cluster_size());;
       bytes = image.geometry->cluster_size()) {
    TableLook sum;
    const auto done = for_words(image.file(), table, bytes / sizeof(std::uint64_t), [&](auto, auto piece) {
      const TableLook look = look_at_l2(image, piece);
      sum.used += look.used, sum.bad += look.bad;
      return true;
    });
    if (!done || (sum.used > 0 && !sum.speaks_for_itself())) return false;
    if (bytes == image.geometry->cluster_size()) return sum.speaks_for_itself();
  }
}

Result<bool> leads_to_tables(const Image& image, HostOffset table) {
  constexpr int enough = 8;
  if (image.geometry->data_file) return false;  // an L2 table's entries are places in another file
  int used = 0, tables = 0;
  const auto done =
      for_words(image.file(), table, image.geometry->cluster_size() / sizeof(std::uint64_t), [&](auto, auto words) {
        for (const std::uint64_t entry : words) {
          if (entry == 0) continue;
          const HostOffset target(entry & format::offset_mask);
          tables += target != table && names_table(image, entry) && reads_as_l2_table(image, target);
          if (++used == enough || used - tables > enough / 2) return false;
        }
        return true;
      });
  if (!done) return tl::unexpected(done.error());
  return tables > 0 && tables * 2 >= used;
}

}  // namespace qd::image
