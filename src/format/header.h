// The header of a qcow2 image (specification: "Header"): the fields as values, and a table of them by name, offset and
// size for whoever prints or edits them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/endian.h"
#include "base/units.h"

namespace qd::format {

inline constexpr std::uint32_t magic = 0x514649fb;  // "QFI\xfb"
inline constexpr unsigned header_bytes_v2 = 72;
inline constexpr unsigned header_bytes_v3 = 104;
inline constexpr unsigned header_bytes_known = 112;  // with the additional fields known today

struct Header {
  std::uint32_t magic = 0, version = 0;
  std::uint64_t backing_file_offset = 0;
  std::uint32_t backing_file_size = 0, cluster_bits = 0;
  std::uint64_t size = 0;
  std::uint32_t crypt_method = 0, l1_size = 0;
  std::uint64_t l1_table_offset = 0, refcount_table_offset = 0;
  std::uint32_t refcount_table_clusters = 0, nb_snapshots = 0;
  std::uint64_t snapshots_offset = 0;
  // Version 3; for version 2 the values that version implies.
  std::uint64_t incompatible_features = 0, compatible_features = 0, autoclear_features = 0;
  std::uint32_t refcount_order = 4, header_length = header_bytes_v2;
  std::uint8_t compression_type = 0;
};

// Reads what is there: bytes that are missing count as zero. Version 2 ends after snapshots_offset.
Header parse_header(std::span<const std::byte> bytes);

// As it lies in the file.
struct RawHeader {
  be32 magic, version;
  be64 backing_file_offset;
  be32 backing_file_size, cluster_bits;
  be64 size;
  be32 crypt_method, l1_size;
  be64 l1_table_offset, refcount_table_offset;
  be32 refcount_table_clusters, nb_snapshots;
  be64 snapshots_offset;
  be64 incompatible_features, compatible_features, autoclear_features;
  be32 refcount_order, header_length;
  unsigned char compression_type;
  unsigned char padding[7];
};
static_assert(sizeof(RawHeader) == header_bytes_known);
static_assert(offsetof(RawHeader, incompatible_features) == header_bytes_v2);
static_assert(offsetof(RawHeader, compression_type) == header_bytes_v3);

struct HeaderField {
  std::string_view name;
  unsigned offset, bytes;
  bool version3;
  std::uint64_t (*value)(const Header&);

  constexpr HostOffset at() const { return HostOffset(offset); }
  constexpr HostOffset end() const { return HostOffset(offset + bytes); }
  constexpr bool operator==(const HeaderField& other) const { return offset == other.offset; }
};

// For code that names a certain field: a wrong name doesn't compile.
namespace field {

template <auto member>
std::uint64_t value_of(const Header& h) {
  return h.*member;
}

#define FIELD(name, v3)                                                                               \
  inline constexpr HeaderField name = {#name, offsetof(RawHeader, name), sizeof(RawHeader::name), v3, \
                                       value_of<&Header::name>}
FIELD(magic, false);
FIELD(version, false);
FIELD(backing_file_offset, false);
FIELD(backing_file_size, false);
FIELD(cluster_bits, false);
FIELD(size, false);
FIELD(crypt_method, false);
FIELD(l1_size, false);
FIELD(l1_table_offset, false);
FIELD(refcount_table_offset, false);
FIELD(refcount_table_clusters, false);
FIELD(nb_snapshots, false);
FIELD(snapshots_offset, false);
FIELD(incompatible_features, true);
FIELD(compatible_features, true);
FIELD(autoclear_features, true);
FIELD(refcount_order, true);
FIELD(header_length, true);
FIELD(compression_type, true);
#undef FIELD

// In the header's order.
inline constexpr std::array all = {magic,
                                   version,
                                   backing_file_offset,
                                   backing_file_size,
                                   cluster_bits,
                                   size,
                                   crypt_method,
                                   l1_size,
                                   l1_table_offset,
                                   refcount_table_offset,
                                   refcount_table_clusters,
                                   nb_snapshots,
                                   snapshots_offset,
                                   incompatible_features,
                                   compatible_features,
                                   autoclear_features,
                                   refcount_order,
                                   header_length,
                                   compression_type};

}  // namespace field

std::span<const HeaderField> header_fields();

// Feature bits.
namespace incompatible {
inline constexpr std::uint64_t dirty = 1, corrupt = 2, data_file = 4, compression = 8, extended_l2 = 16, known = 31;
}
namespace compatible {
inline constexpr std::uint64_t lazy_refcounts = 1, known = 1;
}
namespace autoclear {
inline constexpr std::uint64_t bitmaps = 1, raw_data_file = 2, known = 3;
}

enum class FeatureKind : std::uint8_t { incompatible, compatible, autoclear };

struct FeatureName {
  FeatureKind kind;
  unsigned bit;
  std::string name;
};

// The names of the bits known here; an image may carry names for others (feature name table).
std::span<const FeatureName> known_features();
std::vector<FeatureName> parse_feature_names(std::span<const std::byte> table);

// Header extensions (specification: "Header extensions").
namespace extension {
inline constexpr std::uint32_t end = 0, backing_format = 0xe2792aca, feature_names = 0x6803f857, bitmaps = 0x23852875,
                               crypt_header = 0x0537be77, data_file_name = 0x44415441;
}
std::string_view extension_name(std::uint32_t type);

struct Extension {
  std::uint32_t type = 0;
  HostOffset at;  // of its first byte (the type field)
  std::vector<std::byte> data;

  std::string text() const { return {reinterpret_cast<const char*>(data.data()), data.size()}; }
};

struct Extensions {
  std::vector<Extension> list;
  bool truncated = false;  // the last one claims more space than there is, or has none for its type and length
  std::optional<HostOffset> bad_end;  // the end marker, if its length goes past the space there is
  std::uint64_t end_length = 0;       // of the end marker
  std::uint64_t end = 0;              // offset behind the last byte understood
};

inline constexpr std::size_t max_backing_name_bytes = 1023;

// `first_cluster`: the image's first cluster, or what there is of it; extensions lie in [from, to).
Extensions parse_extensions(std::span<const std::byte> first_cluster, std::uint64_t from, std::uint64_t to);

}  // namespace qd::format
