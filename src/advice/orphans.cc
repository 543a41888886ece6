#include "advice/orphans.h"

#include <algorithm>

namespace qd::advice {

using check::Code;

std::vector<std::uint64_t> read_words(const image::Image& image, HostOffset at, std::uint64_t count) {
  return image::read_words(image.file(), at, count).value_or(std::vector<std::uint64_t>());
}

bool reads_as_l2_table(const image::Image& image, const check::Result& result,
                       const std::vector<std::uint64_t>& words) {
  const format::Geometry& g = *image.geometry;
  std::uint64_t entries = 0, left = 0;
  for (std::size_t i = 0; i < words.size(); i += g.l2_words()) {
    const std::uint64_t word = words[i];
    if (word == 0 || word == format::zero_flag) continue;
    ++entries;
    const bool compressed = (word & format::compressed_flag) != 0;
    const HostOffset at = compressed ? g.compressed(word).offset : HostOffset(word & format::offset_mask);
    if (g.data_file) {
      if (compressed || (word & format::l2_reserved_mask) != 0 || g.offset_in_cluster(at.value) != 0) return false;
      ++left;  // the data's own file tells nothing
      continue;
    }
    if (at.value == 0 || at.value >= image.size()) return false;
    const bool flags = compressed ? (word & format::copied_flag) != 0
                                  : (word & format::l2_reserved_mask) != 0 || g.offset_in_cluster(at.value) != 0;
    if (flags) return false;
    const ClusterIndex cluster = g.cluster(at);
    left += result.disk_refcounts->get(cluster) > result.references(cluster);
  }
  return entries > 0 && left * 2 >= entries;
}

Orphans find_orphans(const image::Image& image, const check::Result& result) {
  constexpr std::uint64_t content_bytes = 16 << 20;  // that are looked into
  const format::Geometry& g = *image.geometry;
  Orphans orphans;
  std::uint64_t budget = content_bytes;
  for (const check::Finding& f : result.findings.list()) {
    if (f.code != Code::refcount_leak || f.expected != 0 || !f.index) continue;
    for (std::uint64_t i = 0; i < f.count; ++i) {
      if (budget < g.cluster_size()) return orphans.complete = false, orphans;
      budget -= g.cluster_size();
      const ClusterIndex cluster(*f.index + i);
      auto words = read_words(image, g.offset(cluster), g.cluster_size() / sizeof(std::uint64_t));
      if (std::ranges::all_of(words, [](std::uint64_t word) { return word == 0; })) continue;
      if (reads_as_l2_table(image, result, words)) {
        orphans.tables.push_back({cluster, std::move(words)});
      } else {
        orphans.others.push_back(cluster);
      }
    }
  }
  return orphans;
}

}  // namespace qd::advice
