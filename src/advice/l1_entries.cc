// An L2 table that nothing names, and the L1 entry that should. Which one it is, is told by
//   another state's table at that entry, which has clusters in common with it (they are shared at one guest offset
//   only), the places in a data file, which are the guest's own, the data's order in the file, which goes on from the
//   table before or to the one behind, or the entry's being the only one that is wrong, or empty.
// Where an entry names the midst of a cluster, the table may be at its beginning.
#include <fmt/core.h>

#include <algorithm>
#include <optional>
#include <set>
#include <vector>

#include "advice/evidence.h"

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
  SlotFinder(const image::Image& image, const check::Result& result)
      : image_(image), result_(result), g_(*image.geometry) {
    gather();
  }
  std::optional<Slot> slot(const OrphanTable& table, bool alone, std::string& why) const;
  // Entries that lead into the midst of a cluster.
  std::vector<std::pair<Slot, ClusterIndex>> unaligned() const;

 private:
  void gather();
  std::uint64_t table_of(std::size_t state, std::uint64_t index) const {
    const auto& l1 = l1_[state];
    return index < l1.size() ? l1[index] & format::offset_mask : 0;
  }
  std::uint64_t data_of(std::size_t state, std::uint64_t l1_index, std::uint64_t l2_index) const;
  bool shares(const OrphanTable& table, Slot slot) const;
  bool goes_on(const OrphanTable& table, Slot slot) const;
  std::uint64_t cluster_of(std::uint64_t word) const;

  const image::Image& image_;
  const check::Result& result_;
  const format::Geometry& g_;
  std::vector<std::vector<std::uint64_t>> l1_;  // by state
  std::vector<Slot> empty_, bad_, doubtful_;    // doubtful: named more often than is counted
};

void SlotFinder::gather() {
  std::set<std::pair<std::int32_t, std::uint64_t>> wrong;
  std::set<std::uint64_t> low;
  for (const check::Finding& f : result_.findings.list()) {
    const check::Problem& row = check::problem(f.code);
    if (f.code == Code::refcount_low && f.host) low.insert(f.host->value);
    if (row.severity != check::Severity::error || row.status <= check::Status::corrupt_flag || !f.l1_index) continue;
    if (row.name.starts_with("l1.")) {
      for (std::uint64_t i = 0; i < std::min(f.count, most_slots); ++i) wrong.emplace(f.state, *f.l1_index + i);
    }
  }
  for (std::size_t s = 0; s < result_.states.size(); ++s) {
    const image::State& state = result_.states[s];
    l1_.push_back(read_words(image_, state.l1_offset, std::min<std::uint64_t>(state.l1_size, most_slots)));
    const std::uint64_t needed = std::max<std::uint64_t>(1, g_.l1_entries_for(state.disk_size));
    for (std::uint64_t i = 0; i < l1_[s].size(); ++i) {
      if (l1_[s][i] == 0) {
        if (i < needed) empty_.push_back({s, i});
      } else if (wrong.contains({state.snapshot, i})) {
        bad_.push_back({s, i});
      } else if (low.contains(table_of(s, i))) {
        doubtful_.push_back({s, i});
      }
    }
  }
}

// The cluster of uncompressed data; 0 if it is something else.
std::uint64_t SlotFinder::cluster_of(std::uint64_t word) const {
  return word & format::compressed_flag ? 0 : (word & format::offset_mask) >> g_.cluster_bits;
}

std::uint64_t SlotFinder::data_of(std::size_t state, std::uint64_t l1_index, std::uint64_t l2_index) const {
  const std::uint64_t table = table_of(state, l1_index);
  if (table == 0 || g_.offset_in_cluster(table) != 0 || table >= image_.size()) return 0;
  const auto words = read_words(image_, HostOffset(table) + l2_index * g_.l2_entry_bytes(), 1);
  return words.empty() ? 0 : cluster_of(words[0]);
}

