// The snapshot table. Entries have no fixed size, so a damaged one hides all behind it; and only this table points to
// the snapshots' L1 tables. So the table is written anew, in fresh space, from every entry that can be found:
//
//   1. If the header points to no table at all, one is looked for in the clusters that nothing refers to. If exactly
//      one place holds as many sound entries as the header promises, that is the table.
//   2. Entries that can be read are kept as they are, with ID, name, dates and extra data.
//   3. From the first unreadable entry on, the bytes are searched for entries that make sense. A wrong size of the
//      extra data is put right by trying those that programs write. An entry that is known already, or whose L1 table
//      was freed, is left over from an older table.
//   4. A length that is too large swallows the entries behind it. An entry ends where the next one begins, and what
//      lies between tells its lengths; but only if that gives as many entries as the header promises.
//
// What remains unreadable is left out, and the plan says so. Its clusters are not freed: they are all that is left of
// the snapshot.
// Specification: "Snapshots".
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "base/checked.h"
#include "base/number.h"
#include "base/uniform.h"
#include "check/claims.h"
#include "format/snapshot.h"
#include "repair/snapshot_table.h"
#include "repair/steps.h"

namespace qd::repair {
namespace {

using check::Code;
using format::RawSnapshot;

constexpr std::uint64_t search_bytes = 64 << 10;  // looked through for the next entry

using Entry = SnapshotEntry;

bool readable(const std::string& text) {
  return std::ranges::none_of(text, [](unsigned char c) { return c < 0x20 || c == 0x7f; });
}

class Salvage {
 public:
  explicit Salvage(Work& w) : w_(w), g_(w.view.geometry()), header_(w.view.image().header) {}
  void mend();

  bool mend_lengths();

 private:
  std::optional<Entry> entry_with(HostOffset at, const RawSnapshot& raw, std::uint64_t extra_bytes);
  std::optional<Entry> entry(HostOffset at, bool guess);
  bool leads_to_table(const RawSnapshot& raw) const { return image::leads_to_l1_table(w_.view.image(), raw); }
  bool sound(const RawSnapshot& raw) const;
  bool complete(Entry& e, const format::Snapshot* s);
  std::vector<Entry> table_at(HostOffset at, std::uint64_t count);
  bool correct_count(std::size_t kept);
  std::uint64_t known_bytes() const;
  bool has_refcount(ClusterIndex cluster) const;
  bool orphaned(ClusterIndex cluster) const;
  bool find_lost_table();
  bool holds_something(HostOffset at);
  using Found = std::vector<std::pair<HostOffset, Entry>>;
  Found search_behind(const image::Stop& stop);
  void take(Found&& found);
  std::optional<Entry> shortened(HostOffset at, bool last);
  void write(std::uint64_t old_bytes);

