// Metadata other than the mapping: snapshot table, refcount table, bitmaps. What they occupy is claimed as it is met.
// Specification: "Snapshots", "Host cluster management", "Bitmaps".
#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "base/checked.h"
#include "base/endian.h"
#include "base/number.h"
#include "check/content.h"
#include "check/passes.h"

namespace qd::check {
namespace {

// Claims the clusters of one structure. One that lies past the end of the file counts as a corruption and nothing
// else, as in QEMU.
bool claim(Context& c, MetadataUse use) {
  if (use.bytes == 0) return true;
  if (c.past_end(use.offset, use.bytes)) {
    c.claim_beyond(use.offset, use.bytes);
    ++c.result.totals.corruptions;
    return false;
  }
  const ClusterIndex first = c.geometry().cluster(use.offset);
  const ClusterIndex last = c.geometry().cluster(use.offset + (use.bytes - 1));
  c.claims->claim(first, last - first + 1, 1);
  if (!c.metadata.empty()) {
    MetadataUse& before = c.metadata.back();
    if (before.kind == use.kind && before.kind == OwnerKind::bitmap_data && before.index == use.index &&
        before.offset + before.bytes == use.offset) {
      before.bytes += use.bytes;
      return true;
    }
  }
  c.metadata.push_back(use);
  return true;
}

// Each finding about a snapshot's or a bitmap's tables holds its name, which is cut: a hundred thousand findings stay a
// report.
std::string shortened(const std::string& name) {
  constexpr std::size_t most = 128;
  return name.size() > most ? name.substr(0, most) + "..." : name;
}

std::string snapshot_label(const format::Snapshot& s) {
  return fmt::format("{} (\"{}\")", shortened(s.id), shortened(s.name));
}

Finding snapshot_finding(Code code, std::uint64_t index, const format::Snapshot& s) {
  Finding f;
  f.code = code;
  f.index = index;
  f.state = static_cast<std::int32_t>(index);
  f.host = s.at;
  f.detail = fmt::format("(ID {}, \"{}\")", shortened(s.id), shortened(s.name));
  return f;
}

// Can the snapshot's tables be walked? Judged as QEMU's check does, so that we see what it sees.
bool check_snapshot_l1(Context& c, std::uint64_t index, const format::Snapshot& s) {
  const format::Geometry& g = c.geometry();
  Finding f = snapshot_finding(Code::snapshot_l1_unaligned, index, s);
  f.found = s.l1_offset.value;
  if (g.offset_in_cluster(s.l1_offset.value) != 0) return c.report(f), false;
  f.found = s.l1_size;
  f.expected = format::max_l1_entries;
  f.code = Code::snapshot_l1_size;
  if (s.l1_size > format::max_l1_entries) return c.report(f), false;

  const std::uint64_t bytes = std::uint64_t{s.l1_size} * 8;
  if (s.l1_size > 0 && c.past_end(s.l1_offset, bytes)) {
    f.code = Code::snapshot_l1_past_end;
    f.found = s.l1_offset.value;
    f.expected = c.size();
    c.report(f);
  } else if (c.cut_off(s.l1_offset, bytes)) {
    f.code = Code::l1_truncated;
    f.host = s.l1_offset;
    f.found = bytes;
    f.expected = c.image.file().size();
    c.report(f);
  }
  const std::uint64_t needed = g.l1_entries_for(s.disk_size);
  if (s.l1_size < needed && s.extra_data_size >= 16) {
    f.code = Code::snapshot_l1_short;
    f.host = s.at;
    f.found = s.l1_size;
    f.expected = needed;
    c.report(f);
  }
  return true;
}

void check_snapshot_entry(Context& c, std::uint64_t index, const format::Snapshot& s,
                          std::map<std::string, std::uint64_t>& ids) {
  if (s.extra_data_size > format::max_snapshot_extra_bytes) {
    Finding f = snapshot_finding(Code::snapshot_extra_data, index, s);
    f.found = s.extra_data_size;
    c.report(f);
  } else if (const bool incomplete = c.image.header.version >= 3 && s.extra_data_size < 16;
             s.id.empty() && s.l1_size == 0) {
    Finding f = snapshot_finding(Code::snapshot_entry, index, s);
    f.detail = "it has neither an ID nor an L1 table: what lies there is no entry";
    c.report(f);
    c.result.totals.corruptions += incomplete;  // QEMU counts that
  } else if (incomplete) {
    Finding f = snapshot_finding(Code::snapshot_incomplete, index, s);
    f.found = s.extra_data_size;
    c.report(f);
  }
  const auto [first, fresh] = ids.emplace(s.id, index);
  if (!fresh && !s.id.empty()) {
    Finding f = snapshot_finding(Code::snapshot_duplicate_id, index, s);
    f.found = first->second;
    f.detail = shortened(s.id);
    c.report(f);
  }
  c.vm_state = std::max(c.vm_state, s.vm_state_size);
  if (!check_snapshot_l1(c, index, s)) return;
  c.result.states.push_back({static_cast<std::int32_t>(index), s.l1_offset, s.l1_size, s.disk_size, s.vm_state_size});
}

// QEMU leaves no offset where there are no snapshots.
void check_no_snapshots(Context& c) {
  const std::uint64_t at = c.image.header.snapshots_offset;
  Finding f;
  f.code = Code::snapshot_table;
  f.host = HostOffset(at);
  f.found = 0;
  if (c.geometry().offset_in_cluster(at) != 0 || at >= format::max_host_offset) {
    f.detail = "the table's offset is not cluster-aligned or impossible; QEMU refuses that even where there are none";
    c.report(f);
  } else if (const std::uint64_t there = image::snapshot_entries_at(c.image, at).count; there > 0) {
    f.detail = fmt::format("what lies there reads as {}", counted(there, "snapshot", "snapshots"));
    c.report(f);
  }
}

}  // namespace

void check_snapshots(Context& c) {
  const format::Header& h = c.image.header;
  const image::SnapshotTable& table = c.image.snapshots;
  std::map<std::string, std::uint64_t> ids;

  // The active state comes first. An L1 table at an impossible place is not walked, an impossibly long one as far as
  // the disk needs it.
  image::State active{-1, HostOffset(h.l1_table_offset), h.l1_size, h.size, 0};
  const std::uint64_t most = format::max_l1_entries;
  if (c.geometry().offset_in_cluster(h.l1_table_offset) != 0) active.l1_size = 0;
  if (active.l1_size > most) {
    active.l1_size = static_cast<std::uint32_t>(std::min(most, c.geometry().l1_entries_for(h.size)));
  }
  c.result.states.push_back(active);

  if (table.stop) {
    Finding f;
    f.code = table.stop->index == 0 ? Code::snapshot_table : Code::snapshot_entry;
    f.index = table.stop->index;
    f.host = table.stop->at;
    f.found = h.nb_snapshots;
    f.detail = table.stop->reason;
    c.report(f);
  }
  if (h.nb_snapshots == 0) check_no_snapshots(c);
  if (table.missing > 0) {
    Finding f;
    f.code = Code::snapshot_table;
    f.host = HostOffset(h.snapshots_offset);
    f.found = h.nb_snapshots;
    f.detail = fmt::format("the last {} of them lie past the end of the file (0x{:x})", table.missing, c.size());
    c.report(f);
    // QEMU reads zeros there: entries that lack the extra data a version 3 image needs.
    if (h.version >= 3) c.result.totals.corruptions += table.missing;
  }
  if (c.geometry().data_file && h.nb_snapshots > 0) {
    Finding f;
    f.code = Code::snapshot_data_file;
    f.found = h.nb_snapshots;
    c.report(f);
  }
  for (std::uint64_t i = 0; i < table.entries.size(); ++i) {
    c.result.snapshot_names.push_back(snapshot_label(table.entries[i]));
    check_snapshot_entry(c, i, table.entries[i], ids);
  }
  c.result.states[0].vm_state = c.vm_state;
}

void check_sizes(Context& c) {
  for (std::size_t s = 0; s < c.result.states.size(); ++s) {
    const image::State& state = c.result.states[s];
    const StateReport& report = c.result.reports[s];
    const std::uint64_t mapped = report.data_clusters + report.compressed;
    if (state.disk_size != 0 || mapped == 0) continue;
    Finding f;
    f.code = Code::header_virtual_size;
    f.found = 0;
    f.detail = fmt::format("but {} guest clusters are mapped", mapped);
    if (state.snapshot >= 0) {
      const auto index = static_cast<std::size_t>(state.snapshot);
      f = snapshot_finding(Code::snapshot_size_zero, index, c.image.snapshots.entries[index]);
    }
    c.report(f);
  }
}

void check_end(Context& c) {
  if (c.furthest == 0) return;
  Finding f;
  f.code = Code::image_truncated;
  f.found = c.image.file().size();
  f.expected = c.furthest;
  for (std::size_t s = 0; s < c.result.states.size(); ++s) {
    const std::uint64_t lost = c.result.reports[s].cut_off;
    const std::int32_t snapshot = c.result.states[s].snapshot;
    if (lost == 0) continue;
    const std::string who =
        snapshot < 0 ? "the active disk" : "snapshot " + c.result.snapshot_names[static_cast<std::size_t>(snapshot)];
    f.detail += fmt::format("{}{} lacks {} cluster{}", f.detail.empty() ? "" : ", ", who, lost, lost == 1 ? "" : "s");
  }
  c.report(f);
}

void claim_metadata(Context& c) {
  const format::Header& h = c.image.header;
  claim(c, {OwnerKind::header, HostOffset(0), c.geometry().cluster_size()});
  for (const image::State& s : c.result.states) {
    claim(c, {OwnerKind::l1_table, s.l1_offset, std::uint64_t{s.l1_size} * 8, s.snapshot});
  }
  const std::uint64_t snapshot_bytes = c.image.snapshots.bytes;
  claim(c, {OwnerKind::snapshot_table, HostOffset(h.snapshots_offset), snapshot_bytes});
  if (c.cut_off(HostOffset(h.snapshots_offset), snapshot_bytes) && !c.image.snapshots.entries.empty() &&
      c.image.snapshots.missing == 0) {
    Finding f;
    f.code = Code::snapshot_entry;
    f.index = c.image.snapshots.entries.size() - 1;
    f.host = c.image.snapshots.entries.back().at;
    f.detail = fmt::format("it runs past the end of the file (0x{:x})", c.image.file().size());
    c.report(f);
  }
  if (c.image.refcounts_readable && c.geometry().offset_in_cluster(h.refcount_table_offset) == 0) {
    const std::uint64_t bytes = std::uint64_t{h.refcount_table_clusters} << c.geometry().cluster_bits;
    if (bytes <= format::max_reftable_bytes) {
      claim(c, {OwnerKind::refcount_table, HostOffset(h.refcount_table_offset), bytes});
    }
  }
  if (c.image.crypt && h.crypt_method == 2 && c.image.crypt->bytes <= format::max_crypt_header_bytes) {
    claim(c, {OwnerKind::crypt_header, c.image.crypt->offset, c.image.crypt->bytes});
  }
}

void judge_refcount_blocks(Context& c, image::Refcounts& refcounts) {
  const auto& entries = refcounts.entries();
  std::map<HostOffset, std::optional<std::string>> none;  // what it reads as, if it isn't one: many entries may name it
  for (std::uint64_t i = 0; i < entries.size(); ++i) {
    const HostOffset at(entries[i].raw & format::reftable_offset_mask);
    if (!entries[i].block || !refcounts.entry_in_order(i, c.size())) continue;
    const auto [known, fresh] = none.try_emplace(at);
    if (fresh && is_no_refcount_block(c.image, *entries[i].block, at)) known->second = reads_as(c.image, at);
    if (!known->second) continue;
    refcounts.mark_garbage(i);
    Finding f;
    f.code = Code::refblock_garbage;
    f.index = i;
    f.host = at;
    f.detail = *known->second;
    c.report(f);
  }
}

void check_refcount_table(Context& c) {
  const auto& entries = c.refcounts->entries();
  if (!c.refcounts->table_error().empty()) {
    Finding f;
    f.code = Code::reftable_unreadable;
    f.host = c.refcounts->table_offset();
    f.detail = c.refcounts->table_error();
    c.report(f);
  }
  TableCounts& counts = c.result.refcount_table;
  for (std::uint64_t i = 0; i < entries.size(); ++i) {
    const auto& e = entries[i];
    const std::uint64_t offset = e.raw & format::reftable_offset_mask;
    Finding f;
    f.index = i;
    f.host = HostOffset(offset);
    f.found = offset;
    f.expected = c.size();
    const auto report = [&](Code code, std::uint64_t& counter) {
      f.code = code;
      c.report(f);
      ++counter;
    };
    // In QEMU's order: an entry is blamed for one thing, and counts as a reference only if it is in order.
    if (e.raw & format::reftable_reserved_mask) {
      f.found = e.raw;
      report(Code::reftable_reserved, counts.invalid);
    } else if (e.state == image::BlockState::unaligned) {
      report(Code::reftable_unaligned, counts.unaligned);
    } else if (offset >= c.size()) {
      report(Code::reftable_past_end, counts.invalid);
    } else if (c.refcounts->entry_in_order(i, c.size())) {
      ++counts.used;
      c.claims->claim(c.geometry().cluster(HostOffset(offset)), 1, 1);
      if (e.state == image::BlockState::unreadable) {
        f.code = Code::refblock_unreadable;
        f.detail = c.refcounts->block_errors().at(i);
        c.report(f);
      } else if (c.cut_off(HostOffset(offset), c.geometry().cluster_size())) {
        f.expected = c.image.file().size();
        f.code = Code::refblock_truncated;
        c.report(f);
      }
    }
  }
  const std::uint64_t total = c.refcounts->table_bytes() / 8;
  const std::uint64_t blamed = counts.invalid + counts.unaligned + counts.used;
  counts.unused = total > blamed ? total - blamed : 0;
}

namespace {

std::string bitmap_label(const format::Bitmap& b) { return fmt::format("\"{}\"", shortened(b.name)); }

void check_bitmap_extension(Context& c, const format::RawBitmapsExtension& e) {
  const auto broken = [&](std::string why) {
    Finding f;
    f.code = Code::bitmaps_extension;
    f.detail = std::move(why);
    c.report(f);
  };
  if (e.reserved.get() != 0) broken("its reserved field is not zero");
  if (e.count.get() == 0) broken("it promises no bitmap at all");
  if (e.count.get() > format::max_bitmaps) {
    broken(fmt::format("it promises {} bitmaps; {} are possible", e.count.get(), format::max_bitmaps));
  }
}

// What the directory entry says, before its table is read.
bool check_bitmap_entry(Context& c, const format::Bitmap& b) {
  const auto broken = [&](std::string_view why) {
    Finding f;
    f.code = Code::bitmap_entry;
    f.host = b.at;
    f.detail = fmt::format("{}: {}", bitmap_label(b), why);
    c.report(f);
    return false;
  };
  if (b.flags & format::bitmap_in_use) {
    Finding f;
    f.code = Code::bitmap_in_use;
    f.host = b.at;
    f.detail = bitmap_label(b);
    c.report(f);
  }
  if (b.type != 1) return broken(fmt::format("type {} is unknown", b.type));
  if (b.flags & ~7u) return broken(fmt::format("flags 0x{:x}: reserved bits are set", b.flags));
  if (b.granularity_bits < 9 || b.granularity_bits > 31) {
    return broken(fmt::format("granularity 2^{} is impossible (2^9 to 2^31)", b.granularity_bits));
  }
  if (b.name.empty() || b.name_bytes > format::most_name_bytes) {
    return broken("its name is empty or longer than 1023 bytes");
  }
  if (b.extra_data_size != 0) return broken("it has extra data, which QEMU doesn't accept");
  if (b.table_size == 0 || b.table_size > format::max_bitmap_table_entries) {
    return broken(fmt::format("a table of {} entries is impossible", b.table_size));
  }
  if (b.table_offset.value == 0 || c.geometry().offset_in_cluster(b.table_offset.value) != 0) {
    return broken(fmt::format("its table's offset 0x{:x} is zero or not cluster-aligned", b.table_offset.value));
  }
  // One bit for each piece of the disk, in whole 64-bit words.
  const std::uint64_t disk = c.image.header.size / format::sector * format::sector;
  const std::uint64_t bits = divide_up(disk, std::uint64_t{1} << b.granularity_bits);
  const std::uint64_t needed = c.geometry().clusters(divide_up(bits, 64) * 8);
  if (!(b.flags & format::bitmap_in_use) && needed != b.table_size) {
    return broken(fmt::format("its table has {} entries, the disk needs {}", b.table_size, needed));
  }
  return true;
}

void check_bitmap_table(Context& c, const format::Bitmap& b, std::uint64_t index) {
  const std::uint64_t bytes = std::uint64_t{b.table_size} * 8;
  Finding f;
  f.detail = bitmap_label(b);
  f.host = b.table_offset;
  if (!claim(c, {OwnerKind::bitmap_table, b.table_offset, bytes, no_state, index}) ||
      b.table_offset.value + bytes > c.size()) {
    f.code = Code::bitmap_table;
    f.found = b.table_offset.value;
    f.expected = c.size();
    c.report(f);
  }
  const auto look_at = [&](std::uint64_t i, std::span<const std::uint64_t> piece) {
    for (std::uint64_t k = 0; k < piece.size(); ++k) {
      const std::uint64_t entry = piece[k], offset = entry & format::offset_mask;
      const bool bad = (entry & format::bitmap_reserved_mask) || (offset != 0 && (entry & 1)) ||
                       c.geometry().offset_in_cluster(offset) != 0;
      if (bad || (offset != 0 && !claim(c, {OwnerKind::bitmap_data, HostOffset(offset), c.geometry().cluster_size(),
                                            no_state, index}))) {
        Finding entry_finding = f;
        entry_finding.code = Code::bitmap_table_entry;
        entry_finding.index = i + k;
        entry_finding.found = entry;
        c.report(entry_finding);
      }
    }
    return true;
  };
  if (auto read = image::for_words(c.image.file(), b.table_offset, b.table_size, look_at); !read) {
    f.code = Code::bitmap_entry;
    f.detail = fmt::format("{}: {}", bitmap_label(b), read.error().message);
    c.report(f);
  }
}

}  // namespace

void check_bitmaps(Context& c) {
  const image::Bitmaps& bitmaps = c.image.bitmaps;
  const bool promised = (c.image.header.autoclear_features & format::autoclear::bitmaps) != 0;
  const format::Extension* e = c.image.find_extension(format::extension::bitmaps);
  if (promised && !e) return c.report({.code = Code::bitmaps_missing});
  if (!e) return;
  if (!bitmaps.extension) {
    Finding f;
    f.code = Code::bitmaps_extension;
    f.detail = fmt::format("it has {} bytes instead of 24", e->data.size());
    return c.report(f);
  }
  if (!bitmaps.valid) return c.report({.code = Code::bitmaps_stale});

  check_bitmap_extension(c, *bitmaps.extension);
  const HostOffset directory(bitmaps.extension->directory_offset.get());
  const std::uint64_t bytes = bitmaps.extension->directory_size.get();
  if (c.geometry().offset_in_cluster(directory.value) == 0 && bytes <= format::max_bitmap_directory_bytes) {
    claim(c, {OwnerKind::bitmap_directory, directory, bytes});
  }
  if (bitmaps.stop) {
    Finding f;
    f.code = Code::bitmaps_directory;
    f.host = directory;
    f.index = bitmaps.stop->index;
    f.found = bytes;
    f.detail = bitmaps.stop->reason;
    c.report(f);
  }
  std::set<std::string> names;
  for (std::uint64_t i = 0; i < bitmaps.entries.size(); ++i) {
    const format::Bitmap& b = bitmaps.entries[i];
    if (!names.insert(b.name).second) {
      Finding f;
      f.code = Code::bitmap_duplicate_name;
      f.host = b.at;
      f.detail = bitmap_label(b);
      c.report(f);
    }
    if (check_bitmap_entry(c, b)) check_bitmap_table(c, b, i);
  }
}

}  // namespace qd::check
