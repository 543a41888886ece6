// Five things make leaks suspicious:
//   damage elsewhere that hides references (hidden.cc has the list),
//   entries that name clusters which may not be theirs: what they should name may be what is leaked,
//   content: a leaked cluster that reads as an L1 or L2 table whose entries lead to other clusters in use,
//   number: more of them than an interrupted write leaves behind, and not all of them empty,
//   place: between two clusters in use, with just that room between them on the guest's disk, too; or behind an L2
//   table that maps nothing.
#include "check/leaks.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <unordered_set>
#include <vector>

#include "base/endian.h"
#include "check/result.h"

namespace qd::check {
namespace {

constexpr std::uint64_t handful = 8;               // clusters that an interrupted write may leave behind
constexpr std::uint64_t content_bytes = 16 << 20;  // of leaked clusters that are looked into

class LeakJudge {
 public:
  LeakJudge(const image::Image& image, Result& result)
      : image_(image), result_(result), doubt_(result.leak_doubt), g_(image.geometry.value_or(format::Geometry{})) {}
  void judge();

 private:
  std::uint64_t count(Code code) const { return result_.findings.count(code); }
  void gather();
  bool lazy_dirty() const;
  enum class Likeness { none, bitmap_table, l2_table, l1_table };
  Likeness likeness(std::span<const std::uint64_t> words, unsigned step) const;
  void look_into();
  bool leads_to_tables(ClusterIndex cluster);
  void judge_tables();
  bool names_others() const;
  void place();

