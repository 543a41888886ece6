// Persistent bitmaps (specification: "Bitmaps extension", "Bitmap directory").
#pragma once

#include <cstdint>
#include <string>

#include "base/endian.h"
#include "base/units.h"

namespace qd::format {

struct RawBitmapsExtension {
  be32 count, reserved;
  be64 directory_size, directory_offset;
};
static_assert(sizeof(RawBitmapsExtension) == 24);

struct RawBitmapEntry {
  be64 table_offset;
  be32 table_size, flags;
  unsigned char type, granularity_bits;
  be16 name_size;
  be32 extra_data_size;
};
static_assert(sizeof(RawBitmapEntry) == 24);

inline constexpr std::uint32_t bitmap_in_use = 1, bitmap_auto = 2, bitmap_extra_compatible = 4;

struct Bitmap {
  HostOffset at;  // of the directory entry
  HostOffset table_offset;
  std::uint32_t table_size = 0;  // entries
  std::uint32_t flags = 0;
  std::uint8_t type = 0, granularity_bits = 0;
  std::uint32_t extra_data_size = 0;
  std::string name;  // its beginning, if it is longer than most_name_bytes
  std::uint16_t name_bytes = 0;
};

}  // namespace qd::format
