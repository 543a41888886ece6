// What the header says about the shape of everything else: how large a cluster is, how many entries a table has, which
// bits of an entry mean what. Every other reader asks here and computes nothing of its own.
#pragma once

#include <cstdint>

#include "base/units.h"

namespace qd::format {

inline constexpr std::uint64_t copied_flag = 1ULL << 63;
inline constexpr std::uint64_t compressed_flag = 1ULL << 62;
inline constexpr std::uint64_t zero_flag = 1;
inline constexpr std::uint64_t offset_mask = 0x00fffffffffffe00;  // of L1, L2 and bitmap table entries
inline constexpr std::uint64_t l1_reserved_mask = 0x7f000000000001ff;
inline constexpr std::uint64_t l2_reserved_mask = 0x3f000000000001fe;
inline constexpr std::uint64_t reftable_offset_mask = 0xfffffffffffffe00;
inline constexpr std::uint64_t reftable_reserved_mask = 0x1ff;
inline constexpr std::uint64_t bitmap_reserved_mask = 0xff000000000001fe;
inline constexpr std::uint64_t sector = 512;
inline constexpr std::uint64_t max_host_offset = 1ULL << 56;

// Limits that QEMU sets and every writer keeps.
inline constexpr std::uint64_t max_l1_bytes = 32ULL << 20;
inline constexpr std::uint64_t max_l1_entries = max_l1_bytes / 8;
inline constexpr std::uint64_t max_reftable_bytes = 8ULL << 20;
inline constexpr std::uint64_t max_snapshots = 65536;
inline constexpr std::uint64_t max_snapshot_table_bytes = 1024 * max_snapshots;
inline constexpr std::uint64_t max_snapshot_extra_bytes = 1024;
inline constexpr std::uint64_t max_crypt_header_bytes = 256ULL << 20;  // LUKS 1 has 2 MiB, LUKS 2 may have half of this
inline constexpr std::uint64_t max_bitmaps = 65535;
inline constexpr std::uint64_t max_bitmap_directory_bytes = 1024 * max_bitmaps;
inline constexpr std::uint64_t max_bitmap_table_entries = 0x8000000;
inline constexpr std::uint64_t max_bitmap_bytes = 512ULL << 20;  // the bits of one bitmap

struct CompressedRange {
  HostOffset offset;    // first byte, not aligned
  std::uint64_t bytes;  // up to the end of the last sector
};

struct Geometry {
  unsigned cluster_bits = 16;
  bool extended_l2 = false;
  bool data_file = false;
  unsigned refcount_order = 4;  // refcount width in bits = 1 << refcount_order

  std::uint64_t cluster_size() const { return 1ULL << cluster_bits; }
  unsigned l2_entry_bytes() const { return extended_l2 ? 16 : 8; }
  unsigned l2_words() const { return extended_l2 ? 2 : 1; }  // 64-bit words an entry
  unsigned l2_bits() const { return cluster_bits - (extended_l2 ? 4 : 3); }
  std::uint64_t l2_entries() const { return 1ULL << l2_bits(); }
  std::uint64_t bytes_per_l2() const { return 1ULL << (l2_bits() + cluster_bits); }  // of the guest's disk

  unsigned refcount_bits() const { return 1u << refcount_order; }
  unsigned refcount_block_bits() const { return cluster_bits + 3 - refcount_order; }
  std::uint64_t refcount_block_entries() const { return 1ULL << refcount_block_bits(); }
  std::uint64_t refcount_max() const { return refcount_order == 6 ? ~0ULL : (1ULL << refcount_bits()) - 1; }

  std::uint64_t offset_in_cluster(std::uint64_t offset) const { return offset & (cluster_size() - 1); }
  std::uint64_t clusters(std::uint64_t bytes) const {
    return (bytes >> cluster_bits) + (offset_in_cluster(bytes) != 0);
  }
  ClusterIndex cluster(HostOffset offset) const { return ClusterIndex(offset.value >> cluster_bits); }
  HostOffset offset(ClusterIndex cluster) const { return HostOffset(cluster.value << cluster_bits); }
  GuestOffset guest(std::uint64_t l1_index, std::uint64_t l2_index) const {
    return GuestOffset(((l1_index << l2_bits()) + l2_index) << cluster_bits);
  }
  std::uint64_t l1_entries_for(std::uint64_t disk_bytes) const {
    return (disk_bytes >> (l2_bits() + cluster_bits)) + ((disk_bytes & (bytes_per_l2() - 1)) != 0);
  }

  // Specification: "Compressed Clusters Descriptor".
  unsigned compressed_size_shift() const { return 62 - (cluster_bits - 8); }
  CompressedRange compressed(std::uint64_t entry) const {
    const std::uint64_t at = entry & ((1ULL << compressed_size_shift()) - 1);
    const std::uint64_t sectors = ((entry >> compressed_size_shift()) & ((1ULL << (cluster_bits - 8)) - 1)) + 1;
    return {HostOffset(at), sectors * sector - (at & (sector - 1))};
  }
};

enum class ClusterType { unallocated, zero_plain, zero_allocated, normal, compressed };

// As QEMU reads an entry. With an external data file, offset 0 is a place like any other; COPIED tells it from none.
inline ClusterType cluster_type(const Geometry& geometry, std::uint64_t entry) {
  if (entry & compressed_flag) return ClusterType::compressed;
  const bool has_offset = (entry & offset_mask) != 0;
  if ((entry & zero_flag) && !geometry.extended_l2) {
    return has_offset ? ClusterType::zero_allocated : ClusterType::zero_plain;
  }
  if (has_offset || (geometry.data_file && (entry & copied_flag))) return ClusterType::normal;
  return ClusterType::unallocated;
}

}  // namespace qd::format
