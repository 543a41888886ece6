#include <algorithm>
#include <array>

#include "check/leaks.h"

namespace qd::check {

Hidden hides(Code code) {
  using enum Code;
  constexpr std::array bitmaps{bitmaps_missing, bitmaps_extension, bitmaps_directory,
                               bitmap_entry,    bitmap_table,      bitmap_table_entry};
  // Everything hides data but these: a new row of the table is dangerous until somebody has thought about it.
  constexpr std::array nothing{header_extension_end,
                               header_compression_type,
                               header_refcount_table,
                               header_dirty,
                               header_corrupt,
                               backing_missing,
                               backing_loop,
                               backing_elsewhere,
                               backing_size,
                               backing_format,
                               data_file_missing,
                               data_file_elsewhere,
                               data_file_past_end,
                               data_file_not_identity,
                               data_file_reuse,
                               l1_copied,
                               l2_zero_v2,
                               l2_zero_extended,
                               l2_bitmap,
                               l2_beyond_end,
                               l2_copied,
                               l2_lost,
                               compressed_copied,
                               compressed_payload,
                               reftable_unreadable,
                               reftable_reserved,
                               reftable_unaligned,
                               reftable_past_end,
                               reftable_shared,
                               refblock_unreadable,
                               refblock_truncated,
                               refblock_garbage,
                               refcount_low,
                               refcount_overflow,
                               refcount_leak,
                               refcount_past_end,
                               snapshot_incomplete,
                               snapshot_duplicate_id,
                               snapshot_size_zero,
                               snapshot_data_file,
                               bitmaps_stale,
                               bitmap_in_use,
                               bitmap_duplicate_name};
  if (std::ranges::find(bitmaps, code) != bitmaps.end()) return Hidden::bitmaps;
  return std::ranges::find(nothing, code) != nothing.end() ? Hidden::nothing : Hidden::data;
}

}  // namespace qd::check
