#include "advice/orphans.h"

#include <algorithm>

#include "base/uniform.h"

namespace qd::advice {

using check::Code;

std::vector<std::uint64_t> read_words(const image::Image& image, HostOffset at, std::uint64_t count) {
  return image::read_words(image.file(), at, count).value_or(std::vector<std::uint64_t>());
}

namespace {

enum class Entry : std::uint8_t { empty, sound, impossible };

// What an L2 entry is by itself. `at`: the place that it names in this file, if it does.
Entry read_entry(const image::Image& image, std::uint64_t word, HostOffset& at) {
  const format::Geometry& g = *image.geometry;
  if (word == 0 || word == format::zero_flag) return Entry::empty;
  const bool compressed = (word & format::compressed_flag) != 0;
  at = compressed ? g.compressed(word).offset : HostOffset(word & format::offset_mask);
  const bool flags = compressed ? (word & format::copied_flag) != 0
                                : (word & format::l2_reserved_mask) != 0 || g.offset_in_cluster(at.value) != 0;
  if (flags || (g.data_file && compressed)) return Entry::impossible;
  if (!g.data_file && (at.value == 0 || at.value >= image.size())) return Entry::impossible;
  return Entry::sound;
}

// Can this be an L2 table, or the beginning of one?
bool may_be_l2_table(const image::Image& image, const std::vector<std::uint64_t>& words) {
  HostOffset at;
  for (std::size_t i = 0; i < words.size(); i += image.geometry->l2_words()) {
    if (read_entry(image, words[i], at) == Entry::impossible) return false;
  }
  return true;
}

}  // namespace

bool reads_as_lost_l2_table(const image::Image& image, const check::Report& result,
                            const std::vector<std::uint64_t>& words) {
  const format::Geometry& g = *image.geometry;
  std::uint64_t entries = 0, left = 0;
  for (std::size_t i = 0; i < words.size(); i += g.l2_words()) {
    HostOffset at;
    const Entry entry = read_entry(image, words[i], at);
    if (entry == Entry::impossible) return false;
    if (entry == Entry::empty) continue;
    ++entries;
    if (g.data_file) {  // refcounts tell nothing about the data file
      ++left;
      continue;
    }
    const ClusterIndex cluster = g.cluster(at);
    left += result.disk_refcounts->get(cluster) > result.references(cluster);
  }
  return entries > 0 && left * 2 >= entries;
}

namespace {

// Looks into one cluster after the other, and reads only as much as it takes to tell that it isn't a table.
class OrphanFinder {
 public:
  OrphanFinder(const image::Image& image, const check::Report& result)
      : image_(image), result_(result), g_(*image.geometry) {}
  Orphans find();

 private:
  bool look_at(ClusterIndex cluster);

  const image::Image& image_;
  const check::Report& result_;
  const format::Geometry& g_;
  std::uint64_t budget_ = 32 << 20;  // bytes that are looked into
  Orphans orphans_;
};

// False if the budget is too small for it.
bool OrphanFinder::look_at(ClusterIndex cluster) {
  constexpr std::uint64_t piece = 4096;
  std::vector<std::uint64_t> words;
  bool empty = true;
  for (std::uint64_t at = 0; at < g_.cluster_size(); at = words.size() * sizeof(std::uint64_t)) {
    // The first bytes of most clusters show that they hold data. What may be a table is read to its end at once.
    const std::uint64_t bytes = at == 0 ? std::min(piece, g_.cluster_size()) : g_.cluster_size() - at;
    if (budget_ < bytes) return false;
    budget_ -= bytes;
    const auto more = read_words(image_, g_.offset(cluster) + at, bytes / sizeof(std::uint64_t));
    words.insert(words.end(), more.begin(), more.end());
    if (more.empty()) return true;
    empty &= all_zero(more);
    if (!empty && !may_be_l2_table(image_, more)) break;
  }
  if (empty) return true;
  const bool whole = words.size() * sizeof(std::uint64_t) == g_.cluster_size();
  if (whole && reads_as_lost_l2_table(image_, result_, words)) {
    orphans_.tables.push_back({cluster, std::move(words)});
  } else {
    orphans_.others.push_back(cluster);
  }
  return true;
}

Orphans OrphanFinder::find() {
  for (const check::Finding& f : result_.findings.list()) {
    if (f.code != Code::refcount_leak || f.expected != 0 || !f.index) continue;
    for (std::uint64_t i = 0; i < f.count; ++i) {
      if (look_at(ClusterIndex(*f.index + i))) continue;
      orphans_.complete = false;
      return std::move(orphans_);
    }
  }
  return std::move(orphans_);
}

}  // namespace

Orphans find_orphans(const image::Image& image, const check::Report& result) {
  return OrphanFinder(image, result).find();
}

}  // namespace qd::advice
