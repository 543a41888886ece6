#include "check/problems.h"

#include <array>

namespace qd::check {
namespace {

using enum Code;
constexpr auto warning = Severity::warning;
constexpr auto leak = Severity::leak;
constexpr auto error = Severity::error;
constexpr auto nowhere = Counted::nowhere;
constexpr auto corruption = Counted::corruption;

// The arguments a sentence may use: {where} table and entry in words, {host} {guest} {found} {expected} in hex,
// {found_n} {expected_n} in decimal, {index}, {detail}.
constexpr std::array<Problem, code_count> table{{
    {header_short, "header.short", error, Status::corrupt, nowhere, Repair::edit,
     "the file has {found_n} bytes, a qcow2 header needs at least {expected_n}",
     "The header is gone. If the rest of the image survived elsewhere, bring it back before anything else."},
    {header_magic, "header.magic", error, Status::corrupt, nowhere, Repair::edit,
     "the file begins with {found}, a qcow2 image with {expected} (QFI\\xfb){detail}",
     "This is no qcow2 image, or its first cluster was overwritten. In the second case L1, L2 and data are usually "
     "intact behind it."},
    {header_version, "header.version", error, Status::corrupt, nowhere, Repair::edit,
     "header field version (offset 4) is {found_n}; known are 2 and 3",
     "The header is damaged, or the image was made by a program of the future."},
    {header_cluster_bits, "header.cluster-bits", error, Status::corrupt, nowhere, Repair::edit,
     "header field cluster_bits (offset 20) is {found_n}; allowed are 9 to 21",
     "Without the cluster size no table can be read. New images have 16 (64 KiB)."},
    {header_length, "header.length", error, Status::corrupt, nowhere, Repair::edit,
     "header field header_length (offset 100) is {found_n}; a version 3 header has at least 104 bytes, a multiple of "
     "8, "
     "and ends within the first cluster",
     "The header extensions can't be found; the tables are read all the same."},
    {header_refcount_order, "header.refcount-order", error, Status::corrupt, nowhere, Repair::edit,
     "header field refcount_order (offset 96) is {found_n}; allowed are 0 to 6",
     "Refcounts can't be read, so neither leaks nor refcount errors can be found. The mapping is checked all the "
     "same."},
    {header_incompatible, "header.incompatible", error, Status::corrupt, nowhere, Repair::user,
     "incompatible feature bit {index} is set{detail}; no program that doesn't know it may open the image",
     "A damaged header, or an image that needs a newer program. What is reported below supposes that the bit changes "
     "nothing."},
    {header_autoclear, "header.autoclear", warning, Status::good, nowhere, Repair::none,
     "autoclear feature bit {index} is set{detail}, which this program doesn't know",
     "Harmless for reading: the next program that writes to the image clears it."},
    {header_compression_type, "header.compression-type", error, Status::corrupt, nowhere, Repair::error,
     "compression type (offset 104) is {found_n}{detail}",
     "0 (zlib) goes with incompatible feature bit 3 clear, 1 (zstd) with the bit set; nothing else exists."},
    {header_subclusters, "header.subclusters", error, Status::corrupt, nowhere, Repair::edit,
     "extended L2 entries (incompatible feature bit 4) need clusters of 16384 bytes at least, these have {found_n}",
     "Either the bit or the cluster size is damaged."},
    {header_extension, "header.extension", error, Status::corrupt, nowhere, Repair::user,
     "header extension {found} at {host}: {detail}", "Extensions behind it are not read. The tables are not affected."},
    {header_extension_end, "header.extension-end", error, Status::corrupt, nowhere, Repair::error,
     "the end marker of the header extensions at {host} claims {found_n} bytes, more than there is room for",
     "QEMU refuses such an image. The marker has no content: its length is set to 0, and nothing else changes."},
    {header_backing_name, "header.backing-name", error, Status::corrupt, nowhere, Repair::user,
     "the backing file name (offset {found}, {expected_n} bytes) does not lie within the first cluster, behind the "
     "header, with 1023 bytes at most",
     "Unallocated clusters read from the backing file: without its name the disk is incomplete."},
    {header_virtual_size, "header.virtual-size", error, Status::corrupt, nowhere, Repair::user,
     "header field size (offset 24) is {found_n}: {detail}",
     "The size of the guest's disk is lost; the mapping tells how large it was at least."},
    {header_l1_size, "header.l1-size", error, Status::corrupt, nowhere, Repair::user,
     "header field l1_size (offset 36) is {found_n}: {detail}",
     "QEMU refuses such an image. Either this field or the virtual size is wrong."},
    {header_l1_offset, "header.l1-offset", error, Status::corrupt, nowhere, Repair::edit,
     "header field l1_table_offset (offset 40) is {found}: {detail}",
     "The active mapping can't be read where the header says it is. The L2 tables are usually still in the file."},
    {header_refcount_table, "header.refcount-table", error, Status::corrupt, nowhere, Repair::error,
     "the refcount table (offset {found}, {expected_n} clusters): {detail}",
     "Refcounts can be rebuilt completely from the mapping; no guest data depends on them."},
    {header_data_file, "header.data-file", error, Status::corrupt, nowhere, Repair::user,
     "external data file: {detail}", "The guest's data lies in another file; the header must name it consistently."},
    {header_crypt, "header.crypt", error, Status::corrupt, nowhere, Repair::user, "encryption: {detail}",
     "Without its key material an encrypted disk is lost. Restore the LUKS header from a backup if there is one."},
    {header_dirty, "header.dirty", warning, Status::good, nowhere, Repair::error,
     "the dirty bit is set: the image was not closed cleanly, or is open now",
     "Refcounts may be out of date; the mapping is not concerned. QEMU rebuilds them when it next opens the image."},
    {header_corrupt, "header.corrupt", error, Status::corrupt_flag, nowhere, Repair::error,
     "the corrupt bit is set: QEMU noticed damage while the image was in use and opens it read-only since",
     "It stays set until a repair has found everything in order and clears it."},
    {image_in_use, "image.in-use", warning, Status::good, nowhere, Repair::user,
     "another process has the image open for writing; what is reported below may be about to change",
     "Check again when it is closed, or use -l to insist."},
    {image_truncated, "image.truncated", error, Status::corrupt, nowhere, Repair::user,
     "the file was cut off: it ends at {found}, and reached up to {expected} at least; {detail}",
     "What lay behind the end is not in this file. Bring the rest back from wherever the image was copied from before "
     "anything else."},
    {backing_missing, "backing.missing", error, Status::corrupt, nowhere, Repair::user, "backing file {detail}",
     "QEMU can't open the image without it: unallocated clusters are read from there. Bring it back, or give its new "
     "name with -m rebase. -b checks the image without a look at it."},
    {backing_loop, "backing.loop", error, Status::corrupt, nowhere, Repair::user,
     "the backing chain comes back to {detail}",
     "No program can open such a chain. One of the names is wrong: set it right with -m rebase. -b checks the image "
     "without a look at it."},
    {backing_elsewhere, "backing.elsewhere", warning, Status::good, nowhere, Repair::user, "backing file {detail}",
     "A guest with this image reads that file, too. If you don't know who made the image, make sure that it may: the "
     "name can lead to any file of this machine. -b keeps this program from opening it."},
    {backing_size, "backing.size", warning, Status::good, nowhere, Repair::none,
     "backing file {detail} is larger ({found_n} bytes) than this disk ({expected_n} bytes)",
     "What lies behind the end of this disk is not visible through it."},
    {backing_format, "backing.format", warning, Status::good, nowhere, Repair::user, "backing file {detail}",
     "Record the right format with -m rebase: a guessed format is a security risk."},
    {data_file_missing, "data-file.missing", error, Status::corrupt, nowhere, Repair::user,
     "external data file {detail}",
     "QEMU can't open the image without it: all guest data lies in that file, this image is only its map. -b checks "
     "the image without a look at it."},
    {data_file_elsewhere, "data-file.elsewhere", warning, Status::good, nowhere, Repair::user,
     "external data file {detail}",
     "A guest with this image reads and writes that file. If you don't know who made the image, make sure that it may: "
     "the name can lead to any file of this machine. -b keeps this program from opening it."},
    {data_file_past_end, "data-file.past-end", error, Status::corrupt, nowhere, Repair::none,
     "{where} refers to {host} of the data file, past its end ({expected})",
     "The data file was truncated, or is not the one that belongs to this image."},
    {data_file_not_identity, "data-file.not-identity", error, Status::corrupt, nowhere, Repair::user,
     "{where} maps guest offset {guest} to {found} of the data file; in a data file the two must be equal",
     "Programs that read the data file directly see other data than the guest."},
    {data_file_reuse, "data-file.reuse", error, Status::refcount, nowhere, Repair::user,
     "cluster {host} of the data file is used by {found_n} guest clusters: {detail}",
     "Only one of them can be the owner of the data. QEMU puts a guest cluster at its own offset in the data file: the "
     "others' data is there, if anywhere."},
    {l1_unreadable, "l1.unreadable", error, Status::corrupt, nowhere, Repair::none,
     "L1 table at {host} can't be read: {detail}", "The disk below fails. Copy it (ddrescue) before anything else."},
    {l1_truncated, "l1.truncated", error, Status::corrupt, nowhere, Repair::edit,
     "L1 table at {host} ({found_n} bytes) runs past the end of the file ({expected})",
     "The entries behind the end are lost; their L2 tables may still be in the file."},
    {l1_reserved, "l1.reserved", error, Status::corrupt, corruption, Repair::error,
     "{where} is {found}: reserved bits are set", "Probably garbage was written into the L1 table."},
    {l1_unaligned, "l1.unaligned", error, Status::corrupt, corruption, Repair::edit,
     "{where} points at an L2 table at {found}, which is not cluster-aligned",
     "The guest clusters behind this entry can't be reached. Their L2 table is usually still in the file."},
    {l1_past_end, "l1.past-end", error, Status::corrupt, corruption, Repair::edit,
     "{where} points at an L2 table at {found}, past the end of the file ({expected})",
     "The file was truncated, or the entry overwritten; the guest clusters behind it can't be reached."},
    {l1_no_offset, "l1.no-offset", error, Status::corrupt, nowhere, Repair::error,
     "{where} is {found}: it has flags but no offset",
     "The entry names the header as its L2 table. Zero it if no L2 "
     "table was lost here."},
    {l1_no_table, "l1.no-table", error, Status::corrupt, nowhere, Repair::edit,
     "{where} names {host}, which holds {detail}, no L2 table",
     "Its entries are counted, but not listed: none of them means anything. The guest clusters behind it can't be "
     "reached. Either the L1 entry is wrong, and their L2 table is still in the file; or the table was overwritten."},
    {l1_copied, "l1.copied", error, Status::copied, corruption, Repair::error,
     "{where} is {found}: COPIED is {detail} but the L2 table at {host} has refcount {expected_n}",
     "With COPIED wrongly set, a write would change snapshots too; wrongly clear it costs a copy."},
    {l2_unreadable, "l2.unreadable", error, Status::corrupt, nowhere, Repair::none,
     "L2 table at {host} ({where}) can't be read: {detail}",
     "The disk below fails. Copy it (ddrescue) before anything else."},
    {l2_truncated, "l2.truncated", error, Status::corrupt, nowhere, Repair::edit,
     "L2 table at {host} ({where}) runs past the end of the file ({expected})",
     "The entries behind the end read as unallocated."},
    {l2_reserved, "l2.reserved", error, Status::corrupt, corruption, Repair::error,
     "{where} is {found}: reserved bits are set", "Probably garbage was written into the L2 table."},
    {l2_unaligned, "l2.unaligned", error, Status::corrupt, corruption, Repair::user,
     "{where} maps guest offset {guest} to {found}, which is not cluster-aligned",
     "QEMU fails when the guest reads there. The entries around it often tell the right value."},
    {l2_past_end, "l2.past-end", error, Status::corrupt, corruption, Repair::none,
     "{where} maps guest offset {guest} to {found}, past the end of the file ({expected})",
     "The data isn't in the file: it was truncated, or the entry is garbage."},
    {l2_zero_v2, "l2.zero-v2", error, Status::corrupt, nowhere, Repair::error,
     "{where} is {found}: the zero flag doesn't exist in version 2 images",
     "QEMU marks the image corrupt when the guest reads there."},
    {l2_zero_extended, "l2.zero-extended", error, Status::corrupt, nowhere, Repair::error,
     "{where} is {found}: bit 0 must be clear with extended L2 entries", "Zeroes are marked in the subcluster bitmap."},
    {l2_bitmap, "l2.bitmap", error, Status::corrupt, corruption, Repair::user,
     "{where} has subcluster bitmap {found}: subclusters are marked allocated and zero at once",
     "QEMU fails when the guest reads there. The data of the subclusters is still in the cluster."},
    {l2_bitmap_unallocated, "l2.bitmap-unallocated", error, Status::corrupt, corruption, Repair::user,
     "{where} has no host cluster, but subcluster bitmap {found} marks subclusters as allocated",
     "The offset of the cluster was lost; it may be among the leaked ones."},
    {l2_beyond_end, "l2.beyond-end", warning, Status::good, nowhere, Repair::none,
     "{where} maps guest offset {guest}, beyond the end of the disk ({expected}) and no VM state of a snapshot",
     "The guest can't see this data. If the virtual size was changed by mistake, the disk was larger once."},
    {l2_copied, "l2.copied", error, Status::copied, corruption, Repair::error,
     "{where} is {found}: COPIED is {detail} but the cluster at {host} has refcount {expected_n}",
     "With COPIED wrongly set, a write would change snapshots too; wrongly clear it costs a copy."},
    {l2_lost, "l2.lost", error, Status::corrupt, nowhere, Repair::user,
     "the L2 table at {host} belongs to no L1 entry, and {found_n} of the {expected_n} clusters that it maps are "
     "mapped "
     "by nothing else",
     "An L1 entry that named it was zeroed or garbled, and the part of the disk behind it can't be read. The table and "
     "its data are still in the file: don't let anything free leaked clusters."},
    {compressed_copied, "compressed.copied", error, Status::copied, corruption, Repair::error,
     "{where} is {found}: a compressed cluster never has COPIED", "The flag may simply be cleared."},
    {compressed_data_file, "compressed.data-file", error, Status::corrupt, corruption, Repair::none,
     "{where} is {found}: compressed clusters can't exist with an external data file", "Probably a garbage entry."},
    {compressed_bitmap, "compressed.bitmap", error, Status::corrupt, corruption, Repair::error,
     "{where} is compressed but has subcluster bitmap {found}", "The bitmap of a compressed cluster must be zero."},
    {compressed_high_bits, "compressed.high-bits", error, Status::corrupt, nowhere, Repair::none,
     "{where} is {found}: a compressed cluster beyond offset 2^56", "Probably a garbage entry."},
    {compressed_past_end, "compressed.past-end", error, Status::corrupt, corruption, Repair::none,
     "{where} maps guest offset {guest} to compressed data at {host}, {found_n} bytes, past the end of the file "
     "({expected})",
     "The data isn't in the file: it was truncated, or the entry is garbage."},
    {compressed_payload, "compressed.payload", error, Status::corrupt, nowhere, Repair::none,
     "{where}: the compressed data of guest offset {guest} at {host} doesn't decompress: {detail}",
     "The cluster's content was overwritten; it can only come from a backup."},
    {reftable_unreadable, "reftable.unreadable", error, Status::corrupt, nowhere, Repair::error,
     "refcount table at {host} can't be read: {detail}", "The disk below fails. Copy it (ddrescue) first."},
    {reftable_reserved, "reftable.reserved", error, Status::corrupt, corruption, Repair::error,
     "refcount table entry {index} is {found}: reserved bits are set",
     "Refcounts can be rebuilt completely from the mapping."},
    {reftable_unaligned, "reftable.unaligned", error, Status::corrupt, corruption, Repair::error,
     "refcount table entry {index} points at a refcount block at {found}, which is not cluster-aligned",
     "Refcounts can be rebuilt completely from the mapping."},
    {reftable_past_end, "reftable.past-end", error, Status::corrupt, corruption, Repair::error,
     "refcount table entry {index} points at a refcount block at {found}, past the end of the file ({expected})",
     "Refcounts can be rebuilt completely from the mapping."},
    {reftable_shared, "reftable.shared", error, Status::corrupt, corruption, Repair::error,
     "refcount table entry {index}: the refcount block at {host} is used {found_n} times: {detail}",
     "Refcounts can be rebuilt completely from the mapping."},
    {refblock_unreadable, "refblock.unreadable", error, Status::corrupt, nowhere, Repair::error,
     "refcount block {index} at {host} can't be read: {detail}", "The disk below fails. Copy it (ddrescue) first."},
    {refblock_truncated, "refblock.truncated", error, Status::corrupt, nowhere, Repair::error,
     "refcount block {index} at {host} runs past the end of the file ({expected})",
     "Refcounts can be rebuilt completely from the mapping."},
    {refblock_garbage, "refblock.garbage", error, Status::corrupt, nowhere, Repair::error,
     "refcount block {index} at {host} holds {detail}, no refcounts",
     "Its refcounts are counted as they are, but not listed: none of them means anything, and COPIED flags that "
     "disagree with them aren't wrong. Refcounts can be rebuilt completely from the mapping."},
    {refcount_low, "refcount.low", error, Status::refcount, corruption, Repair::error,
     "cluster {index} at {host} has refcount {found_n} but {expected_n} references{detail}",
     "The cluster may be handed out again while it is in use: don't write to the image before it is repaired."},
    {refcount_overflow, "refcount.overflow", error, Status::refcount, corruption, Repair::none,
     "cluster {index} at {host} has {found_n} references, more than a refcount of this image can hold ({expected_n})",
     "Copy the image (qemu-img convert): its refcount width doesn't allow this."},
    {refcount_leak, "refcount.leak", leak, Status::leak, Counted::leak, Repair::leak,
     "cluster {index} at {host} has refcount {found_n} but {expected_n} references",
     "Space that nobody uses. No harm to data, unless a lost table is the reason: look before freeing it."},
    {refcount_past_end, "refcount.past-end", warning, Status::good, nowhere, Repair::leak,
     "cluster {index} at {host} has refcount {found_n}, but lies past the end of the file ({expected})",
     "The file may have been truncated. Nothing refers to the cluster."},
    {cluster_reuse, "cluster.reuse", error, Status::refcount, nowhere, Repair::reuse,
     "cluster {index} at {host} holds data of several guest clusters: {detail}",
     "Only one of them can be the owner of the data: the others were overwritten, and every write goes to both."},
    {cluster_on_metadata, "cluster.on-metadata", error, Status::refcount, nowhere, Repair::reuse,
     "cluster {index} at {host} is guest data and metadata at once: {detail}",
     "A write by the guest would destroy the metadata: don't start it before the image is repaired."},
    {cluster_compressed_overlap, "cluster.compressed-overlap", error, Status::refcount, nowhere, Repair::reuse,
     "cluster {index} at {host} holds compressed data and something else at once: {detail}",
     "QEMU itself makes this: it goes on filling a cluster with compressed data when that was freed meanwhile and "
     "given "
     "to somebody else, data or VM state. So the compressed data is usually whole (-c tells), the other has lost the "
     "bytes where it lies, and the refcount covers both: `qemu-img check` finds nothing, unless COPIED is set. Where "
     "the refcount is too low, an entry was garbled instead. A write to the one destroys the other."},
    {metadata_overlap, "metadata.overlap", error, Status::refcount, nowhere, Repair::reuse,
     "cluster {index} at {host} is used by two metadata structures: {detail}",
     "An update of the one destroys the other: don't write to the image before it is repaired."},
    {snapshot_table, "snapshot.table", error, Status::snapshot, nowhere, Repair::error,
     "snapshot table ({found_n} snapshots, offset {host}): {detail}",
     "The snapshots can't be reached; the active disk is not concerned. Freeing leaks now would destroy them."},
    {snapshot_entry, "snapshot.entry", error, Status::snapshot, nowhere, Repair::error,
     "snapshot table entry {index} at {host}: {detail}",
     "This snapshot and those behind it can't be reached. Freeing leaks now would destroy them."},
    {snapshot_extra_data, "snapshot.extra-data", error, Status::snapshot, nowhere, Repair::error,
     "snapshot table entry {index} at {host} has {found_n} bytes of extra data; QEMU accepts 1024 at most",
     "QEMU refuses to open the image."},
    {snapshot_incomplete, "snapshot.incomplete", error, Status::snapshot, corruption, Repair::error,
     "snapshot table entry {index} at {host} has {found_n} bytes of extra data; a version 3 image needs 16 at least",
     "Disk size and VM state size of the snapshot are not recorded: the active disk's size is assumed."},
    {snapshot_duplicate_id, "snapshot.duplicate-id", error, Status::snapshot, nowhere, Repair::user,
     "snapshot table entries {found_n} and {index} have the same ID {detail}",
     "Commands that name the ID can't tell them apart. Give one of them another: -m edit, snapshot[N].id."},
    {snapshot_size_zero, "snapshot.size-zero", error, Status::snapshot, nowhere, Repair::user,
     "snapshot table entry {index} {detail} records a disk size of 0 but maps data",
     "Going back to this snapshot would leave a disk of no size. If you know it: -m edit, snapshot[N].disk_size."},
    {snapshot_l1_unaligned, "snapshot.l1-unaligned", error, Status::snapshot, corruption, Repair::user,
     "snapshot table entry {index} {detail} has its L1 table at {found}, which is not cluster-aligned",
     "The snapshot can't be read. Freeing leaks now would destroy it. If you know where its table is: -m edit, "
     "snapshot[N].l1_table_offset; if it may go: -D."},
    {snapshot_l1_size, "snapshot.l1-size", error, Status::snapshot, corruption, Repair::user,
     "snapshot table entry {index} {detail} has an L1 table of {found_n} entries; {expected_n} are possible at most",
     "The snapshot can't be read. Freeing leaks now would destroy it."},
    {snapshot_l1_past_end, "snapshot.l1-past-end", error, Status::snapshot, nowhere, Repair::user,
     "snapshot table entry {index} {detail} has its L1 table at {found}, past the end of the file ({expected})",
     "The snapshot's mapping is lost. Freeing leaks now would destroy its data."},
    {snapshot_l1_short, "snapshot.l1-short", error, Status::snapshot, nowhere, Repair::user,
     "snapshot table entry {index} {detail} has an L1 table of {found_n} entries; its disk size needs {expected_n}",
     "QEMU refuses to go back to this snapshot."},
    {snapshot_data_file, "snapshot.data-file", error, Status::snapshot, corruption, Repair::user,
     "the image has {found_n} snapshots, which can't exist with an external data file",
     "The snapshots' data can't be told from the active disk's."},
    {bitmaps_missing, "bitmaps.missing", error, Status::snapshot, nowhere, Repair::error,
     "autoclear bit 0 says that the image has bitmaps, but the bitmaps extension is missing",
     "The guest's data is not concerned; the next backup must be a full one."},
    {bitmaps_stale, "bitmaps.stale", warning, Status::good, nowhere, Repair::none,
     "the bitmaps extension isn't valid any more (autoclear bit 0 is clear): a program without bitmap support wrote to "
     "the image",
     "The bitmaps' clusters are leaked. The next backup must be a full one."},
    {bitmaps_extension, "bitmaps.extension", error, Status::snapshot, nowhere, Repair::error,
     "bitmaps extension: {detail}", "QEMU refuses to open the image. The guest's data is not concerned."},
    {bitmaps_directory, "bitmaps.directory", error, Status::snapshot, nowhere, Repair::error,
     "bitmap directory at {host} ({found_n} bytes): {detail}",
     "QEMU refuses to open the image. The guest's data is not concerned."},
    {bitmap_entry, "bitmap.entry", error, Status::snapshot, nowhere, Repair::error, "bitmap {detail}",
     "QEMU refuses to open the image. The guest's data is not concerned."},
    {bitmap_table, "bitmap.table", error, Status::snapshot, nowhere, Repair::error,
     "bitmap {detail} has its table at {found}, past the end of the file ({expected})",
     "The bitmap is lost; the next backup must be a full one."},
    {bitmap_table_entry, "bitmap.table-entry", error, Status::snapshot, nowhere, Repair::error,
     "bitmap {detail}, table entry {index} is {found}: reserved bits, unaligned or past the end of the file",
     "The bitmap is lost; the next backup must be a full one."},
    {bitmap_in_use, "bitmap.in-use", warning, Status::good, nowhere, Repair::none,
     "bitmap {detail} is marked in use: it was not saved cleanly, or the image is open now",
     "Its content can't be trusted; the next backup must be a full one."},
    {bitmap_duplicate_name, "bitmap.duplicate-name", error, Status::snapshot, nowhere, Repair::user,
     "two bitmaps are called {detail}", "Names must be unique within an image."},
}};

constexpr bool in_order() {
  for (std::size_t i = 0; i < table.size(); ++i) {
    if (table[i].code != static_cast<Code>(i)) return false;
  }
  return true;
}
static_assert(in_order(), "the rows stand in the order of the codes");

}  // namespace

std::string_view status_name(Status status) {
  constexpr std::array<std::string_view, 7> names{"good",     "leak",     "copied", "corrupt-flag",
                                                  "refcount", "snapshot", "corrupt"};
  return names[static_cast<std::size_t>(status)];
}

std::string_view repair_name(Repair repair) {
  constexpr std::array<std::string_view, 6> names{"none", "user", "leak", "error", "reuse", "edit"};
  return names[static_cast<std::size_t>(repair)];
}

std::span<const Problem> problems() { return table; }

const Problem& problem(Code code) { return table[static_cast<std::size_t>(code)]; }

std::optional<Code> find_code(std::string_view name) {
  for (const Problem& row : table) {
    if (row.name == name) return row.code;
  }
  return std::nullopt;
}

}  // namespace qd::check
