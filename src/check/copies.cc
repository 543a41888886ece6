#include "check/copies.h"

#include <algorithm>
#include <string_view>

#include "base/checked.h"
#include "base/endian.h"
#include "base/uniform.h"
#include "check/claims.h"
#include "check/report.h"
#include "format/snapshot.h"

namespace qd::check {
namespace {

constexpr std::size_t most_states = 64;           // whose L1 tables are compared
constexpr std::uint64_t most_l1_bytes = 1 << 20;  // of each

std::uint64_t word_at(std::span<const std::byte> bytes, std::size_t i) {
  return load_big_endian<std::uint64_t>(bytes.data() + i * sizeof(be64));
}

// Has `original` all nonzero words of `copy` at the same places, COPIED aside?
bool says_no_more(std::span<const std::byte> copy, std::span<const std::byte> original) {
  for (std::size_t i = 0; i < copy.size() / sizeof(be64); ++i) {
    const std::uint64_t word = word_at(copy, i);
    if (word != 0 && ((word ^ word_at(original, i)) & ~format::copied_flag) != 0) return false;
  }
  return true;
}

// Is any of the 64 clusters from `first` on in use?
bool any_used(const Claims& claims, std::uint64_t first) {
  if (first >= claims.clusters()) return false;
  return (claims.owned.word(first / 64) | claims.suspect.word(first / 64) | claims.compressed.word(first / 64)) != 0;
}

// Could the block be a guest's data, one byte throughout? Then all its refcounts are the same, and they are no wider
// than a byte or made of equal bytes.
bool one_byte_fills(const image::RefcountBlock& block, const format::Geometry& g) {
  const image::RunRefcount run = block.run(0, std::uint64_t{g.cluster_size()} * 8 >> g.refcount_order);
  if (!run) return false;
  const std::uint64_t ones = ~std::uint64_t{0} >> (64 - std::max(8u, 1u << g.refcount_order)) & 0x0101010101010101;
  return g.refcount_order <= 3 || *run == (*run & 0xff) * ones;
}

}  // namespace

namespace {

// What a block says: of clusters that have references (`used`, of these it agrees with `same`), and of clusters behind
// the end of the file (`impossible`: it counts them).
struct Agreement {
  std::uint64_t used = 0, same = 0, impossible = 0;
  // Half is enough for a damaged block: values of a byte and more are seldom right by chance.
  bool holds(const format::Geometry& g, std::uint64_t lost) const {
    const std::uint64_t quarters = lost > 0 && g.refcount_order >= 3 ? 2 : 3;
    return same * 4 >= (used + impossible) * quarters;
  }
};

Agreement compare(const image::Image& image, const Report& result, std::uint64_t number,
                  const image::RefcountBlock& block, std::uint64_t lost) {
  const format::Geometry& g = *image.geometry;
  const std::uint64_t entries = result.disk_refcounts->block_entries(), first = number * entries;
  Agreement found;
  const auto look_at = [&](std::uint64_t i) {
    const std::uint64_t n = std::min(result.references(ClusterIndex(first + i)), g.refcount_max()), says = block.get(i);
    found.used += n != 0;
    found.same += n != 0 && says >= n && says - n <= lost;
    found.impossible += says != 0 && first + i >= image.clusters();
  };
  constexpr std::uint64_t most_words = 64, step = 8;  // beyond so many words, each eighth tells enough
  std::uint64_t words = 0;
  for (std::uint64_t word = 0; word * 64 < entries; ++word) {
    if (block.nonzero(word) == 0 && !any_used(*result.claims, first + word * 64)) continue;
    if (++words > most_words && words % step != 0) continue;
    for (std::uint64_t i = word * 64; i < (word + 1) * 64; ++i) look_at(i);
  }
  return found;
}

}  // namespace

bool reads_as_refcount_block(const image::Image& image, const Report& result, std::uint64_t number,
                             const image::RefcountBlock& block, std::uint64_t lost) {
  const format::Geometry& g = *image.geometry;
  if (number * result.disk_refcounts->block_entries() >= image.clusters() || one_byte_fills(block, g)) return false;
  const Agreement found = compare(image, result, number, block, lost);
  return found.same > 0 && found.holds(g, lost);
}

bool reads_as_none(const image::Image& image, const Report& result, std::uint64_t number,
                   const image::RefcountBlock& block, std::uint64_t lost) {
  return !compare(image, result, number, block, lost).holds(*image.geometry, lost);
}

bool reads_as_refcount_block(const image::Image& image, const Report& result, std::uint64_t number,
                             std::span<const std::byte> bytes) {
  const std::uint64_t entries = result.disk_refcounts->block_entries();
  return reads_as_refcount_block(image, result, number,
                                 image::RefcountBlock(bytes, image.geometry->refcount_order, entries), 0);
}

CopyFinder::CopyFinder(const image::Image& image, const Report& result) : image_(image), result_(result) {
  for (const auto& entry : result.disk_refcounts->entries()) {
    if (entry.block) blocks_.insert(entry.raw);
  }
}

// Writers put a block into the range that it counts, so it counts itself.
bool CopyFinder::reads_as_block(ClusterIndex cluster, std::span<const std::byte> bytes) const {
  const std::uint64_t entries = result_.disk_refcounts->block_entries();
  const image::RefcountBlock block(bytes, image_.geometry->refcount_order, entries);
  return block.get(cluster.value % entries) == 1 &&
         reads_as_refcount_block(image_, result_, cluster.value / entries, bytes);
}

bool CopyFinder::was_block(std::uint64_t offset) const {
  const format::Geometry& g = *image_.geometry;
  if (blocks_.contains(offset)) return true;
  if (g.offset_in_cluster(offset) != 0 || offset >= image_.size()) return false;
  std::vector<std::byte> block(g.cluster_size());
  return image_.file().read(offset, block) && reads_as_block(g.cluster(HostOffset(offset)), block);
}

bool CopyFinder::is_refcount_table(std::span<const std::byte> bytes) const {
  for (std::size_t i = 0; i < bytes.size() / sizeof(be64); ++i) {
    if (const std::uint64_t word = word_at(bytes, i); word != 0 && !was_block(word)) return false;
  }
  return true;
}

// A lost snapshot's L1 table is no copy, even if it says no more than another one: its references to the L2 tables are
// still counted.
bool CopyFinder::is_l1_table(std::span<const std::byte> bytes) const {
  for (std::size_t i = 0; i < bytes.size() / sizeof(be64); ++i) {
    const ClusterIndex table = image_.geometry->cluster(HostOffset(word_at(bytes, i) & format::offset_mask));
    if (table.value != 0 && result_.disk_refcounts->get(table) > result_.references(table)) return false;
  }
  std::vector<std::byte> slice(bytes.size());
  for (std::size_t s = 0; s < std::min(result_.states.size(), most_states); ++s) {
    const image::State& state = result_.states[s];
    const std::uint64_t table = std::min(std::uint64_t{state.l1_size} * sizeof(be64), most_l1_bytes);
    for (std::uint64_t at = 0; at < table; at += slice.size()) {
      if (image_.file().read(state.l1_offset.value + at, slice) && says_no_more(bytes, slice)) return true;
    }
  }
  return false;
}

// Each entry is one of those in use, and behind the last there are only zeros.
bool CopyFinder::is_snapshot_table(std::span<const std::byte> bytes) const {
  const auto text = [&](std::uint64_t at, std::size_t n) {
    return std::string_view(reinterpret_cast<const char*>(bytes.data()) + at, n);
  };
  std::uint64_t at = 0, entries = 0;
  for (; at + sizeof(format::RawSnapshot) <= bytes.size(); ++entries) {
    format::RawSnapshot raw;
    std::ranges::copy(bytes.subspan(at, sizeof raw), std::as_writable_bytes(std::span(&raw, 1)).begin());
    if (raw.l1_table_offset.get() == 0) break;
    const std::uint64_t id = at + sizeof raw + raw.extra_data_size.get(), name = id + raw.id_size.get(),
                        end = name + raw.name_size.get();
    if (end > bytes.size()) return false;
    const bool known = std::ranges::any_of(image_.snapshots.entries, [&](const format::Snapshot& s) {
      return s.l1_offset.value == raw.l1_table_offset.get() && s.id == text(id, raw.id_size.get()) &&
             s.name == text(name, raw.name_size.get());
    });
    if (!known) return false;
    at = round_up(end, 8);
  }
  return entries > 0 && all_zero(bytes.subspan(std::min<std::size_t>(at, bytes.size())));
}

bool CopyFinder::is_copy(ClusterIndex cluster, std::span<const std::byte> bytes) {
  if (reads_as_block(cluster, bytes)) {
    blocks_.insert(image_.geometry->offset(cluster).value);
    return true;
  }
  return is_refcount_table(bytes) || is_l1_table(bytes) || is_snapshot_table(bytes);
}

}  // namespace qd::check
