// The one table of problems. Each kind of damage is one row: a stable code, how bad it is, the exit status it leads to,
// how `qemu-img check` counts it, which repair mends it, what follows from it for the rest of the image, the sentence
// that reports it and what to do. Text, JSON, the man page and docs/problems.md come from the row; tests/images holds
// at least one image for each. Code that asks something of many problems asks for a column: a list of codes elsewhere
// would miss the next row.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace qd::check {

enum class Code : std::uint8_t {
  header_short, header_magic, header_version, header_cluster_bits, header_length, header_refcount_order,
  header_incompatible, header_autoclear, header_compression_type, header_subclusters, header_extension,
  header_extension_end, header_backing_name, header_virtual_size, header_l1_size, header_l1_offset,
  header_refcount_table, header_data_file, header_crypt, header_dirty, header_corrupt,
  image_in_use, image_truncated,
  backing_missing, backing_loop, backing_elsewhere, backing_size, backing_format,
  data_file_missing, data_file_elsewhere, data_file_past_end, data_file_not_identity, data_file_reuse,
  l1_unreadable, l1_truncated, l1_reserved, l1_unaligned, l1_past_end, l1_no_offset, l1_no_table, l1_copied,
  l2_unreadable, l2_truncated, l2_reserved, l2_unaligned, l2_past_end, l2_zero_v2, l2_zero_extended, l2_bitmap,
  l2_bitmap_unallocated, l2_beyond_end, l2_copied, l2_lost,
  compressed_copied, compressed_data_file, compressed_bitmap, compressed_high_bits, compressed_past_end,
  compressed_payload,
  reftable_unreadable, reftable_reserved, reftable_unaligned, reftable_past_end, reftable_shared,
  refblock_unreadable, refblock_truncated, refblock_garbage,
  refcount_low, refcount_overflow, refcount_leak, refcount_past_end,
  cluster_reuse, cluster_on_metadata, cluster_compressed_overlap, metadata_overlap,
  snapshot_table, snapshot_entry, snapshot_extra_data, snapshot_incomplete, snapshot_duplicate_id,
  snapshot_size_zero, snapshot_l1_unaligned, snapshot_l1_size, snapshot_l1_past_end, snapshot_l1_short,
  snapshot_data_file,
  bitmaps_missing, bitmaps_stale, bitmaps_extension, bitmaps_directory, bitmap_entry, bitmap_table,
  bitmap_table_entry, bitmap_in_use, bitmap_duplicate_name,
  count_  // how many there are
};
inline constexpr std::size_t code_count = static_cast<std::size_t>(Code::count_);

enum class Severity : std::uint8_t { warning, leak, error };

// The state of an image, worst last; the value is the exit code.
enum class Status : std::uint8_t { good, leak, copied, corrupt_flag, refcount, snapshot, corrupt };
std::string_view status_name(Status status);

// Under which of its figures `qemu-img check` counts one occurrence.
enum class Counted : std::uint8_t { nowhere, corruption, leak };

// Which -R mode mends it. `user` means: a person decides (a file to bring back, an option to give); `edit`: a value was
// lost that the rest of the file may tell.
enum class Repair : std::uint8_t { none, user, leak, error, reuse, edit };
std::string_view repair_name(Repair repair);

// What part of the image the problem is about. A verdict counts errors by these, in this order, and a report has a block
// for one or several.
enum class Subject : std::uint8_t {
  end,               // of the file: it was cut off
  file,              // as a whole
  header,
  l1,
  l2,
  compressed,        // clusters
  data_map,          // entries that lead into the external data file
  data_file_reused,  // clusters of that file which several entries name
  refcount_table,    // and the refcount blocks
  snapshots,         // their table, and what it says of each
  bitmaps,
  reused,            // clusters with several owners
  refcounts,
  copied,            // the flag of L1 and L2 entries
  corrupt_bit,
  backing,           // other files: nothing is wrong with the image
  data_file,
  count_             // how many there are
};
constexpr bool is_other_file(Subject subject) { return subject == Subject::backing || subject == Subject::data_file; }

// While such a problem stands, references to clusters are missing from the count. What looks leaked may then be
// somebody's data, or a bitmap's, and must not be freed before the problem is gone.
enum class Hidden : std::uint8_t { nothing, bitmaps, data };

// What else can't be relied on while the problem stands; several may be joined.
enum class Doubt : std::uint8_t {
  none = 0,
  disk = 1 << 0,            // it fails: each access may be the last, so nothing is written
  meaning = 1 << 1,         // what entries mean, or whether they are right: a sound image may look damaged
  l1_table = 1 << 2,        // where the active one lies, and how long it is
  virtual_size = 1 << 3,
  refcounts = 1 << 4,       // some can't be read, and tell of nothing that is lost
  snapshot_table = 1 << 5,  // the clusters that it claims may be somebody else's
  end = 1 << 6,             // the file's: what was cut off may be brought back
};
constexpr Doubt operator|(Doubt a, Doubt b) {
  return static_cast<Doubt>(static_cast<std::uint8_t>(a) | static_cast<std::uint8_t>(b));
}
constexpr bool has(Doubt all, Doubt one) { return (static_cast<unsigned>(all) & static_cast<unsigned>(one)) != 0; }

// Nothing here has a default, and the words come last: a row that leaves a column out doesn't compile.
struct Problem {
  Code code;
  std::string_view name;      // "l2.unaligned": never changes once released
  Severity severity;
  Status status;              // what the image's state is, at best, while this problem stands
  Counted counted;
  Repair repair;
  Subject subject;
  Hidden hides;
  Doubt doubts;
  std::string_view sentence;  // fmt pattern over the named arguments that findings.cc fills in
  std::string_view advice;    // what it means for the guest's data, and the way out
};

std::span<const Problem> problems();
const Problem& problem(Code code);
std::optional<Code> find_code(std::string_view name);

}  // namespace qd::check
