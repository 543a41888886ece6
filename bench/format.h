// The structures on disk as these tools see them. They share nothing with the checker but the byte order of integers:
// a mistake that both made would not be seen.
#pragma once

#include <cstdint>

#include "base/endian.h"

namespace qd::bench {

using std::uint64_t;

constexpr std::uint32_t kMagic = 0x514649fb;
constexpr uint64_t kCopied = uint64_t{1} << 63, kCompressed = uint64_t{1} << 62;
constexpr uint64_t kOffsetMask = 0x00fffffffffffe00;

struct Header {
  be32 magic{kMagic}, version{3};
  be64 backing_offset;
  be32 backing_length, cluster_bits;
  be64 size;
  be32 crypt_method, l1_size;
  be64 l1_offset, refcount_table_offset;
  be32 refcount_table_clusters, snapshot_count;
  be64 snapshots_offset, incompatible, compatible, autoclear;
  be32 refcount_order, header_length{112};
  unsigned char compression_type = 0, padding[7] = {};
  be64 end_of_extensions;
};
static_assert(sizeof(Header) == 112 + 8);

struct SnapshotEntry {
  be64 l1_offset;
  be32 l1_size;
  be16 id_length, name_length;
  be32 seconds, nanoseconds;
  be64 vm_clock;
  be32 vm_state_size, extra_size{24};
  be64 vm_state_size_large, disk_size, icount{~uint64_t{0}};  // the 24 bytes of extra data; ~0: no icount
};
static_assert(sizeof(SnapshotEntry) == 40 + 24);

}  // namespace qd::bench
