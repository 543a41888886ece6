// A leaked cluster is free space only if something proves it:
//   it holds only zeros, or
//   it lies behind everything in use, as what an interrupted write has allocated does, or
//   it is a copy of a table, and what is in use says all that it says, or
//   it belonged to bitmaps that are out of date.
// Any other one may be somebody's data, whose reference was lost or garbled. All this depends on what the file holds,
// which doesn't change when the place where damage showed is mended: later runs judge the same.
//
// The refcount of a cluster in use, if it is too high, may fall only if no state can have lost its reference to the
// cluster (counterparts.h).
//
// Leaks are more suspicious with
//   damage elsewhere that hides references (the table of problems says which does),
//   entries that name clusters which may not be theirs: the clusters that they should name may be the leaked ones,
//   content: a leaked cluster that reads as an L1 or L2 table; an L2 table that points to leaked clusters is a finding,
//   number: more of them than an interrupted write leaves behind, and not all of them empty,
//   place: between two clusters in use that have just that room between them on the guest's disk, too; or behind an L2
//   table that maps nothing.
#include "check/leaks.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <unordered_set>
#include <vector>

#include "base/checked.h"
#include "base/endian.h"
#include "base/uniform.h"
#include "check/claims.h"
#include "check/copies.h"
#include "check/counterparts.h"
#include "check/report.h"

namespace qd::check {
namespace {

constexpr std::uint64_t handful = 8;               // clusters; an interrupted write leaves fewer behind
constexpr std::uint64_t content_bytes = 16 << 20;  // of leaked clusters that are looked into
constexpr std::size_t most_orphan_tables = 64;     // that are compared with all tables in use

class LeakJudge {
 public:
  LeakJudge(const image::Image& image, Report& result)
      : image_(image), result_(result), doubt_(result.leak_doubt), g_(image.geometry.value_or(format::Geometry{})) {}
  void judge();

 private:
  // The last is the clearest sign.
  enum class Likeness { none, bitmap_table, l2_table, l1_table };
  struct Reading {
    Likeness like = Likeness::none;
    std::uint64_t entries = 0;  // that have a cluster
    std::uint64_t left = 0;     // of them, those whose cluster has a reference too many
  };

  std::uint64_t count(Code code) const { return result_.findings.count(code); }
  bool lazy_dirty() const;
  void gather();
  void find_stale_bitmaps();
  bool add_stale(HostOffset at, std::uint64_t bytes);
  Reading read_as_table(std::span<const std::uint64_t> words, unsigned step) const;
  void look_into();
  void look_into(Stretch& stretch, std::uint64_t& budget, CopyFinder& copies);
  void look_at(ClusterIndex cluster, std::span<be64> content, Stretch& stretch, CopyFinder& copies);
  bool behind_everything(const Stretch& stretch) const;
  bool leads_to_known_tables(ClusterIndex cluster) const;
  void judge_copies();
  void judge_tables();
  void judge_counts();
  void report_lost(ClusterIndex cluster, const Reading& reading);
  bool names_others() const;
  void suspect(std::string evidence);
  void place();

