#include "format/header.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/checked.h"
#include "base/endian.h"

namespace qd::format {
namespace {

// Does the table have all fields? Each begins where the one before it ends, and padding follows the last.
constexpr bool complete() {
  HostOffset at;
  for (const HeaderField& f : field::all) {
    if (f.at() != at) return false;
    at = f.end();
  }
  return at.value == offsetof(RawHeader, padding);
}
static_assert(complete());

}  // namespace

Header parse_header(std::span<const std::byte> bytes) {
  RawHeader raw;
  std::memset(static_cast<void*>(&raw), 0, sizeof raw);
  std::memcpy(static_cast<void*>(&raw), bytes.data(), std::min(bytes.size(), sizeof raw));

  Header h;
  h.magic = raw.magic.get();
  h.version = raw.version.get();
  h.backing_file_offset = raw.backing_file_offset.get();
  h.backing_file_size = raw.backing_file_size.get();
  h.cluster_bits = raw.cluster_bits.get();
  h.size = raw.size.get();
  h.crypt_method = raw.crypt_method.get();
  h.l1_size = raw.l1_size.get();
  h.l1_table_offset = raw.l1_table_offset.get();
  h.refcount_table_offset = raw.refcount_table_offset.get();
  h.refcount_table_clusters = raw.refcount_table_clusters.get();
  h.nb_snapshots = raw.nb_snapshots.get();
  h.snapshots_offset = raw.snapshots_offset.get();
  if (h.version == 2) return h;

  h.incompatible_features = raw.incompatible_features.get();
  h.compatible_features = raw.compatible_features.get();
  h.autoclear_features = raw.autoclear_features.get();
  h.refcount_order = raw.refcount_order.get();
  h.header_length = raw.header_length.get();
  if (h.header_length > offsetof(RawHeader, compression_type)) h.compression_type = raw.compression_type;
  return h;
}

std::span<const HeaderField> header_fields() { return field::all; }

std::span<const FeatureName> known_features() {
  static const std::array<FeatureName, 8> names{{
      {FeatureKind::incompatible, 0, "dirty bit"},
      {FeatureKind::incompatible, 1, "corrupt bit"},
      {FeatureKind::incompatible, 2, "external data file"},
      {FeatureKind::incompatible, 3, "compression type"},
      {FeatureKind::incompatible, 4, "extended L2 entries"},
      {FeatureKind::compatible, 0, "lazy refcounts"},
      {FeatureKind::autoclear, 0, "bitmaps"},
      {FeatureKind::autoclear, 1, "raw external data"},
  }};
  return names;
}

std::vector<FeatureName> parse_feature_names(std::span<const std::byte> table) {
  constexpr std::size_t entry_bytes = 48, name_bytes = 46;
  std::vector<FeatureName> names;
  for (; table.size() >= entry_bytes; table = table.subspan(entry_bytes)) {
    const auto kind = static_cast<unsigned>(table[0]);
    const auto* name = reinterpret_cast<const char*>(table.data() + 2);
    if (kind > 2) continue;
    names.push_back({static_cast<FeatureKind>(kind), static_cast<unsigned>(table[1]),
                     std::string(name, strnlen(name, name_bytes))});
  }
  return names;
}

std::string_view extension_name(std::uint32_t type) {
  switch (type) {
    case extension::backing_format: return "backing file format";
    case extension::feature_names: return "feature name table";
    case extension::bitmaps: return "bitmaps";
    case extension::crypt_header: return "full disk encryption header";
    case extension::data_file_name: return "external data file name";
    default: return "unknown";
  }
}

Extensions parse_extensions(std::span<const std::byte> first_cluster, std::uint64_t from, std::uint64_t to) {
  Extensions result;
  to = std::min<std::uint64_t>(to, first_cluster.size());
  std::uint64_t at = from;
  while (at < to) {
    Extension extension;
    extension.at = HostOffset(at);
    if (at + 8 > to) {
      result.truncated = true;
      result.list.push_back(std::move(extension));
      break;
    }
    extension.type = load_big_endian<std::uint32_t>(first_cluster.data() + at);
    const std::uint64_t length = load_big_endian<std::uint32_t>(first_cluster.data() + at + 4);
    if (extension.type == extension::end) {
      // QEMU looks at the length of every extension, this one's too.
      if (length > to - at - 8) result.bad_end = extension.at;
      result.end_length = length;
      break;
    }
    at += 8;
    if (length > to - at) {
      result.truncated = true;
      result.list.push_back(std::move(extension));
      break;
    }
    extension.data.assign(first_cluster.begin() + static_cast<std::ptrdiff_t>(at),
                          first_cluster.begin() + static_cast<std::ptrdiff_t>(at + length));
    result.list.push_back(std::move(extension));
    at += round_up(length, 8);
  }
  result.end = at;
  return result;
}

}  // namespace qd::format