  Work& w_;
  const format::Geometry& g_;
  const format::Header& header_;
  std::vector<Entry> entries_;
  bool changed_ = false;
};

bool Salvage::sound(const RawSnapshot& raw) const {
  return leads_to_table(raw) && raw.id_size.get() > 0 && raw.id_size.get() < 256;
}

std::optional<Entry> Salvage::entry_with(HostOffset at, const RawSnapshot& raw, std::uint64_t extra_bytes) {
  Entry e{raw, {}, {}, {}, sizeof raw + extra_bytes + raw.id_size.get() + raw.name_size.get()};
  if (at.value + e.bytes > w_.view.image().file().size()) return std::nullopt;
  const std::vector<std::byte> bytes = w_.view.read(at, e.bytes);
  const auto text = [&](std::uint64_t from, std::size_t n) {
    return std::string(reinterpret_cast<const char*>(bytes.data()) + from, n);
  };
  e.extra.assign(bytes.begin() + sizeof raw, bytes.begin() + static_cast<std::ptrdiff_t>(sizeof raw + extra_bytes));
  e.id = text(sizeof raw + extra_bytes, raw.id_size.get());
  e.name = text(sizeof raw + extra_bytes + e.id.size(), raw.name_size.get());
  if (!readable(e.id) || !readable(e.name)) return std::nullopt;
  return e;
}

// An entry that makes sense. `guess`: also with an extra data size other than it says.
std::optional<Entry> Salvage::entry(HostOffset at, bool guess) {
  if (at.value + sizeof(RawSnapshot) > w_.view.image().file().size()) return std::nullopt;
  RawSnapshot raw;
  const auto bytes = w_.view.read(at, sizeof raw);
  std::ranges::copy(bytes, std::as_writable_bytes(std::span(&raw, 1)).begin());
  if (!sound(raw)) return std::nullopt;
  std::vector<std::uint64_t> sizes;
  if (raw.extra_data_size.get() <= format::max_snapshot_extra_bytes) sizes.push_back(raw.extra_data_size.get());
  if (guess) sizes.insert(sizes.end(), {24, 16, 8, 0});
  for (const std::uint64_t size : sizes) {
    if (auto e = entry_with(at, raw, size)) return e;
  }
  return std::nullopt;
}

// ID and name of an entry that runs past the end of the file: what lies there was read as zeros. Where the ID's length
// is wrong, the name's may be right, and the text ends with the name.
void mend_texts(Entry& e) {
  std::string text = e.id + e.name;
  std::erase(text, '\0');
  const std::size_t name = e.raw.name_size.get(), id = e.raw.id_size.get();
  const std::size_t split = id <= text.size() ? id : name < text.size() ? text.size() - name : text.size();
  e.id = text.substr(0, split);
  e.name = text.substr(split);
}

// Brings an entry to what QEMU accepts. Returns whether anything was wrong with it.
bool Salvage::complete(Entry& e, const format::Snapshot* s) {
  bool wrong = false;
  if (e.extra.size() > format::max_snapshot_extra_bytes) {
    e.extra.resize(format::max_snapshot_extra_bytes);
    w_.editor.act({Code::snapshot_extra_data, true, s ? s->at : HostOffset(0), 0,
                   fmt::format("snapshot {} (\"{}\"): extra data cut to the {} bytes that QEMU accepts", e.id, e.name,
                               format::max_snapshot_extra_bytes),
                   "", ""});
    wrong = true;
  }
  if (header_.version >= 3 && e.extra.size() < 16) {
    const std::size_t had = e.extra.size();
    e.extra.resize(16);
    const be64 vm_state(e.raw.vm_state_size.get()), disk(header_.size);
    const auto put = [&](std::size_t at, const be64& value) {
      std::ranges::copy(std::as_bytes(std::span(&value, 1)), e.extra.begin() + static_cast<std::ptrdiff_t>(at));
    };
    if (had < 8) put(0, vm_state);
    put(8, disk);
    w_.editor.act({Code::snapshot_incomplete, false, s ? s->at : HostOffset(0), 0,
                   fmt::format("snapshot {} (\"{}\"): disk size recorded, {} bytes as the active disk has", e.id,
                               e.name, header_.size),
                   "", ""});
    wrong = true;
  }
  return wrong;
}

std::vector<Entry> Salvage::table_at(HostOffset at, std::uint64_t count) {
  std::vector<Entry> found;
  for (std::uint64_t i = 0; i < count; ++i) {
    auto e = entry(HostOffset(round_up(at.value, 8)), false);
    if (!e) return {};
    at = HostOffset(round_up(at.value, 8) + e->bytes);
    found.push_back(std::move(*e));
  }
  return found;
}

// Has the cluster a refcount, or can its refcount block not tell?
bool Salvage::has_refcount(ClusterIndex cluster) const {
  const image::Refcounts& refcounts = w_.view.refcounts();
  const std::uint64_t b = cluster.value / refcounts.block_entries();
  const image::RefcountBlock* block = b < refcounts.entries().size() ? refcounts.entries()[b].block : nullptr;
  return !block || refcounts.garbage(cluster) || block->all_zero() || refcounts.get(cluster) > 0;
}

bool Salvage::orphaned(ClusterIndex cluster) const {
  return !w_.view.claims().owned.test(cluster.value) && w_.view.result().references(cluster) == 0 &&
         has_refcount(cluster);
}

// A table among the clusters that nothing refers to.
bool Salvage::find_lost_table() {
  constexpr std::uint64_t most = 65536;  // clusters looked into
  const std::uint64_t count = header_.nb_snapshots;
  if (count == 0 || count > format::max_snapshots) return false;
  std::optional<HostOffset> place;
  std::uint64_t looked = 0;
  for (std::uint64_t c = 1; c < w_.view.image().clusters() && looked < most; ++c) {
    if (!orphaned(ClusterIndex(c))) continue;
    ++looked;
    const HostOffset at = g_.offset(ClusterIndex(c));
    if (table_at(at, count).empty()) continue;
    if (place) {
      w_.editor.refuse(Code::snapshot_table,
                       fmt::format("the clusters at 0x{:x} and 0x{:x} both hold what could be the snapshot "
                                   "table; which one is for a person to say",
                                   place->value, at.value));
      return true;
    }
    place = at;
  }
  if (!place) return false;
  w_.leaks.found_again();
  w_.editor.put64(Stage::point, format::field::snapshots_offset.at(), place->value, Code::snapshot_table,
                  fmt::format("snapshot table found again at 0x{:x}, with all {} entries", place->value, count));
  return true;
}

// Searches from the first unreadable entry on, in steps of 8 bytes, for as many entries as the header promises.
Salvage::Found Salvage::search_behind(const image::Stop& stop) {
  const std::uint64_t known = header_.snapshots_offset + w_.view.image().snapshots.bytes;  // up to here all was read
  std::uint64_t at = round_up(std::max(stop.at.value, known), 8), empty_handed = 0;
  const std::uint64_t wanted = std::min<std::uint64_t>(header_.nb_snapshots, format::max_snapshots);
  Found found;
  const auto is_left_over = [&](const Entry& e) {
    const auto same = [&](const Entry& other) {
      return other.id == e.id || other.raw.l1_table_offset.get() == e.raw.l1_table_offset.get();
    };
    return std::ranges::any_of(entries_, same) ||
           std::ranges::any_of(found, [&](const auto& other) { return same(other.second); }) ||
           !has_refcount(g_.cluster(HostOffset(e.raw.l1_table_offset.get())));
  };
  while (entries_.size() + found.size() < wanted && empty_handed < search_bytes && at < w_.view.image().file().size()) {
    if (auto e = entry(HostOffset(at), true); e && !is_left_over(*e)) {
      const std::uint64_t next = round_up(at + e->bytes, 8);
      found.emplace_back(HostOffset(at), std::move(*e));
      at = next;
      empty_handed = 0;
    } else {
      at += 8;
      empty_handed += 8;
    }
  }
  return found;
}

void Salvage::take(Found&& found) {
  for (auto& [at, e] : found) {
    complete(e, nullptr);
    w_.editor.act({Code::snapshot_entry, false, at, e.bytes,
                   fmt::format("snapshot {} (\"{}\") found again at 0x{:x}", e.id, e.name, at.value), "", ""});
    entries_.push_back(std::move(e));
  }
}

bool Salvage::holds_something(HostOffset at) {
  if (at.value == 0 || at.value >= w_.view.image().file().size()) return false;
  const auto bytes = w_.view.read(at, std::min(g_.cluster_size(), w_.view.image().file().size() - at.value));
  return !all_zero(bytes);
}

// Splits what lies between the fixed part of an entry and its end. One of the two lengths at least must be right.
bool split_texts(Entry& e, std::span<const std::byte> tail) {
  const std::size_t id = e.raw.id_size.get(), name = e.raw.name_size.get();
  for (const bool both : {true, false}) {
    for (const std::uint32_t extra : {e.raw.extra_data_size.get(), 24u, 16u, 8u, 0u}) {
      if (extra > std::min<std::size_t>(tail.size(), format::max_snapshot_extra_bytes)) continue;
      std::string text(reinterpret_cast<const char*>(tail.data()) + extra, tail.size() - extra);
      text.erase(text.find_last_not_of('\0') + 1);
      if (text.empty() || !readable(text) || (both && id + name != text.size())) continue;
      const std::size_t split = id > 0 && id <= text.size() ? id : text.size() - std::min(name, text.size());
      if (split == 0) continue;
      e.extra.assign(tail.begin(), tail.begin() + static_cast<std::ptrdiff_t>(extra));
      e.id = text.substr(0, split);
      e.name = text.substr(split);
      return true;
    }
  }
  return false;
}

// An entry whose lengths are wrong. It ends where the next one begins; the last one ends where the zeros begin.
std::optional<Entry> Salvage::shortened(HostOffset at, bool last) {
  const std::uint64_t file_end = w_.view.image().file().size();
  Entry e;
  if (at.value + sizeof e.raw > file_end) return std::nullopt;
  std::ranges::copy(w_.view.read(at, sizeof e.raw), std::as_writable_bytes(std::span(&e.raw, 1)).begin());
  if (!leads_to_table(e.raw)) return std::nullopt;
  const HostOffset tail = at + sizeof e.raw;
  std::uint64_t end =
      std::min(last ? round_up(tail.value + 1, g_.cluster_size()) : tail.value + search_bytes, file_end);
  if (!last) {
    std::uint64_t next = tail.value;
    while (next < end && !entry(HostOffset(next), false)) next += 8;
    if (next >= end) return std::nullopt;
    end = next;
  }
  if (!split_texts(e, w_.view.read(tail, end - tail.value))) return std::nullopt;
  e.bytes = last ? sizeof e.raw + e.extra.size() + e.id.size() + e.name.size() : end - at.value;
  return e;
}

// Writes the whole table anew if the lengths of some entries are wrong, and all entries are found.
bool Salvage::mend_lengths() {
  if (header_.nb_snapshots == 0 || header_.nb_snapshots > format::max_snapshots) return false;
  const HostOffset start(header_.snapshots_offset);
  if (start.value == 0 || g_.offset_in_cluster(start.value) != 0) return false;
  HostOffset at = start;
  Found found;
  std::vector<std::size_t> mended;
  while (found.size() < header_.nb_snapshots) {
    auto e = entry(at, false);
    if (!e) {
      mended.push_back(found.size());
      e = shortened(at, found.size() + 1 == header_.nb_snapshots);
    }
    if (!e) return false;
    const HostOffset next(round_up(at.value + e->bytes, 8));
    found.emplace_back(at, std::move(*e));
    at = next;
  }
  if (mended.empty()) return false;
  for (const std::size_t i : mended) {
    const auto& [place, e] = found[i];
    w_.editor.act({Code::snapshot_entry, false, place, e.bytes,
                   fmt::format("snapshot {} (\"{}\"): its lengths put right, it ends at 0x{:x}", e.id, e.name,
                               place.value + e.bytes),
                   "", ""});
  }
  for (auto& [place, e] : found) {
    complete(e, nullptr);
    entries_.push_back(std::move(e));
  }
  write(at.value - start.value);
  return true;
}

// `old_bytes`: of the table as it is.
void Salvage::write(std::uint64_t old_bytes) {
  const auto at = write_snapshots(w_, entries_);
  if (!at) return;
  const HostOffset place = *at;
  // An impossible count doesn't say that there were entries.
  const bool dropped = header_.nb_snapshots <= format::max_snapshots && entries_.size() < header_.nb_snapshots;
  const std::string what = entries_.empty()
                               ? fmt::format("snapshot table given up, {} can't be read; no cluster is freed",
                                             counted(header_.nb_snapshots, "entry", "entries"))
                               : fmt::format("snapshot table written anew at 0x{:x} with {} of {} entries{}",
                                             place.value, entries_.size(), header_.nb_snapshots,
                                             dropped ? "; the others can't be read, their clusters are not freed" : "");
  w_.editor.act({Code::snapshot_table, dropped, snapshot_field, snapshot_field_bytes, what,
                 fmt::format("{:08x}{:016x}", header_.nb_snapshots, header_.snapshots_offset),
                 fmt::format("{:08x}{:016x}", entries_.size(), place.value)});
  if (dropped) w_.leaks.lost_something();
  // Where entries are left out, the old table is the only trace of them.
  if (!dropped) w_.leaks.release(HostOffset(header_.snapshots_offset), old_bytes);
}

// The bytes of the table as it is. 0 if a wrong length may make it end anywhere.
std::uint64_t Salvage::known_bytes() const {
  const auto odd = [](const format::Snapshot& s) { return !readable(s.id) || !readable(s.name); };
  const image::SnapshotTable& table = w_.view.image().snapshots;
  return std::ranges::any_of(table.entries, odd) ? 0 : table.bytes;
}

// If all entries could be read, and behind them there is nothing, only their number is wrong. `kept`: how many of the
// table were kept.
bool Salvage::correct_count(std::size_t kept) {
  const auto& entries = w_.view.image().snapshots.entries;
  if (kept == 0 || entries_.size() != kept || kept == header_.nb_snapshots) return false;
  const HostOffset end = entries[kept - 1].at + entries[kept - 1].bytes;
  const std::uint64_t room = round_up(end.value, g_.cluster_size()) - end.value;
  if (room == 0 || end.value + room > w_.view.image().file().size()) return false;
  if (!all_zero(w_.view.read(end, room))) return false;
  w_.editor.put64(Stage::point, snapshot_field, std::uint64_t{kept} << 32 | header_.snapshots_offset >> 32,
                  Code::snapshot_table, fmt::format("number of snapshots put right: {}", kept));
  return true;
}

void Salvage::mend() {
  const image::SnapshotTable& table = w_.view.image().snapshots;
  const auto blank = [&](const format::Snapshot& s) {
    return s.l1_offset.value == 0 || all_zero(std::as_bytes(std::span(s.id)));
  };
  const bool void_table = table.entries.empty() || std::ranges::any_of(table.entries, blank);
  if (void_table && find_lost_table()) return;
  if (mend_lengths()) return;
  if (header_.nb_snapshots > 0 && void_table && header_.nb_snapshots <= format::max_snapshots && table.missing == 0) {
    // Perhaps only the first entry's lengths are damaged. Only if all entries are found is this the table.
    Found all = table.stop && table.entries.empty() ? search_behind(*table.stop) : Found();
    if (all.size() == header_.nb_snapshots) {
      take(std::move(all));
      return write(known_bytes());
    }
    w_.leaks.lost_something();
    if (!w_.wanted.force) {
      return w_.editor.refuse(Code::snapshot_table,
                              fmt::format("the snapshot table stays as it is: what lies at 0x{:x} is none, and none "
                                          "was found elsewhere. --force gives up what can't be read",
                                          header_.snapshots_offset));
    }
  }
  std::size_t kept = 0;
  bool in_a_row = true;
  for (std::size_t i = 0; i < table.entries.size(); ++i) {
    const format::Snapshot& s = table.entries[i];
    Entry e = read_snapshot(w_, s);
    if (void_table && !leads_to_table(e.raw)) continue;
    in_a_row &= i == kept++;
    if (s.at.value + s.bytes > w_.view.image().file().size()) mend_texts(e);
    changed_ |= complete(e, &s);
    entries_.push_back(std::move(e));
  }
  if (table.stop) take(search_behind(*table.stop));
  if (!changed_ && in_a_row && correct_count(kept)) return;
  const bool cut_off = table.missing > 0 && header_.nb_snapshots <= format::max_snapshots;
  if (entries_.empty() && !w_.wanted.force &&
      (cut_off || (table.stop && holds_something(HostOffset(header_.snapshots_offset))))) {
    w_.leaks.lost_something();
    return w_.editor.refuse(
        Code::snapshot_table,
        fmt::format("the snapshot table stays as it is: at 0x{:x}, {}. --force removes it", header_.snapshots_offset,
                    cut_off ? fmt::format("past the end of the file, there were {} entries", header_.nb_snapshots)
                            : "there is something that may have been entries"));
  }
  const bool left_out = kept < table.entries.size();
  if (changed_ || left_out || table.stop || table.missing > 0 || w_.view.count(Code::snapshot_entry) > 0) {
    write(known_bytes());
  }
}

}  // namespace

void mend_snapshot_lengths(Work& w) { Salvage(w).mend_lengths(); }

void mend_snapshots(Work& w) {
  if (w.view.count(Code::snapshot_table) + w.view.count(Code::snapshot_entry) +
          w.view.count(Code::snapshot_extra_data) + w.view.count(Code::snapshot_incomplete) +
          w.view.count(Code::snapshot_l1_past_end) + w.view.count(Code::snapshot_l1_unaligned) ==
      0) {
    return;
  }
  if (const format::Header& h = w.view.image().header; h.nb_snapshots == 0) {
    const std::uint64_t there = image::snapshot_entries_at(w.view.image(), h.snapshots_offset).count;
    if (!w.wanted.force && there > 0) {
      w.leaks.lost_something();
      return w.editor.refuse(
          Code::snapshot_table,
          fmt::format("the snapshot table at 0x{:x} stays as it is: the header says that there are none, but "
                      "what lies there reads as snapshots. -m edit -O header.nb_snapshots -V {} brings them "
                      "back; --force gives them up",
                      h.snapshots_offset, there));
    }
    return w.editor.put64(Stage::point, format::field::snapshots_offset.at(), 0, Code::snapshot_table,
                          "snapshots_offset zeroed: there are no snapshots");
  }
  Salvage(w).mend();
}

}  // namespace qd::repair
