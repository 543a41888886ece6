// Finds the L1 entry that has lost its L2 table. Nothing names the table any more; which entry should is told by
//   - another state's table at that entry: the two have clusters in common, and states share these at one guest offset
//     only;
//   - the places in a data file, which are the guest's own;
//   - the data's order in the file: it goes on from the table before, and to the one behind;
//   - the entry itself, if it is the only one that is wrong, or names another entry's table, or is empty.
// If another state still names the table, the table's refcount tells that an entry was lost.
// If an entry names the midst of a cluster, the table may be at the cluster's beginning.
#include <fmt/core.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string_view>
#include <vector>

#include "advice/evidence.h"
#include "advice/search.h"
#include "base/checked.h"
#include "base/uniform.h"
#include "image/classify.h"

namespace qd::advice {
namespace {

using check::Code;

constexpr std::uint64_t most_slots = 1 << 16;  // looked at in one L1 table

struct Slot {
  std::size_t state = 0;
  std::uint64_t index = 0;
  auto operator<=>(const Slot&) const = default;
};

class SlotFinder {
 public:
  SlotFinder(const image::Image& image, const check::Report& result)
      : image_(image), result_(result), g_(*image.geometry) {
    gather();
  }
  std::optional<Slot> slot(const OrphanTable& table, bool alone, std::string& why) const;
  HostOffset now(const Slot& slot) const { return HostOffset(table_of(slot.state, slot.index)); }
  // Entries without a table that makes sense.
  std::vector<Slot> wrong() const;
  // Those of them that had a table in common with another state, and the table.
  std::vector<std::pair<Slot, ClusterIndex>> missed() const;
  // Does a table at another L1 index read the same? Then two entries may have named one table, and a repair has made a
  // copy for one of them: the entry that still names its table may as well be the wrong one.
  bool has_twin(ClusterIndex table, std::uint64_t index) const;
  // May the snapshot never have had a table there?
  bool unused(const Slot& slot) const { return std::ranges::find(unused_, slot) != unused_.end(); }
  // Entries that lead into the midst of a cluster.
  std::vector<std::pair<Slot, ClusterIndex>> unaligned() const;

 private:
  void gather();
  bool had_table(std::size_t state, std::uint64_t index) const;
  std::uint64_t table_of(std::size_t state, std::uint64_t index) const {
    const auto& l1 = l1_[state];
    return index < l1.size() ? l1[index] & format::offset_mask : 0;
  }
  std::uint64_t data_of(std::size_t state, std::uint64_t l1_index, std::uint64_t l2_index) const;
  bool shares(const OrphanTable& table, Slot slot) const;
  bool takes_anothers(Slot slot) const;
  std::optional<std::pair<std::size_t, std::size_t>> fingerprint(HostOffset table) const;
  bool has_copies() const;
  // A small file can seem to have any number of tables, so the bytes that are read of them are limited.
  bool may_read(std::uint64_t bytes) const { return left_ >= bytes && ((left_ -= bytes), true); }
  bool goes_on(const OrphanTable& table, Slot slot) const;
  std::uint64_t cluster_of(std::uint64_t word) const;
  bool same_data(const std::vector<std::uint64_t>& one, const std::vector<std::uint64_t>& other) const;