  const image::Image& image_;
  Report& result_;
  LeakDoubt& doubt_;
  const format::Geometry g_;
  std::vector<Stretch> orphans_;
  using Tables = std::map<ClusterIndex, Reading>;
  Tables tables_;  // the orphans that read as tables
  std::vector<OrphanTable> maybe_copies_;
  std::unordered_set<std::uint64_t> stale_;  // clusters of bitmaps that are out of date
  std::optional<ClusterIndex> unexplained_;  // the first of the orphans that nothing explains
};

void LeakJudge::gather() {
  for (const Finding& f : result_.findings.list()) {
    if (f.code != Code::refcount_leak || f.expected != 0 || !f.index) continue;
    if (!orphans_.empty() && (orphans_.back().first + orphans_.back().count).value == *f.index) {
      orphans_.back().count += f.count;
    } else {
      orphans_.push_back({ClusterIndex(*f.index), f.count});
    }
  }
}

// After a crash with lazy refcounts, stale ones are normal: neither the number of leaks nor a gap that they fit means
// anything.
bool LeakJudge::lazy_dirty() const {
  return count(Code::header_dirty) > 0 && (image_.header.compatible_features & format::compatible::lazy_refcounts) != 0;
}

// Adds a structure's clusters if all of them are leaked. If some were freed, they may have become somebody else's.
bool LeakJudge::add_stale(HostOffset at, std::uint64_t bytes) {
  if (g_.offset_in_cluster(at.value) != 0 || at.value >= image_.size()) return false;
  const std::uint64_t end = g_.clusters(at.value + std::min(bytes, image_.size() - at.value));
  for (ClusterIndex c = g_.cluster(at); c.value < end; c = c + 1) {
    if (result_.disk_refcounts->get(c) == 0 || result_.references(c) > 0) return false;
  }
  for (std::uint64_t c = g_.cluster(at).value; c < end; ++c) stale_.insert(c);
  return true;
}

void LeakJudge::find_stale_bitmaps() {
  if (count(Code::bitmaps_stale) == 0) return;
  const image::Bitmaps stale = image_.stale_bitmaps();
  if (!stale.extension || stale.stop) return;
  const format::RawBitmapsExtension& extension = *stale.extension;
  if (!add_stale(HostOffset(extension.directory_offset.get()), extension.directory_size.get())) return;
  for (const format::Bitmap& b : stale.entries) {
    const std::uint64_t room = image_.size() - std::min(image_.size(), b.table_offset.value);
    std::vector<be64> table(std::min<std::uint64_t>(b.table_size, room / sizeof(be64)));
    if (!image_.file().read(b.table_offset.value, std::as_writable_bytes(std::span(table)))) continue;
    if (!add_stale(b.table_offset, table.size() * sizeof(be64))) continue;
    for (const be64& entry : table) add_stale(HostOffset(entry.get() & format::offset_mask), g_.cluster_size());
  }
}

// The words are a table if its entries make sense, but for a few that were damaged themselves. If one of them points to
// a cluster that has a reference too many, that is no accident. A bitmap's table looks like a snapshot's L2 table, but
// never has COPIED or COMPRESSED. `step`: 2 where every second word is a subcluster bitmap.
LeakJudge::Reading LeakJudge::read_as_table(std::span<const std::uint64_t> words, unsigned step) const {
  Reading reading;
  std::uint64_t never_bitmap = 0, zeros = 0, bad = 0;
  // A lost table has left its references on the clusters that it points to; a forgotten copy of one in use hasn't.
  const auto left = [&](HostOffset at) {
    const ClusterIndex cluster = g_.cluster(at);
    return result_.disk_refcounts->get(cluster) > result_.references(cluster);
  };
  for (std::size_t i = 0; i < words.size(); i += step) {
    const std::uint64_t word = words[i];
    if (word == 0) continue;
    if (word == format::zero_flag) {
      ++zeros;
      continue;
    }
    ++reading.entries;
    const std::uint64_t offset = word & format::offset_mask;
    if (word & format::compressed_flag) {
      const format::CompressedRange range = g_.compressed(word);
      if (g_.data_file || (word & format::copied_flag) || image_.past_end(range.offset, range.bytes)) {
        ++bad;
        continue;
      }
      reading.left += left(range.offset);
      ++never_bitmap;
      continue;
    }
    const bool copied = (word & format::copied_flag) != 0;
    // What lies in the external data file has no refcount, and may lie past the end of this file.
    const bool elsewhere = g_.data_file && copied;
    if ((word & format::l2_reserved_mask) != 0 || g_.offset_in_cluster(offset) != 0 ||
        (!elsewhere && (offset == 0 || offset >= image_.size()))) {
      ++bad;
      continue;
    }
    never_bitmap += copied;
    reading.left += elsewhere || left(HostOffset(offset));
  }
  if (bad * 4 > reading.entries) return {};  // as in image::TableLook
  // An L2 table of zeros that the guest has written; but it could also be a block of the widest refcounts.
  const bool zeros_only = reading.entries == 0 && zeros > 1 && g_.refcount_order < 6;
  if (reading.entries == 0 && !zeros_only) return {};
  reading.like = never_bitmap > 0 ? Likeness::l2_table : Likeness::bitmap_table;
  return reading;
}

void LeakJudge::look_at(ClusterIndex cluster, std::span<be64> content, Stretch& stretch, CopyFinder& copies) {
  std::vector<std::uint64_t> words(content.size());
  std::ranges::transform(content, words.begin(), [](const be64& word) { return word.get(); });
  if (all_zero(words) && !image_.backing_file) return;
  ++stretch.full;
  if (stale_.contains(cluster.value)) return;
  Reading reading = read_as_table(words, 1);
  if (const Reading wide = read_as_table(words, g_.l2_words()); wide.like > reading.like) reading = wide;
  if (reading.left > 0 || (reading.like == Likeness::bitmap_table && reading.entries == 0)) {
    stretch.tables += reading.like == Likeness::l2_table;
    tables_.emplace(cluster, reading);
  }
  if (!all_zero(words) && copies.is_copy(cluster, std::as_bytes(content))) {
    tables_.erase(cluster);
    return;
  }
  if (reading.like != Likeness::none && maybe_copies_.size() < most_orphan_tables) {
    maybe_copies_.push_back({cluster, std::move(words)});
  } else if (!unexplained_ && !behind_everything(stretch)) {
    unexplained_ = cluster;
  }
}

// What is allocated at the end of the file is written before anything points to it.
bool LeakJudge::behind_everything(const Stretch& stretch) const {
  const std::uint64_t end = stretch.first.value + stretch.count;
  return !result_.claims->owned.next(end) && !result_.claims->compressed.next(end);
}

void LeakJudge::look_into(Stretch& stretch, std::uint64_t& budget, CopyFinder& copies) {
  const std::uint64_t bytes = stretch.count << g_.cluster_bits, at = g_.offset(stretch.first).value;
  if (image_.file().next_data(at) >= at + bytes && !image_.backing_file) return;  // nothing but a hole
  std::vector<be64> content(g_.cluster_size() / sizeof(be64));
  for (std::uint64_t i = 0; i < stretch.count; ++i) {
    const ClusterIndex cluster = stretch.first + i;
    const bool enough = budget < g_.cluster_size();
    if (!enough) budget -= g_.cluster_size();
    const bool readable =
        !enough && image_.file().read(at + (i << g_.cluster_bits), std::as_writable_bytes(std::span(content)));
    if (readable) {
      look_at(cluster, content, stretch, copies);
      continue;
    }
    stretch.full += enough ? stretch.count - i : 1;
    if (!unexplained_ && !behind_everything(stretch)) unexplained_ = cluster;
    if (enough) return;
  }
}

void LeakJudge::look_into() {
  if (!result_.disk_refcounts) return;
  find_stale_bitmaps();
  CopyFinder copies(image_, result_);
  std::uint64_t budget = content_bytes;
  for (Stretch& stretch : orphans_) look_into(stretch, budget, copies);
}

// In an L1 table, at least half of the entries point to L2 tables, lost or in use. Only known tables count here;
// image::leads_to_tables() looks at what lies there instead. (With an external data file, a few entries of an L2 table
// may seem to point to tables: they are places in the other file.)
bool LeakJudge::leads_to_known_tables(ClusterIndex cluster) const {
  std::vector<be64> words(g_.cluster_size() / sizeof(be64));
  if (!image_.file().read(g_.offset(cluster).value, std::as_writable_bytes(std::span(words)))) return false;
  const auto leads = std::ranges::count_if(words, [&](const be64& word) {
    if (word.get() == 0 || (word.get() & format::l1_reserved_mask) != 0) return false;
    const ClusterIndex target = g_.cluster(HostOffset(word.get() & format::offset_mask));
    return tables_.contains(target) ||
           std::ranges::any_of(result_.owners_of(target), [](const Owner& o) { return o.kind == OwnerKind::l2_table; });
  });
  const auto used = std::ranges::count_if(words, [](const be64& word) { return word.get() != 0; });
  return leads > 0 && leads * 2 >= used;
}

void LeakJudge::suspect(std::string evidence) {
  if (doubt_.lost_table && !doubt_.maybe_bitmap) return;
  doubt_.lost_table = true;
  doubt_.maybe_bitmap = false;
  doubt_.evidence = std::move(evidence);
}

// A table whose clusters are all mapped at their places is a copy and not lost, whatever the refcounts say. What is
// neither a copy nor, by its content, a lost table is data like any other.
void LeakJudge::judge_copies() {
  const Counterparts counterparts = counterparts_of(image_, result_, maybe_copies_);
  for (std::size_t i = 0; i < maybe_copies_.size(); ++i) {
    const ClusterIndex cluster = maybe_copies_[i].cluster;
    if (counterparts.copies[i]) {
      tables_.erase(cluster);
    } else if (!tables_.contains(cluster) && !behind_everything({cluster, 1}) &&
               (!unexplained_ || cluster < *unexplained_)) {
      unexplained_ = cluster;
    }
  }
  if (counterparts.gap) suspect(counterparts.gap->text(g_, result_));
}

// Finds the table that is the clearest sign, and says what it is.
void LeakJudge::judge_tables() {
  for (auto& [cluster, reading] : tables_) {
    if (leads_to_known_tables(cluster)) reading.like = Likeness::l1_table;
  }
  for (const auto& [cluster, reading] : tables_) {
    // If snapshots can't be read, a table that nothing names is probably theirs, and a finding says so already. No
    // state names a table twice: a refcount beyond the number of states is wrong, and proves nothing.
    const bool counted = result_.disk_refcounts->get(cluster) <= result_.states.size();
    if (reading.like == Likeness::l2_table && reading.left * 2 >= reading.entries && counted &&
        !snapshots_unread(result_)) {
      report_lost(cluster, reading);
    }
  }
  const auto clearest = std::ranges::max_element(tables_, {}, [](const auto& table) { return table.second.like; });
  if (clearest == tables_.end()) return;
  const Likeness like = clearest->second.like;
  doubt_.lost_table = true;
  doubt_.maybe_bitmap = like == Likeness::bitmap_table;
  doubt_.lost_snapshot = like == Likeness::l1_table;
  doubt_.evidence = fmt::format("the leaked cluster at 0x{:x} reads as {}", g_.offset(clearest->first).value,
                                like == Likeness::l1_table   ? "a lost snapshot's L1 table"
                                : like == Likeness::l2_table ? "a lost L2 table"
                                                             : "a lost L2 table, or a bitmap's table");
}

// QEMU counts these clusters as leaks, and so do the totals; but a disk, or a part of it, is gone.
void LeakJudge::report_lost(ClusterIndex cluster, const Reading& reading) {
  Finding f;
  f.code = Code::l2_lost;
  f.index = cluster.value;
  f.host = g_.offset(cluster);
  f.found = reading.left;
  f.expected = reading.entries;
  result_.findings.add(std::move(f));
}

// Compressed data of any guest offset may share a cluster, so any lost entry may have been the missing reference.
void LeakJudge::judge_counts() {
  for (const Finding& f : result_.findings.list()) {
    if (f.code != Code::refcount_leak || f.expected == 0 || !f.index) continue;
    const auto packed = result_.claims->compressed.next(*f.index);
    if (!packed || *packed >= *f.index + f.count) continue;
    suspect(
        fmt::format("cluster 0x{:x} counts more references than are known, and compressed data that has lost its "
                    "entry may lie in it",
                    g_.offset(ClusterIndex(*packed)).value));
    return;
  }
}

// An entry that was garbled into another possible one names somebody else's cluster, or one with refcount 0, and leaves
// its own cluster behind. Giving it a copy or a refcount doesn't bring that back. (After a crash with lazy refcounts, 0
// is nothing special; otherwise the order of QEMU's writes rules it out.)
bool LeakJudge::names_others() const {
  // Two metadata structures on one cluster are no entry's doing.
  if (result_.findings.errors(Subject::reused) > count(Code::metadata_overlap)) return true;
  return !lazy_dirty() && std::ranges::any_of(result_.findings.list(), [](const Finding& f) {
    return f.code == Code::refcount_low && f.guest && f.found == 0;
  });
}

void LeakJudge::judge() {
  doubt_.hidden |= result_.findings.any(Hidden::data);
  doubt_.bitmaps_hidden |= result_.findings.any(Hidden::bitmaps);
  const std::uint64_t leaked = count(Code::refcount_leak);
  if (leaked == 0) return;
  gather();
  look_into();
  judge_copies();
  judge_tables();
  judge_counts();
  std::uint64_t full = leaked, orphans = 0;
  for (const Stretch& stretch : orphans_) {
    full -= std::min(full, stretch.count - stretch.full);
    orphans += stretch.full;
  }
  doubt_.misplaced = orphans > 0 && names_others();
  doubt_.hidden |= doubt_.misplaced;
  const StateReport active = result_.reports.empty() ? StateReport{} : result_.reports[0];
  const bool many = !lazy_dirty() && (full >= handful || full > active.data_clusters + active.compressed);
  if (doubt_.maybe_bitmap && count(Code::bitmaps_stale) > 0) doubt_.lost_table = false;
  if (many && !doubt_.bitmaps_hidden) {
    suspect(orphans == 1  ? std::string("a cluster that holds something is mapped nowhere")
            : orphans > 0 ? fmt::format("{} clusters that hold something are mapped nowhere", orphans)
                          : fmt::format("{} clusters were used by more than is known", full));
  }
  place();
  if (unexplained_ && !doubt_.bitmaps_hidden) {
    suspect(fmt::format("the leaked cluster at 0x{:x} holds something, and nothing says that it isn't the guest's",
                        g_.offset(*unexplained_).value));
  }
}

// If something is known to be lost, the largest stretch tells where it was. If not, any stretch may be the one whose
// place is evidence.
void LeakJudge::place() {
  // A lost snapshot's clusters are nowhere on the active disk.
  if (std::ranges::any_of(tables_, [](const auto& t) { return t.second.like == Likeness::l1_table; })) return;
  std::erase_if(orphans_, [](const Stretch& stretch) { return stretch.full == 0; });
  std::ranges::stable_sort(orphans_, std::ranges::greater(), &Stretch::data);
  if (orphans_.empty()) return;
  if (doubt_.lost_table) {
    doubt_.guest = places_of(image_, result_, std::span(orphans_).first(1))[0].guest;
    return;
  }
  const std::size_t most = std::min<std::size_t>(orphans_.size(), 64);  // fewer than a handful without lazy refcounts
  const std::vector<ProbablePlace> places = places_of(image_, result_, std::span(orphans_).first(most));
  const auto telling = std::ranges::find_if(
      places, [&](const ProbablePlace& place) { return place.behind_void || (place.fits && !lazy_dirty()); });
  if (telling == places.end()) return;
  const Stretch& stretch = orphans_[static_cast<std::size_t>(telling - places.begin())];
  doubt_.lost_table = true;
  doubt_.guest = telling->guest;
  const bool one = stretch.count == 1;
  doubt_.evidence = fmt::format(
      "{} 0x{:x}{} {}", one ? "the leaked cluster at" : fmt::format("the {} leaked clusters from", stretch.count),
      g_.offset(stretch.first).value, one ? "" : " on",
      telling->fits ? fmt::format("{} the gap between {} neighbours on the guest's disk", one ? "fits" : "fit",
                                  one ? "its" : "their")
                    : fmt::format("{} behind an L2 table that maps nothing", one ? "lies" : "lie"));
}

}  // namespace

bool snapshots_unread(const Report& result) {
  return std::ranges::any_of(problems(), [&](const Problem& row) {
    return row.subject == Subject::snapshots && row.hides == Hidden::data && result.findings.count(row.code) > 0;
  });
}

void judge_leaks(const image::Image& image, Report& result) { LeakJudge(image, result).judge(); }

}  // namespace qd::check