  const image::Image& image_;
  const Result& result_;
  LeakDoubt& doubt_;
  const format::Geometry g_;
  std::vector<Stretch> orphans_;
  using Tables = std::map<ClusterIndex, Likeness>;
  Tables tables_;                                      // of the orphans
  std::unordered_set<std::uint64_t> refcount_blocks_;  // offsets: a forgotten refcount table leads to them
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

// After a crash with lazy refcounts stale ones are the rule: neither their number nor a gap that they fit means a
// thing.
bool LeakJudge::lazy_dirty() const {
  return count(Code::header_dirty) > 0 && (image_.header.compatible_features & format::compatible::lazy_refcounts) != 0;
}

// Every entry makes sense, and most lead to clusters that something uses or used: that is no accident. A bitmap's table
// looks like a snapshot's L2 table, but never has COPIED or COMPRESSED.
// `step`: 2 where every second word is a subcluster bitmap.
LeakJudge::Likeness LeakJudge::likeness(std::span<const std::uint64_t> words, unsigned step) const {
  std::uint64_t entries = 0, good = 0, never_bitmap = 0, zeros = 0;
  // A table that is really lost has left its own reference on what it leads to; a forgotten copy of one in use hasn't.
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
    ++entries;
    const std::uint64_t offset = word & format::offset_mask;
    if (word & format::compressed_flag) {
      const format::CompressedRange range = g_.compressed(word);
      if ((word & format::copied_flag) || image_.past_end(range.offset, range.bytes)) return Likeness::none;
      good += left(range.offset);
      ++never_bitmap;
      continue;
    }
    never_bitmap += (word & format::copied_flag) != 0;
    if ((word & format::l2_reserved_mask) != 0 || offset == 0 || g_.offset_in_cluster(offset) != 0 ||
        offset >= image_.size()) {
      return Likeness::none;
    }
    good += left(HostOffset(offset)) && !refcount_blocks_.contains(offset);
  }
  // Zeros that the guest has written; or a block of the widest refcounts.
  if (entries == 0 && zeros > 1 && g_.refcount_order < 6) return Likeness::bitmap_table;
  if (good == 0 || good * 2 < entries) return Likeness::none;
  return never_bitmap > 0 ? Likeness::l2_table : Likeness::bitmap_table;
}

void LeakJudge::look_into() {
  if (!result_.disk_refcounts) return;
  for (const auto& entry : result_.disk_refcounts->entries()) refcount_blocks_.insert(entry.raw);
  std::vector<std::uint64_t> words(g_.cluster_size() / sizeof(std::uint64_t));
  std::uint64_t budget = content_bytes;
  for (Stretch& stretch : orphans_) {
    const std::uint64_t bytes = stretch.count << g_.cluster_bits, at = g_.offset(stretch.first).value;
    if (image_.file().next_data(at) >= at + bytes) continue;  // nothing but a hole
    for (std::uint64_t i = 0; i < stretch.count; ++i) {
      if (budget < g_.cluster_size()) {
        stretch.full += stretch.count - i;
        break;
      }
      budget -= g_.cluster_size();
      const auto read = image_.file().read(at + (i << g_.cluster_bits), std::as_writable_bytes(std::span(words)));
      if (read && std::ranges::all_of(words, [](std::uint64_t word) { return word == 0; })) continue;
      ++stretch.full;
      for (std::uint64_t& word : words) word = from_big_endian(word);
      if (!read) continue;
      const Likeness like = std::max(likeness(words, 1), likeness(words, g_.l2_words()));
      stretch.tables += like == Likeness::l2_table;
      if (like != Likeness::none) tables_.emplace(stretch.first + i, like);
    }
  }
}

// An L1 table is one whose entries lead to L2 tables, lost or in use.
bool LeakJudge::leads_to_tables(ClusterIndex cluster) {
  std::vector<be64> words(g_.cluster_size() / sizeof(be64));
  if (!image_.file().read(g_.offset(cluster).value, std::as_writable_bytes(std::span(words)))) return false;
  return std::ranges::any_of(words, [&](const be64& word) {
    if (word.get() == 0 || (word.get() & format::l1_reserved_mask) != 0) return false;
    const ClusterIndex target = g_.cluster(HostOffset(word.get() & format::offset_mask));
    return tables_.contains(target) ||
           std::ranges::any_of(result_.owners_of(target), [](const Owner& o) { return o.kind == OwnerKind::l2_table; });
  });
}

// What the table is that speaks the clearest, and what it says.
void LeakJudge::judge_tables() {
  for (auto& [cluster, like] : tables_) {
    if (leads_to_tables(cluster)) like = Likeness::l1_table;
  }
  const auto clearest = std::ranges::max_element(tables_, {}, &Tables::value_type::second);
  if (clearest == tables_.end()) return;
  const Likeness like = clearest->second;
  doubt_.lost_table = true;
  doubt_.maybe_bitmap = like == Likeness::bitmap_table;
  doubt_.lost_snapshot = like == Likeness::l1_table;
  doubt_.evidence = fmt::format("the leaked cluster at 0x{:x} reads as {}", g_.offset(clearest->first).value,
                                like == Likeness::l1_table   ? "a lost snapshot's L1 table"
                                : like == Likeness::l2_table ? "a lost L2 table"
                                                             : "a lost L2 table, or a bitmap's table");
}

// An entry that was garbled into another possible one names a cluster that is somebody's, or one with refcount 0, and
// leaves its own behind. Giving it a copy or a refcount doesn't bring that back. (With lazy refcounts, 0 is nothing
// special after a crash; QEMU's writes are ordered so that it is otherwise.)
bool LeakJudge::names_others() const {
  if (count(Code::cluster_reuse) + count(Code::cluster_on_metadata) + count(Code::cluster_compressed_overlap) > 0) {
    return true;
  }
  return !lazy_dirty() && std::ranges::any_of(result_.findings.list(), [](const Finding& f) {
    return f.code == Code::refcount_low && f.guest && f.found == 0;
  });
}

void LeakJudge::judge() {
  for (const Problem& row : problems()) {
    if (count(row.code) == 0 || row.code == Code::image_in_use) continue;
    doubt_.hidden |= hides(row.code) == Hidden::data;
    doubt_.bitmaps_hidden |= hides(row.code) == Hidden::bitmaps;
  }
  const std::uint64_t leaked = count(Code::refcount_leak);
  if (leaked == 0) return;
  gather();
  look_into();
  judge_tables();
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
  if (many && (!doubt_.lost_table || doubt_.maybe_bitmap) && !doubt_.bitmaps_hidden) {
    doubt_.lost_table = true;
    doubt_.maybe_bitmap = false;
    doubt_.evidence = orphans > 0 ? fmt::format("{} clusters that hold something are mapped nowhere", orphans)
                                  : fmt::format("{} clusters were used by more than is known", full);
  }
  place();
}

// The place of the largest stretch is told; but each may be the one that fits.
void LeakJudge::place() {
  // A lost snapshot's clusters are nowhere on the active disk.
  if (std::ranges::any_of(tables_, [](const auto& t) { return t.second == Likeness::l1_table; })) return;
  std::erase_if(orphans_, [](const Stretch& stretch) { return stretch.full == 0; });
  std::ranges::stable_sort(orphans_, std::ranges::greater(), &Stretch::data);
  if (orphans_.empty()) return;
  if (doubt_.lost_table) {
    doubt_.guest = places_of(image_, result_, std::span(orphans_).first(1))[0].guest;
    return;
  }
  const std::size_t most = std::min<std::size_t>(orphans_.size(), 64);  // fewer than a handful, if nothing is dirty
  const std::vector<Place> places = places_of(image_, result_, std::span(orphans_).first(most));
  const auto telling = std::ranges::find_if(
      places, [&](const Place& place) { return place.behind_void || (place.fits && !lazy_dirty()); });
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

void judge_leaks(const image::Image& image, Result& result) { LeakJudge(image, result).judge(); }

}  // namespace qd::check