  const image::Image& image_;
  const check::Report& result_;
  const format::Geometry& g_;
  std::vector<std::vector<std::uint64_t>> l1_;  // by state
  // empty_: the disk has, or had, a table there; unused_: it may never have had one; bad_: a check finds an error;
  // doubtful_: the entry's table is named more often than it is counted.
  std::vector<Slot> empty_, unused_, bad_, doubtful_;
  mutable std::uint64_t left_ = std::uint64_t{512} << 20;  // bytes
  bool longer_ = false;  // an L1 table goes on behind its disk's end: a VM state may have lost a table there
};

// A disk that once had a table there keeps it, so the table of an older snapshot proves one. Without such a proof, a
// snapshot may be older than the table; the active disk isn't.
bool SlotFinder::had_table(std::size_t state, std::uint64_t index) const {
  const bool active = result_.states[state].snapshot < 0;
  for (std::size_t s = 1; s < state; ++s) {
    if (table_of(s, index) != 0) return true;
  }
  return active;
}

void SlotFinder::gather() {
  std::set<std::pair<std::int32_t, std::uint64_t>> wrong;
  std::set<std::uint64_t> low;
  for (const check::Finding& f : result_.findings.list()) {
    const check::Problem& row = check::problem(f.code);
    if (f.code == Code::refcount_low && f.host) low.insert(f.host->value);
    if (row.severity != check::Severity::error || row.status <= check::Status::corrupt_flag || !f.l1_index) continue;
    if (row.subject == check::Subject::l1) {
      for (std::uint64_t i = 0; i < std::min(f.count, most_slots); ++i) wrong.emplace(f.state, *f.l1_index + i);
    }
  }
  for (std::size_t s = 0; s < result_.states.size(); ++s) {
    const image::State& state = result_.states[s];
    l1_.push_back(read_words(image_, state.l1_offset, std::min<std::uint64_t>(state.l1_size, most_slots)));
    const std::uint64_t needed = std::max<std::uint64_t>(1, g_.l1_entries_for(state.disk_size));
    longer_ |= state.l1_size > needed;
    for (std::uint64_t i = 0; i < l1_[s].size(); ++i) {
      if (l1_[s][i] == 0) {
        if (i < needed) (had_table(s, i) ? empty_ : unused_).push_back({s, i});
      } else if (wrong.contains({state.snapshot, i})) {
        bad_.push_back({s, i});
      } else if (low.contains(table_of(s, i))) {
        doubtful_.push_back({s, i});
      }
    }
  }
}

// The cluster of uncompressed data; 0 if the entry is something else.
std::uint64_t SlotFinder::cluster_of(std::uint64_t word) const {
  return word & format::compressed_flag ? 0 : (word & format::offset_mask) >> g_.cluster_bits;
}

std::uint64_t SlotFinder::data_of(std::size_t state, std::uint64_t l1_index, std::uint64_t l2_index) const {
  const std::uint64_t table = table_of(state, l1_index);
  if (table == 0 || g_.offset_in_cluster(table) != 0 || table >= image_.size()) return 0;
  const auto words = read_words(image_, HostOffset(table) + l2_index * g_.l2_entry_bytes(), 1);
  return words.empty() ? 0 : cluster_of(words[0]);
}

// Does another state's table at this entry have clusters in common with `table`? For a snapshot's entry an exact copy
// tells nothing: writers make one before the active L1 entry points to it.
bool SlotFinder::shares(const OrphanTable& table, Slot slot) const {
  bool shared = false;
  std::set<std::uint64_t> seen;  // several states may name one table
  for (std::size_t s = 0; s < l1_.size(); ++s) {
    const std::uint64_t other = table_of(s, slot.index);
    if (s == slot.state || other == 0 || g_.offset_in_cluster(other) != 0) continue;
    if (g_.cluster(HostOffset(other)) == table.cluster || !seen.insert(other).second) continue;
    if (!may_read(g_.cluster_size())) return false;
    const auto words = read_words(image_, HostOffset(other), table.words.size());
    bool same = words.size() == table.words.size();
    for (std::size_t i = 0; i < words.size(); i += g_.l2_words()) {
      shared |= cluster_of(words[i]) != 0 && cluster_of(words[i]) == cluster_of(table.words[i]);
      same &= ((words[i] ^ table.words[i]) & ~format::copied_flag) == 0;
    }
    if (same && slot.state != 0) return false;
  }
  return shared;
}

// Does another entry of the state name the same table, and does no other state's table show that it belongs here?
bool SlotFinder::takes_anothers(Slot slot) const {
  constexpr std::size_t most = 64;  // that are looked at: each takes as long as there are entries
  if (doubtful_.size() > most) return false;
  const std::uint64_t at = table_of(slot.state, slot.index), words = g_.cluster_size() / sizeof(std::uint64_t);
  bool twice = false;
  for (std::uint64_t i = 0; i < l1_[slot.state].size(); ++i) twice |= i != slot.index && table_of(slot.state, i) == at;
  if (!twice || g_.offset_in_cluster(at) != 0 || at >= image_.size()) return false;
  return !shares({g_.cluster(HostOffset(at)), read_words(image_, HostOffset(at), words)}, slot);
}

// Two hashes. One is of where the table has entries, the other of the first thing they lead to that tells tables apart:
// the place of compressed data, or a cluster that isn't one byte throughout.
std::optional<std::pair<std::size_t, std::size_t>> SlotFinder::fingerprint(HostOffset table) const {
  std::vector<bool> used;
  std::optional<std::size_t> content;
  int left = 4;
  std::vector<std::byte> data(g_.cluster_size());
  const auto words = read_words(image_, table, g_.cluster_size() / sizeof(std::uint64_t));
  for (std::size_t i = 0; i < words.size(); i += g_.l2_words()) {
    used.push_back(words[i] != 0 || words[i + g_.l2_words() - 1] != 0);
    const std::uint64_t cluster = cluster_of(words[i]);
    if (content) continue;
    if (words[i] & format::compressed_flag) {
      content = std::hash<std::uint64_t>()(words[i]);
    } else if (cluster != 0 && left-- > 0 && may_read(data.size()) &&
               image_.file().read(cluster << g_.cluster_bits, data) && !all_same(data)) {
      content = std::hash<std::string_view>()({reinterpret_cast<const char*>(data.data()), data.size()});
    }
  }
  if (!content) return std::nullopt;
  return std::pair(std::hash<std::vector<bool>>()(used), *content);
}

// Does one state have two tables with entries at the same places, and the same data there? Then two entries may have
// named one table, a repair has given each a copy, and the orphan belongs to one of them. If there are more tables than
// may be read, the answer is yes.
bool SlotFinder::has_copies() const {
  for (std::size_t s = 0; s < l1_.size(); ++s) {
    std::set<std::uint64_t> tables;
    std::set<std::pair<std::size_t, std::size_t>> seen;
    for (std::uint64_t i = 0; i < l1_[s].size(); ++i) {
      const std::uint64_t table = table_of(s, i);
      if (table == 0 || g_.offset_in_cluster(table) != 0 || table >= image_.size()) continue;
      if (!may_read(g_.cluster_size()) || !tables.insert(table).second) return true;
      const auto print = fingerprint(HostOffset(table));
      if (print && !seen.insert(*print).second) return true;
    }
  }
  return false;
}

// Data that was written in one go lies in a row, with no more than a few tables between. But data with gaps on the
// guest's disk lies so, too, and then other entries would fit as well. So there must be tables before and behind, and
// the data must go on from the one and to the other. The disk's beginning and end need no table.
bool SlotFinder::goes_on(const OrphanTable& table, Slot slot) const {
  constexpr std::uint64_t between = 4;
  const auto follows = [](std::uint64_t before, std::uint64_t after) {
    return before != 0 && after > before && after - before <= between;
  };
  const std::uint64_t last = g_.l2_entries() - 1;
  const bool first_slot = slot.index == 0, last_slot = slot.index + 1 >= l1_[slot.state].size();
  return (first_slot || follows(data_of(slot.state, slot.index - 1, last), cluster_of(table.words[0]))) &&
         (last_slot ||
          follows(cluster_of(table.words[last * g_.l2_words()]), data_of(slot.state, slot.index + 1, 0))) &&
         !(first_slot && last_slot);
}

std::vector<Slot> SlotFinder::wrong() const {
  std::vector<Slot> all = bad_;
  all.insert(all.end(), empty_.begin(), empty_.end());
  return all;
}

std::vector<std::pair<Slot, ClusterIndex>> SlotFinder::missed() const {
  std::map<std::uint64_t, std::set<ClusterIndex>> tables;  // whose refcount is too high, by L1 index
  for (std::size_t s = 0; s < l1_.size(); ++s) {
    for (std::uint64_t i = 0; i < l1_[s].size(); ++i) {
      const std::uint64_t table = table_of(s, i);
      if (table == 0 || g_.offset_in_cluster(table) != 0 || table >= image_.size()) continue;
      const ClusterIndex cluster = g_.cluster(HostOffset(table));
      if (result_.disk_refcounts->get(cluster) > result_.references(cluster)) tables[i].insert(cluster);
    }
  }
  if (tables.empty()) return {};
  std::vector<Slot> all = wrong();
  std::ranges::copy_if(doubtful_, std::back_inserter(all), [&](Slot slot) { return takes_anothers(slot); });
  std::ranges::sort(all);
  std::vector<std::pair<Slot, ClusterIndex>> found;
  for (const auto& [index, clusters] : tables) {
    const ClusterIndex table = *clusters.begin();
    std::vector<Slot> slots;
    for (std::size_t s = 0; s < l1_.size(); ++s) {
      if (const Slot slot{s, index}; std::ranges::binary_search(all, slot)) slots.push_back(slot);
    }
    if (clusters.size() > 1 || result_.disk_refcounts->get(table) != result_.references(table) + slots.size())
      return {};
    for (const Slot& slot : slots) found.emplace_back(slot, table);
  }
  return found;
}

// Do two tables have entries at the same places, and the same data there? A few clusters tell, if they aren't one byte
// throughout.
bool SlotFinder::same_data(const std::vector<std::uint64_t>& one, const std::vector<std::uint64_t>& other) const {
  if (one.empty() || one.size() != other.size()) return false;
  for (std::size_t i = 0; i < one.size(); ++i) {
    if ((one[i] == 0) != (other[i] == 0)) return false;
  }
  int left = 4;
  bool same = false;
  std::vector<std::byte> a(g_.cluster_size()), b(g_.cluster_size());
  for (std::size_t i = 0; i < one.size() && left > 0; i += g_.l2_words()) {
    const std::uint64_t first = cluster_of(one[i]), second = cluster_of(other[i]);
    if (first == 0 || second == 0) continue;
    --left;
    if (!image_.file().read(first << g_.cluster_bits, a) || !image_.file().read(second << g_.cluster_bits, b))
      return false;
    if (a != b) return false;
    same |= !all_same(a);
  }
  return same;
}

bool SlotFinder::has_twin(ClusterIndex table, std::uint64_t index) const {
  constexpr std::size_t most = 256;
  const std::uint64_t words = g_.cluster_size() / sizeof(std::uint64_t);
  const auto here = read_words(image_, g_.offset(table), words);
  std::set<std::uint64_t> looked_at{g_.offset(table).value};
  for (std::size_t s = 0; s < l1_.size(); ++s) {
    for (std::uint64_t i = 0; i < l1_[s].size() && looked_at.size() < most; ++i) {
      const std::uint64_t other = table_of(s, i);
      if (i == index || other == 0 || g_.offset_in_cluster(other) != 0 || other >= image_.size()) continue;
      if (looked_at.insert(other).second && same_data(here, read_words(image_, HostOffset(other), words))) return true;
    }
  }
  return false;
}

std::optional<Slot> SlotFinder::slot(const OrphanTable& table, bool alone, std::string& why) const {
  const std::vector<Slot> all = wrong();
  const auto only = [&](const std::vector<Slot>& from, auto&& fits) -> std::optional<Slot> {
    std::optional<Slot> found;
    for (const Slot& slot : from) {
      if (!fits(slot)) continue;
      if (found) return std::nullopt;
      found = slot;
    }
    return found;
  };
  if (g_.data_file) {
    std::size_t i = 0;
    while (cluster_of(table.words[i]) == 0 && i + g_.l2_words() < table.words.size()) i += g_.l2_words();
    why = "its entries name the places in the data file that are the guest's own";
    return only(all, [&](Slot slot) { return slot.index == cluster_of(table.words[i]) >> g_.l2_bits(); });
  }
  std::vector<Slot> more = all;
  more.insert(more.end(), doubtful_.begin(), doubtful_.end());
  more.insert(more.end(), unused_.begin(), unused_.end());
  why = "it has clusters in common with another state's table there";
  if (const auto found = only(more, [&](Slot slot) { return shares(table, slot); })) return found;
  why = "the data goes on there, in the file as on the guest's disk";
  if (const auto found = only(more, [&](Slot slot) { return goes_on(table, slot); })) return found;
  if (!alone) return std::nullopt;
  if (bad_.empty() && !doubtful_.empty()) {
    why = "another entry names the table that it names";
    return only(doubtful_, [&](Slot slot) { return takes_anothers(slot); });
  }
  if (bad_.empty() && (longer_ || has_copies())) return std::nullopt;
  why = bad_.empty() ? "it is the only one without a table" : "it is the only one that is wrong";
  return only(bad_.empty() ? empty_ : bad_, [](Slot) { return true; });
}

std::vector<std::pair<Slot, ClusterIndex>> SlotFinder::unaligned() const {
  std::vector<std::pair<Slot, ClusterIndex>> found;
  for (const Slot& slot : bad_) {
    const std::uint64_t offset = table_of(slot.state, slot.index);
    if (g_.offset_in_cluster(offset) != 0 && offset < image_.size())
      found.emplace_back(slot, g_.cluster(HostOffset(offset)));
  }
  return found;
}

// Is the image better with that entry? `now`: where it leads now; `what`: words about the table.
std::optional<Evidence> try_entry(Clues& clues, Slot slot, HostOffset now, ClusterIndex table, std::string_view what,
                                  std::string_view why) {
  const image::State& state = clues.result.states[slot.state];
  const HostOffset at = clues.image.geometry->offset(table);
  const bool copied = state.snapshot < 0 && clues.result.disk_refcounts->get(table) == 1;
  const std::uint64_t value = at.value | (copied ? format::copied_flag : 0);
  const Change change{state.l1_offset + slot.index * sizeof(std::uint64_t), 8, value};
  const auto then = clues.trial.with(std::span(&change, 1));
  if (!then || !clues.trial.better(then->result) || then->abandons(now)) return std::nullopt;
  const bool active = state.snapshot < 0;
  return Evidence{fmt::format("{}l1[{}]", active ? "" : fmt::format("snapshot[{}].", state.snapshot), slot.index),
                  value,
                  fmt::format("The cluster at 0x{:x} {}, and it belongs to L1 entry {}{}: {}.", at.value, what,
                              slot.index, active ? "" : fmt::format(" of snapshot[{}]", state.snapshot), why)};
}

bool has_orphan_l1_table(Clues& clues) { return !orphan_l1_tables(clues.image, clues.result, clues.orphans()).empty(); }

std::optional<Evidence> lost_table(Clues& clues, const SlotFinder& finder) {
  constexpr std::size_t most = 8;  // tables that are tried
  constexpr std::string_view what = "reads as an L2 table that nothing names";
  const Orphans& orphans = clues.orphans();
  // An L1 table that nothing names may be a deleted snapshot's. Then so may the L2 tables be.
  const bool deleted = has_orphan_l1_table(clues);
  for (std::size_t i = 0; i < std::min(orphans.tables.size(), most); ++i) {
    const OrphanTable& table = orphans.tables[i];
    if (image::leads_to_tables(clues.image, clues.image.geometry->offset(table.cluster)).value_or(true)) continue;
    std::string why;
    const auto slot = finder.slot(table, orphans.complete && orphans.tables.size() == 1, why);
    if (!slot || (deleted && finder.unused(*slot))) continue;
    if (auto found = try_entry(clues, *slot, finder.now(*slot), table.cluster, what, why)) return found;
  }
  for (const auto& [slot, cluster] : finder.unaligned()) {
    constexpr std::string_view why = "the entry leads into the midst of it";
    if (auto found = try_entry(clues, slot, finder.now(slot), cluster, what, why)) return found;
  }
  return std::nullopt;
}

// A table's refcount is too high, and as many states have no table at its place. Old refcounts are too high, too, so
// each such table must be explained in this way. An L1 table that nothing names would also explain them.
std::optional<Evidence> shared_table(Clues& clues, const SlotFinder& finder) {
  if (has_orphan_l1_table(clues) || !counts_tell(clues.result)) return std::nullopt;
  constexpr std::size_t most = 8;  // that are tried
  const auto missed = finder.missed();
  for (const auto& [slot, table] : std::span(missed).first(std::min(missed.size(), most))) {
    if (finder.has_twin(table, slot.index)) continue;
    if (auto found = try_entry(clues, slot, finder.now(slot), table, "is an L2 table that counts a reference too many",
                               "another state has it there")) {
      return found;
    }
  }
  return std::nullopt;
}

// Is the rest of the active L1 table's last cluster empty? Else something else may lie where the header says that the
// table is.
bool ends_as_told(const image::Image& image, const image::State& active) {
  const std::uint64_t words_each = image.geometry->cluster_size() / sizeof(std::uint64_t), size = active.l1_size;
  const auto rest =
      read_words(image, active.l1_offset + size * sizeof(std::uint64_t), round_up(size, words_each) - size);
  return all_zero(rest);
}

}  // namespace

std::optional<Evidence> l1_evidence(Clues& clues) {
  const image::Image& image = clues.image;
  const check::Report& result = clues.result;
  if (!image.geometry || !image.refcounts_readable || result.states.empty() || !result.disk_refcounts) {
    return std::nullopt;
  }
  constexpr std::uint64_t most_words = 1 << 20;  // of L1 tables: states may share one, but each gets its own copy
  std::uint64_t words = 0;
  for (const image::State& state : result.states) words += std::min<std::uint64_t>(state.l1_size, most_slots);
  if (words > most_words) return std::nullopt;
  if (result.findings.count(Code::refcount_leak) == 0 && result.findings.count(Code::l1_unaligned) == 0) {
    return std::nullopt;
  }
  if (!ends_as_told(image, result.states[0])) return std::nullopt;
  const SlotFinder finder(image, result);
  auto found = lost_table(clues, finder);
  return found ? found : shared_table(clues, finder);
}

}  // namespace qd::advice
