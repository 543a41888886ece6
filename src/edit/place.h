// Names for the places of an image, for whoever edits it by hand:
//
//   1234, 0x4d2                 a host offset
//   header.FIELD                as -H names them: header.l1_size
//   l1[i], l2[i,j]              entries of the active tables; l2[i,j].bitmap: the subclusters of an extended L2 entry
//   snapshot[n].l1[i], …        the same of a snapshot
//   snapshot[n].FIELD           name, id, l1_table_offset, l1_size, id_size, name_size, date_seconds, date_nanoseconds,
//                               vm_clock, vm_state_size, extra_data_size, disk_size
//   refcount_table[i]           an entry of the refcount table
//   refcount[c]                 the refcount of cluster c
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "format/header.h"
#include "image/image.h"

namespace qd::edit {

enum class PlaceKind : std::uint8_t {
  number,
  header,
  l1_entry,
  l2_entry,
  l2_bitmap,
  reftable_entry,
  refcount,
  snapshot_id,
  snapshot_name
};

struct BytePlace {
  PlaceKind kind = PlaceKind::number;
  HostOffset at;
  unsigned bytes = 8;
  unsigned shift = 0, bits = 64;               // of the value within the bytes
  const format::HeaderField* field = nullptr;  // of `header`
  std::size_t snapshot = 0;                    // of snapshot_id, snapshot_name
  std::string name;                            // what it is called; empty for a plain offset
};

// Errors: EINVAL for a text that names no place, or one that the image doesn't have; EIO.
Result<BytePlace> find_place(const image::Image& image, const std::string& text);

// The header field or the entry of the active tables that begins at this host offset and is `bytes` wide; else a plain
// number.
BytePlace recognise(const image::Image& image, HostOffset at, unsigned bytes);

// What a value means at a place: "data at 0x50000, COPIED". A plain number means its decimal digits.
std::string meaning(const image::Image& image, const BytePlace& place, std::uint64_t value);

}  // namespace qd::edit
