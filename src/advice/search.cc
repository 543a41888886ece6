#include "advice/search.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <optional>
#include <span>

#include "check/claims.h"
#include "image/classify.h"
#include "image/refcounts.h"
#include "image/runs.h"
#include "image/walk.h"

namespace qd::advice {
namespace {

constexpr std::uint64_t most_clusters = 1 << 16;  // looked at

bool aligned(std::uint64_t offset, unsigned cluster_bits) { return (offset & ((1ULL << cluster_bits) - 1)) == 0; }

// The refcount of a cluster that the block at `block` counts.
std::uint64_t refcount(const image::Image& image, HostOffset block, unsigned order, std::uint64_t cluster) {
  std::array<std::byte, 8> bytes{};
  const std::uint64_t each = 64 >> order;  // entries
  if (!image.file().read(block.value + cluster / each * bytes.size(), bytes)) return 0;
  return image::refcount_entry(bytes.data(), cluster % each, order);
}

}  // namespace

bool plausible_refcounts(const image::Image& image, const Measure& m, std::uint64_t other) {
  if (m.refcount_order > 6 || m.table_offset == 0 || !aligned(m.table_offset, m.cluster_bits) ||
      m.table_offset >= image.size()) {
    return false;
  }
  const auto entry = read_words(image, HostOffset(m.table_offset), 1);
  if (entry.empty() || entry[0] == 0 || !aligned(entry[0], m.cluster_bits) || entry[0] >= image.size()) return false;
  const std::uint64_t counts = 1ULL << (m.cluster_bits + 3 - m.refcount_order);
  const auto is_used = [&](std::uint64_t at) {
    const std::uint64_t cluster = at >> m.cluster_bits;
    return cluster >= counts || refcount(image, HostOffset(entry[0]), m.refcount_order, cluster) > 0;
  };
  return refcount(image, HostOffset(entry[0]), m.refcount_order, 0) == 1 && is_used(m.table_offset) &&
         is_used(entry[0]) && (other >= image.size() || is_used(other));
}

std::vector<std::uint64_t> refcount_tables(const image::Image& image, const check::Report& result) {
  constexpr std::size_t most = 8;
  const format::Geometry& g = *image.geometry;
  std::vector<std::uint64_t> found;
  for (std::uint64_t c = 1; c < std::min(image.clusters(), most_clusters) && found.size() < most; ++c) {
    if (result.claims->owned.test(c) && c != g.cluster(HostOffset(image.header.refcount_table_offset)).value) continue;
    const std::uint64_t at = c << g.cluster_bits, data = image.file().next_data(at);
    if (data >= at + g.cluster_size()) {  // there is a hole
      c = (data >> g.cluster_bits) - 1;
      continue;
    }
    if (plausible_refcounts(image, {g.cluster_bits, g.refcount_order, at}, image.header.l1_table_offset)) {
      found.push_back(at);
    }
  }
  return found;
}

namespace {

// The index behind the last entry that isn't zero; nothing if an entry doesn't fit. The first `known` aren't judged.
template <class Fits>
std::optional<std::uint64_t> end_of_entries(const std::vector<std::uint64_t>& words, std::uint64_t known, Fits&& fits) {
  std::uint64_t end = std::min<std::uint64_t>(known, words.size());
  for (std::uint64_t i = end; i < words.size(); ++i) {
    if (words[i] == 0) continue;
    if (!fits(words[i])) return std::nullopt;
    end = i + 1;
  }
  return end;
}

// The index behind the last entry of a cluster that may be a part of an L1 table; nothing if it doesn't read as one.
// The first `known` entries aren't judged.
std::optional<std::uint64_t> l1_entries_in(const image::Image& image, const check::Report& result, ClusterIndex cluster,
                                           std::uint64_t known = 0) {
  const format::Geometry& g = *image.geometry;
  const std::uint64_t words_each = g.cluster_size() / sizeof(std::uint64_t);
  const auto is_table = [&](std::uint64_t offset) {
    const auto owners = result.owners_of(g.cluster(HostOffset(offset)));
    if (std::ranges::any_of(owners, [](const check::Owner& o) { return o.kind == check::OwnerKind::l2_table; })) {
      return true;
    }
    // What a state has as its L1 table may in truth be one of this table's L2 tables.
    if (std::ranges::any_of(result.states, [&](const image::State& s) { return s.l1_offset.value == offset; })) {
      return true;
    }
    return reads_as_lost_l2_table(image, result, read_words(image, HostOffset(offset), words_each));
  };
  const auto words = read_words(image, g.offset(cluster), words_each);
  constexpr std::uint64_t a_few = 4;  // tell enough
  std::uint64_t named = 0;
  if (words.empty()) return std::nullopt;
  return end_of_entries(words, known, [&](std::uint64_t entry) {
    return image::names_table(image, entry) && (named++ >= a_few || is_table(entry & format::offset_mask));
  });
}

}  // namespace

std::vector<std::uint64_t> orphan_l1_tables(const image::Image& image, const check::Report& result,
                                            const Orphans& orphans, std::uint64_t entries) {
  constexpr std::size_t most = 8;
  std::vector<std::uint64_t> found;
  std::vector<ClusterIndex> clusters = orphans.others;
  for (const OrphanTable& table : orphans.tables) clusters.push_back(table.cluster);
  for (const ClusterIndex cluster : clusters) {
    const std::uint64_t there = l1_entries_in(image, result, cluster).value_or(0);
    if (there > 0 && there <= entries) found.push_back(image.geometry->offset(cluster).value);
    if (found.size() == most) break;
  }
  return found;
}

bool l1_goes_on(const image::Image& image, HostOffset l1_table, std::uint64_t size, std::uint64_t from) {
  constexpr std::uint64_t most = 1024;  // entries that are looked at
  const HostOffset at = l1_table + from * sizeof(std::uint64_t);
  const auto words = read_words(image, at, std::min(most, size - std::min(size, from)));
  if (!image::look_at_l1(image, words).is_table()) return false;
  for (const std::uint64_t word : words) {
    const HostOffset table(word & format::offset_mask);
    if (image::names_table(image, word) && image::reads_as_l2_table(image, table)) return true;
  }
  return false;
}

std::vector<std::uint64_t> l1_sizes(const image::Image& image, const check::Report& result, std::uint64_t at) {
  constexpr std::size_t most = 8;
  const format::Geometry& g = *image.geometry;
  const std::uint64_t words_each = g.cluster_size() / sizeof(std::uint64_t), first = at >> g.cluster_bits;
  std::vector<std::uint64_t> sizes;
  if (g.offset_in_cluster(at) != 0) return sizes;
  for (std::uint64_t i = 0; i * g.cluster_size() < format::max_l1_bytes && sizes.size() < most; ++i) {
    const ClusterIndex cluster(first + i);
    if (cluster.value >= image.clusters()) break;
    const bool nobodys = result.disk_refcounts->get(cluster) > 0 && result.references(cluster) == 0;
    const std::uint64_t here = i * words_each, l1_size = at == image.header.l1_table_offset ? image.header.l1_size : 0;
    if (i > 0 && here >= l1_size && !nobodys) break;
    const auto entries = l1_entries_in(image, result, cluster, l1_size - std::min(l1_size, here));
    if (!entries) break;
    if (*entries > 0) sizes.push_back(here + *entries);
  }
  return sizes;
}

namespace {

// 512 encrypted bytes have some 220 different values. A sector of zeros tells nothing: it may never have been written.
bool is_plain(std::span<const std::byte> sector) {
  constexpr int most_values = 128;
  std::array<bool, 256> seen{};
  for (const std::byte b : sector) seen[std::to_integer<std::size_t>(b)] = true;
  const auto values = std::ranges::count(seen, true);
  return values < most_values && !(values == 1 && seen[0]);
}

}  // namespace

bool plainly_readable(const image::Image& image, const check::Report& result) {
  constexpr int most = 256;  // clusters that are looked at
  const format::Geometry& g = *image.geometry;
  int looked = 0;
  bool plain = false;
  std::atomic<bool> enough = false;
  image::walk<std::vector<HostOffset>>(
      image, std::span(result.states).first(1),
      [&](const image::Group& group, std::vector<HostOffset>& places) {
        for (const image::Table& table : group.tables) {
          if (table.l2.empty()) continue;
          image::for_runs(g, table.l2, group.begin, group.end, [&](std::uint64_t first, std::uint64_t) {
            const std::uint64_t raw = table.l2.raw(first), offset = raw & format::offset_mask;
            const bool data = (raw & format::compressed_flag) == 0 && offset != 0 && offset < image.size();
            if (data && places.size() < most) places.push_back(HostOffset(offset));
          });
        }
      },
      [&](std::vector<HostOffset>&& places) {
        for (const HostOffset at : places) {
          std::array<std::byte, format::sector> sector;
          if (plain || looked++ == most) break;
          plain = image.file().read(at.value, sector) && is_plain(sector);
        }
        enough = plain || looked >= most;
      },
      {.most_entries = image::as_fits, .stop = &enough});
  return plain;
}

std::uint64_t l1_room(const image::Image& image, const check::Report& result) {
  const format::Geometry& g = *image.geometry;
  const std::uint64_t at = image.header.l1_table_offset, words_each = g.cluster_size() / sizeof(std::uint64_t);
  if (at >= image.size() || g.offset_in_cluster(at) != 0) return format::max_l1_entries;
  std::uint64_t clusters = 1;
  const std::uint64_t first = g.cluster(HostOffset(at)).value;
  // Behind the length that the header says, a cluster with one owner is somebody else's.
  while (clusters * words_each < format::max_l1_entries && first + clusters < image.clusters()) {
    const ClusterIndex next(first + clusters);
    const auto words = read_words(image, g.offset(next), 1);
    const bool other = result.claims->owned.test(next.value) && !result.claims->conflict.test(next.value) &&
                       clusters * words_each >= image.header.l1_size;
    if (other || words.empty() || result.disk_refcounts->get(next) == 0) break;
    if (result.claims->conflict.test(next.value)) break;
    ++clusters;
  }
  return clusters * words_each;
}

namespace {

// The index behind the last entry of an L1 table, if clusters have 2^cluster_bits bytes; 0 if it doesn't read as one.
std::uint64_t l1_entries_at(const image::Image& image, std::uint64_t at, unsigned cluster_bits) {
  const auto words = read_words(image, HostOffset(at), (1ULL << cluster_bits) / sizeof(std::uint64_t));
  const auto fits = [&](std::uint64_t entry) {
    const std::uint64_t offset = entry & format::offset_mask;
    return (entry & format::l1_reserved_mask) == 0 && offset != 0 && aligned(offset, cluster_bits) &&
           offset < image.size();
  };
  return end_of_entries(words, 0, fits).value_or(0);
}

}  // namespace

std::vector<LostHeader> lost_headers(const image::Image& image) {
  constexpr std::uint64_t near = 64;  // clusters: tables that an image is made with lie within them
  constexpr std::size_t most = 24;
  constexpr unsigned order = 4;  // as nearly all images have it
  std::vector<LostHeader> found;
  for (unsigned bits = 21; bits >= 9; --bits) {
    for (std::uint64_t c = 1; c < near; ++c) {
      const std::uint64_t table = c << bits;
      if (!plausible_refcounts(image, {bits, order, table}, image.size())) continue;
      for (std::uint64_t k = 1; k < near && found.size() < most; ++k) {
        const std::uint64_t entries = k == c ? 0 : l1_entries_at(image, k << bits, bits);
        if (entries > 0) found.push_back({bits, order, table, k << bits, entries});
      }
    }
  }
  return found;
}

}  // namespace qd::advice
