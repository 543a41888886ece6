// One entry of the snapshot table (specification: "Snapshots").
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "base/endian.h"
#include "base/units.h"

namespace qd::format {

struct RawSnapshot {
  be64 l1_table_offset;
  be32 l1_size;
  be16 id_size, name_size;
  be32 date_seconds, date_nanoseconds;
  be64 vm_clock;
  be32 vm_state_size, extra_data_size;
};
static_assert(sizeof(RawSnapshot) == 40);

struct RawSnapshotExtra {
  be64 vm_state_size, disk_size, icount;
};

// How much is kept of a name or an ID: as much as any writer makes. A file may claim 64 KiB for each of thousands of
// them, and store none of it.
inline constexpr std::size_t most_name_bytes = 1023;

struct Snapshot {
  HostOffset at;             // of this entry in the file
  std::uint64_t bytes = 0;   // of the entry, without padding
  HostOffset l1_offset;
  std::uint32_t l1_size = 0;
  std::string id, name;                        // their beginning, if they are longer than most_name_bytes
  std::uint16_t id_bytes = 0, name_bytes = 0;  // their length
  std::uint32_t date_seconds = 0, date_nanoseconds = 0;
  std::uint64_t vm_clock = 0, vm_state_size = 0;
  std::uint32_t extra_data_size = 0;
  std::uint64_t disk_size = 0;  // the active disk's where the entry doesn't record one
};

}  // namespace qd::format