bool SlotFinder::shares(const OrphanTable& table, Slot slot) const {
  for (std::size_t s = 0; s < l1_.size(); ++s) {
    const std::uint64_t other = table_of(s, slot.index);
    if (other == 0 || g_.offset_in_cluster(other) != 0 || g_.cluster(HostOffset(other)) == table.cluster) continue;
    const auto words = read_words(image_, HostOffset(other), table.words.size());
    for (std::size_t i = 0; i < words.size(); i += g_.l2_words()) {
      if (cluster_of(words[i]) != 0 && cluster_of(words[i]) == cluster_of(table.words[i])) return true;
    }
  }
  return false;
}

// Written in one go, data lies in a row, with no more than a few tables between.
bool SlotFinder::goes_on(const OrphanTable& table, Slot slot) const {
  constexpr std::uint64_t between = 4;
  const auto follows = [](std::uint64_t before, std::uint64_t after) {
    return before != 0 && after > before && after - before <= between;
  };
  const std::uint64_t last = g_.l2_entries() - 1;
  return (slot.index > 0 && follows(data_of(slot.state, slot.index - 1, last), cluster_of(table.words[0]))) ||
         follows(cluster_of(table.words[last * g_.l2_words()]), data_of(slot.state, slot.index + 1, 0));
}

std::optional<Slot> SlotFinder::slot(const OrphanTable& table, bool alone, std::string& why) const {
  std::vector<Slot> all = bad_;
  all.insert(all.end(), empty_.begin(), empty_.end());
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
  why = "it has clusters in common with another state's table there";
  if (const auto found = only(more, [&](Slot slot) { return shares(table, slot); })) return found;
  why = "the data goes on there, in the file as on the guest's disk";
  if (const auto found = only(all, [&](Slot slot) { return goes_on(table, slot); })) return found;
  if (!alone) return std::nullopt;
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

// Is the image better with that entry?
std::optional<Evidence> try_entry(Clues& clues, Slot slot, ClusterIndex table, const std::string& why) {
  const image::State& state = clues.result.states[slot.state];
  const HostOffset at = clues.image.geometry->offset(table);
  const bool copied = state.snapshot < 0 && clues.result.disk_refcounts->get(table) == 1;
  const std::uint64_t value = at.value | (copied ? format::copied_flag : 0);
  const Change change{state.l1_offset + slot.index * sizeof(std::uint64_t), 8, value};
  const auto then = clues.trial.with(std::span(&change, 1));
  if (!then || !clues.trial.better(then->result)) return std::nullopt;
  const bool active = state.snapshot < 0;
  return Evidence{
      fmt::format("{}l1[{}]", active ? "" : fmt::format("snapshot[{}].", state.snapshot), slot.index), value,
      fmt::format("The cluster at 0x{:x} reads as an L2 table that nothing names, and it belongs to L1 entry {}{}: {}.",
                  at.value, slot.index, active ? "" : fmt::format(" of snapshot[{}]", state.snapshot), why)};
}

}  // namespace

std::optional<Evidence> l1_evidence(Clues& clues) {
  const image::Image& image = clues.image;
  const check::Result& result = clues.result;
  if (!image.geometry || !image.refcounts_readable || result.states.empty() || !result.disk_refcounts) {
    return std::nullopt;
  }
  constexpr std::uint64_t most_words = 1 << 20;  // of L1 tables: many states may share one, but not what is kept of it
  std::uint64_t words = 0;
  for (const image::State& state : result.states) words += std::min<std::uint64_t>(state.l1_size, most_slots);
  if (words > most_words) return std::nullopt;
  constexpr std::size_t most = 8;  // tables that are tried
  const Orphans& orphans = clues.orphans();
  if (orphans.tables.empty() && result.findings.count(Code::l1_unaligned) == 0) return std::nullopt;
  const SlotFinder finder(image, result);
  for (std::size_t i = 0; i < std::min(orphans.tables.size(), most); ++i) {
    const OrphanTable& table = orphans.tables[i];
    std::string why;
    const auto slot = finder.slot(table, orphans.complete && orphans.tables.size() == 1, why);
    if (!slot) continue;
    if (auto found = try_entry(clues, *slot, table.cluster, why)) return found;
  }
  for (const auto& [slot, cluster] : finder.unaligned()) {
    if (auto found = try_entry(clues, slot, cluster, "the entry leads into the midst of it")) return found;
  }
  return std::nullopt;
}

}  // namespace qd::advice
