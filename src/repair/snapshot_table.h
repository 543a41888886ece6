// The snapshot table as it is written: always as a whole, in fresh space. Specification: "Snapshots".
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "format/header.h"
#include "format/snapshot.h"
#include "repair/work.h"

namespace qd::repair {

// nb_snapshots and snapshots_offset, which lie side by side.
inline constexpr HostOffset snapshot_field = format::field::nb_snapshots.at();
inline constexpr std::uint64_t snapshot_field_bytes = format::field::snapshots_offset.end() - snapshot_field;

struct SnapshotEntry {
  format::RawSnapshot raw;       // the sizes of extra data, ID and name are filled in when it is written
  std::vector<std::byte> extra;  // kept whatever it means
  std::string id, name;
  std::uint64_t bytes = 0;  // of the whole entry, as it was read
};

// An entry that the image could read, byte for byte.
SnapshotEntry read_snapshot(Work& work, const format::Snapshot& snapshot);

// Plans a table of these entries, and the header's fields that point to it. Returns its place, 0 for no entries;
// nothing if there is no room (the work has failed).
std::optional<HostOffset> write_snapshots(Work& work, std::vector<SnapshotEntry>& entries);

}  // namespace qd::repair
