#include "check/content.h"

#include <fmt/core.h>

#include <algorithm>
#include <vector>

#include "base/endian.h"
#include "base/uniform.h"

namespace qd::check {
namespace {

constexpr std::uint64_t least = 8;  // fewer impossible entries are single errors

// Looks at one entry of each sector, and at more in small tables: other bytes than a table's seldom come in less than a
// sector.
bool any_odd(const format::Geometry& g, std::span<const std::uint64_t> words) {
  constexpr std::size_t looks = 64, sector = 512 / sizeof(std::uint64_t);
  const std::uint64_t ordinary = format::copied_flag | format::zero_flag | (0xffffffffffff & ~(g.cluster_size() - 1));
  const std::size_t step = std::clamp<std::size_t>(words.size() / looks, 1, sector);
  std::uint64_t bits = 0;
  for (std::size_t i = 0; i < words.size(); i += step) bits |= words[i];
  return (bits & ~ordinary) != 0;
}

// The first offset that no writer can have reached: each state may have each guest cluster once.
std::uint64_t far_away(const image::Image& image) {
  constexpr std::uint64_t spare = 1ULL << 32, most = 1ULL << 48;
  const std::uint64_t states = image.snapshots.entries.size() + 1, disk = std::min(image.header.size, most);
  return states > most / 2 / (disk + 1) ? most : std::min(most, image.size() + 2 * states * disk + spare);
}

bool impossible(const format::Geometry& g, std::uint64_t entry, std::uint64_t before, std::uint64_t far) {
  const std::uint64_t offset = entry & format::offset_mask;
  if (entry == before && offset != 0) return true;
  if (entry & format::compressed_flag) {
    return (entry & format::copied_flag) != 0 || g.compressed(entry).offset.value >= far;
  }
  return (entry & format::l2_reserved_mask) != 0 || g.offset_in_cluster(offset) != 0 || offset >= far;
}

bool mostly_impossible(const image::Image& image, std::span<const std::uint64_t> words) {
  const format::Geometry& g = *image.geometry;
  if (g.l2_words() == 1 && !any_odd(g, words)) return false;
  const std::uint64_t far = far_away(image);
  std::uint64_t used = 0, bad = 0, before = 0;
  for (std::size_t i = 0; i < words.size(); i += g.l2_words()) {
    if (words[i] == 0) continue;
    ++used;
    bad += impossible(g, words[i], before, far);
    before = words[i];
  }
  return bad >= least && bad * 2 > used;
}

bool is_text(std::span<const std::byte> bytes) {
  std::size_t letters = 0, spaces = 0;
  for (const std::byte byte : bytes) {
    const auto c = static_cast<unsigned char>(byte);
    const bool space = c == ' ' || c == '\n' || c == '\r' || c == '\t';
    letters += !space && c >= 0x20 && c < 0x7f;
    spaces += space;
  }
  return (letters + spaces) * 10 > bytes.size() * 9 && letters > spaces && spaces > 0;
}

}  // namespace

bool is_no_table(const Context& c, const image::Table& table) {
  if (table.l2.empty()) return false;
  const std::span<const std::uint64_t> piece = table.l2.words();
  const std::uint64_t whole = c.geometry().cluster_size() / sizeof(std::uint64_t);
  if (piece.size() == whole) return mostly_impossible(c.image, piece);
  {
    const std::lock_guard lock(c.cut_tables_guard);
    const auto known = c.cut_tables.find(table.offset.value);
    if (known != c.cut_tables.end()) return known->second;
  }
  const auto words = image::read_words(c.image.file(), table.offset, whole);
  const bool none = words && mostly_impossible(c.image, *words);
  const std::lock_guard lock(c.cut_tables_guard);
  c.cut_tables.emplace(table.offset.value, none);
  return none;
}

namespace {

// The most references that a cluster can have. In each state these are as many pieces of compressed data as fit into a
// cluster, and one that reaches in on either side. A piece takes some ten bytes if one byte fills the guest cluster; at
// best, deflate makes 258 bytes of two bits, and zstd a block of 128 KiB of four bytes.
std::uint64_t most_references(const image::Image& image) {
  constexpr std::uint64_t smallest = 8, by_deflate = 1032, by_zstd = (128 << 10) / 4;
  const std::uint64_t ratio = image.header.compression_type == 0 ? by_deflate : by_zstd,
                      pieces = std::min(image.geometry->cluster_size() / smallest, ratio) + 2;
  return pieces * (image.snapshots.entries.size() + 1);
}

}  // namespace

bool most_values_impossible(const image::Image& image, const image::RefcountBlock& block, std::uint64_t at_least) {
  const std::uint64_t most = most_references(image);
  std::uint64_t used = 0, bad = 0;
  for (std::uint64_t i = 0; i < image.geometry->refcount_block_entries(); ++i) {
    const std::uint64_t value = block.get(i);
    used += value != 0;
    bad += value > most;
  }
  return bad >= at_least && bad * 2 > used;
}

bool is_no_refcount_block(const image::Image& image, const image::RefcountBlock& block, HostOffset at) {
  if (!block.may_exceed(most_references(image))) return false;
  if (image.geometry->refcount_order != 3 && reads_as(image, at) == "text") return true;
  return most_values_impossible(image, block, least);
}

std::string reads_as(const image::Image& image, HostOffset cluster) {
  std::vector<std::byte> bytes(image.geometry->cluster_size());
  if (!image.file().read(cluster.value, bytes)) return "something unreadable";
  if (all_same(bytes)) {
    return fmt::format("0x{:02x} throughout", static_cast<unsigned>(bytes[0]));
  }
  if (is_text(bytes)) return "text";
  return load_big_endian<std::uint32_t>(bytes.data()) == format::magic ? "a qcow2 header" : "something else";
}

std::string held_by(const Context& c, HostOffset at) {
  const std::string content = reads_as(c.image, at);
  if (content == "text") return content;
  for (const MetadataUse& use : c.metadata) {
    if (use.offset <= at && at.value < use.offset.value + use.bytes) return fmt::format("the {}", owner_name(use.kind));
  }
  const auto& blocks = c.refcounts->entries();
  const auto block = std::ranges::find(blocks, at.value, &image::Refcounts::Entry::raw);
  return block == blocks.end() ? content : fmt::format("refcount block {}", block - blocks.begin());
}

}  // namespace qd::check
