// A ruined L2 entry, from what the file holds around it:
//   - Neighbours on the guest's disk are usually neighbours in the file. If the entries beside it name X-1 and X+1, and
//     nothing names X, it has named X. The same goes for a few entries in a row.
//   - States share clusters at one guest offset only. If another state's cluster at that place has a refcount that is
//     one too high, the entry has named it.
//   - An entry may lead into the midst of a cluster, or be right but for the flag that makes it compressed.
#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "advice/evidence.h"
#include "check/claims.h"
#include "image/classify.h"
#include "image/lookup.h"
#include "image/runs.h"
#include "image/walk.h"

namespace qd::advice {
namespace {

using check::Code;

// Clusters in a row that hold something and that nothing names.
struct Run {
  ClusterIndex first;
  std::uint64_t count = 0;
};

// Where a run would begin according to an entry that names the cluster just before it, or just behind it.
struct Start {
  std::size_t state = 0;
  std::uint32_t l1_index = 0;
  HostOffset table;
  std::uint64_t l2_index = 0;
  auto operator<=>(const Start&) const = default;
};

struct Sides {
  std::map<Start, std::uint64_t> before, behind;  // with the length of the row that ends or begins there
};

class Neighbours {
 public:
  Neighbours(const image::Image& image, const check::Report& result, const Orphans& orphans);

  struct Place {
    Start start;
    std::string why;
  };
  // Where the run belongs, if that is certain.
  std::optional<Place> place(std::size_t run) const;
  const std::vector<Run>& runs() const { return runs_; }
  // The only entry that is wrong.
  std::optional<Start> only_bad() const;
  enum class Value { sound, empty, bad };
  Value value(const Start& start, std::uint64_t index) const;

 private:
  void gather_bad();
  void look_around();
  bool all(const Start& start, std::uint64_t count, bool may_be_empty) const;

  const image::Image& image_;
  const check::Report& result_;
  const format::Geometry& g_;
  std::vector<Run> runs_;
  std::vector<Sides> sides_;  // one for each run
  std::map<std::tuple<std::int32_t, std::uint32_t, std::uint32_t>, bool> bad_;
};

Neighbours::Neighbours(const image::Image& image, const check::Report& result, const Orphans& orphans)
    : image_(image), result_(result), g_(*image.geometry) {
  for (const ClusterIndex cluster : orphans.others) {
    if (!runs_.empty() && runs_.back().first + runs_.back().count == cluster) {
      ++runs_.back().count;
    } else {
      runs_.push_back({cluster, 1});
    }
  }
  constexpr std::size_t most = 64;
  if (runs_.size() > most) runs_.resize(most);
  sides_.resize(runs_.size());
  gather_bad();
  look_around();
}

void Neighbours::gather_bad() {
  constexpr std::size_t most = 4096;
  for (const check::Finding& f : result_.findings.list()) {
    const check::Problem& row = check::problem(f.code);
    if (row.severity != check::Severity::error || row.status <= check::Status::corrupt_flag) continue;
    const bool entry = row.subject == check::Subject::l2 || row.subject == check::Subject::compressed;
    if (!f.l1_index || !f.l2_index || !entry) continue;
    for (std::uint64_t i = 0; i < f.count && bad_.size() < most; ++i) {
      bad_[{f.state, *f.l1_index, static_cast<std::uint32_t>(*f.l2_index + i)}] = true;
    }
  }
}

void Neighbours::look_around() {
  using Part = std::vector<Sides>;
  image::walk<Part>(
      image_, result_.states,
      [&](const image::Group& group, Part& part) {
        part.resize(runs_.size());
        for (const image::Table& table : group.tables) {
          if (table.l2.empty() || table.offset.value == 0 || g_.offset_in_cluster(table.offset.value) != 0) continue;
          const Start here{table.entries.front().state, group.l1_index, table.offset, 0};
          image::for_runs(g_, table.l2, group.begin, group.end, [&](std::uint64_t first, std::uint64_t n) {
            const std::uint64_t raw = table.l2.raw(first);
            if (raw & format::compressed_flag || (raw & format::offset_mask) == 0) return;
            const ClusterIndex cluster = g_.cluster(HostOffset(raw & format::offset_mask));
            for (std::size_t i = 0; i < runs_.size(); ++i) {
              Start start = here;
              start.l2_index = first + n;
              if (cluster + n == runs_[i].first && start.l2_index < g_.l2_entries()) part[i].before[start] = n;
              start.l2_index = first - runs_[i].count;
              if (runs_[i].first + runs_[i].count == cluster && first >= runs_[i].count) part[i].behind[start] = n;
            }
          });
        }
      },
      [&](Part&& part) {
        for (std::size_t i = 0; i < part.size(); ++i) {
          sides_[i].before.merge(part[i].before);
          sides_[i].behind.merge(part[i].behind);
        }
      },
      {.most_entries = image::as_fits});
}

Neighbours::Value Neighbours::value(const Start& start, std::uint64_t index) const {
  if (index >= g_.l2_entries()) return Value::sound;
  const auto entry = image::read_l2_entry(image_, start.table, index);
  if (!entry) return Value::sound;
  if (bad_.contains({result_.states[start.state].snapshot, start.l1_index, static_cast<std::uint32_t>(index)})) {
    return Value::bad;
  }
  const std::uint64_t raw = entry->raw;
  if (raw == 0) return entry->bitmap == 0 ? Value::empty : Value::bad;
  // It names a cluster that has another owner, too.
  const HostOffset place =
      raw & format::compressed_flag ? g_.compressed(raw).offset : HostOffset(raw & format::offset_mask);
  const bool taken =
      place.value != 0 && place.value < image_.size() && result_.claims->conflict.test(g_.cluster(place).value);
  return taken ? Value::bad : Value::sound;
}

bool Neighbours::all(const Start& start, std::uint64_t count, bool may_be_empty) const {
  if (start.l2_index + count > g_.l2_entries()) return false;
  for (std::uint64_t i = 0; i < count; ++i) {
    const Value is = value(start, start.l2_index + i);
    if (is == Value::sound || (is == Value::empty && !may_be_empty)) return false;
  }
  return true;
}

std::optional<Neighbours::Place> Neighbours::place(std::size_t run) const {
  const std::uint64_t count = runs_[run].count;
  const auto& [before, behind] = sides_[run];
  std::vector<Start> both;
  for (const auto& [start, row] : before) {
    // Several clusters may have been written in another order, but hardly in the midst of a long row.
    constexpr std::uint64_t times = 4;
    const auto found = behind.find(start);
    if (found != behind.end() && (count == 1 || row + found->second >= times * count)) both.push_back(start);
  }
  // In version 2, an empty entry may also be what the guest has discarded: there is no other sign for that.
  const bool may_be_empty = image_.header.version >= 3;
  if (both.size() == 1 && all(both[0], count, may_be_empty)) {
    return Place{both[0], "its neighbours lie just before and behind it"};
  }
  if (before.size() + behind.size() != 1) return std::nullopt;
  const Start& start = before.empty() ? behind.begin()->first : before.begin()->first;
  const bool alone = value(start, start.l2_index + count) != Value::bad &&
                     (start.l2_index == 0 || value(start, start.l2_index - 1) != Value::bad);
  if (!alone || !all(start, count, false)) return std::nullopt;
  return Place{start, before.empty() ? "the entry behind it names the cluster just behind"
                                     : "the entry before it names the cluster just before"};
}

std::optional<Start> start_at(const image::Image& image, const check::Report& result, std::int32_t number,
                              std::uint32_t l1_index, std::uint64_t l2_index) {
  const image::State* state = image::find_state(result.states, number);
  if (!state) return std::nullopt;
  const auto table = image::l2_table_of(image, *state, l1_index);
  if (!table) return std::nullopt;
  return Start{static_cast<std::size_t>(state - result.states.data()), l1_index, *table, l2_index};
}

std::optional<Start> Neighbours::only_bad() const {
  if (bad_.size() != 1) return std::nullopt;
  const auto& [number, l1_index, l2_index] = bad_.begin()->first;
  return start_at(image_, result_, number, l1_index, l2_index);
}

// Is the image better with that entry? `what`: words about the cluster.
std::optional<Evidence> try_entry(Clues& clues, const Start& start, ClusterIndex cluster, std::string_view why,
                                  std::string_view what = "nothing names it") {
  const format::Geometry& g = *clues.image.geometry;
  const auto& [state, l1_index, table, l2_index] = start;
  const bool copied = clues.result.disk_refcounts->get(cluster) == 1;
  const std::uint64_t value = g.offset(cluster).value | (copied ? format::copied_flag : 0);
  const Change change{image::l2_entry_at(clues.image, table, l2_index), 8, value};
  const auto now = image::read_word(clues.image.file(), change.at);
  const auto then = clues.trial.with(std::span(&change, 1));
  if (!then || !clues.trial.better(then->result) || !now) return std::nullopt;
  const bool compressed = (*now & format::compressed_flag) != 0;
  if (then->abandons(compressed ? g.compressed(*now).offset : HostOffset(*now & format::offset_mask))) {
    return std::nullopt;
  }
  const std::int32_t number = clues.result.states[state].snapshot;
  return Evidence{
      fmt::format("{}l2[{},{}]", number < 0 ? "" : fmt::format("snapshot[{}].", number), l1_index, l2_index), value,
      fmt::format("The cluster at 0x{:x} belongs to L2 entry {} of L1 entry {}{}: {}, and {}.", g.offset(cluster).value,
                  l2_index, l1_index, number < 0 ? "" : fmt::format(" of snapshot[{}]", number), what, why)};
}

// An entry that leads into the midst of a cluster. Either nothing names the cluster, or another state does, at the same
// place.
std::optional<Evidence> unaligned(Clues& clues) {
  const image::Image& image = clues.image;
  const check::Report& result = clues.result;
  constexpr int most = 8;
  int tried = 0;
  for (const check::Finding& f : result.findings.list()) {
    if (f.code != Code::l2_unaligned || f.count != 1 || !f.l1_index || !f.l2_index || !f.found) continue;
    const HostOffset at(*f.found & format::offset_mask);
    if (at.value >= image.size() || ++tried > most) continue;
    const ClusterIndex cluster = image.geometry->cluster(at);
    if (image.clusters() <= cluster.value || result.disk_refcounts->get(cluster) == 0) continue;
    const auto start = start_at(image, result, f.state, *f.l1_index, *f.l2_index);
    if (!start) continue;
    const bool owned = result.claims->owned.test(cluster.value);
    const std::string_view what = owned ? "another state has it there" : "nothing names it";
    if (auto found = try_entry(clues, *start, cluster, "the entry leads into the midst of it", what)) return found;
  }
  return std::nullopt;
}

// The cluster that a compressed entry would name without the flag, if no bit speaks against that.
std::optional<ClusterIndex> without_flag(const image::Image& image, std::uint64_t entry) {
  const HostOffset at(entry & ~(format::compressed_flag | format::copied_flag));
  return image::possible_place(image, at) ? std::optional(image.geometry->cluster(at)) : std::nullopt;
}

// Two signs that an entry isn't compressed in truth: it has COPIED, or another state has the same cluster uncompressed
// at that place.
std::optional<Evidence> uncompressed(Clues& clues) {
  constexpr std::string_view what = "the entry names it but for the flag that makes it compressed";
  const check::Report& result = clues.result;
  const auto attempt = [&](std::int32_t state, std::uint32_t l1_index, std::uint32_t l2_index, ClusterIndex cluster,
                           std::string_view why) -> std::optional<Evidence> {
    const auto start = start_at(clues.image, result, state, l1_index, l2_index);
    return start ? try_entry(clues, *start, cluster, why, what) : std::nullopt;
  };
  for (const check::Finding& f : result.findings.list()) {
    if (f.code != Code::compressed_copied || f.count != 1 || !f.l1_index || !f.l2_index || !f.found) continue;
    const auto cluster = without_flag(clues.image, *f.found);
    if (!cluster || result.disk_refcounts->get(*cluster) != 1 || result.references(*cluster) != 1) continue;
    constexpr std::string_view why = "it has COPIED, as compressed ones never have";
    if (auto found = attempt(f.state, *f.l1_index, *f.l2_index, *cluster, why)) return found;
  }
  for (const check::Owner& o : result.owners) {
    if (o.kind != check::OwnerKind::compressed || without_flag(clues.image, o.raw) != o.cluster) continue;
    const auto others = result.owners_of(o.cluster);
    const bool shared = std::ranges::any_of(others, [&](const check::Owner& other) {
      return other.kind == check::OwnerKind::data && other.l1_index == o.l1_index && other.l2_index == o.l2_index;
    });
    if (!shared) continue;
    if (auto found = attempt(o.state, o.l1_index, o.l2_index, o.cluster, "another state has it there")) return found;
  }
  return std::nullopt;
}

// A cluster whose refcount is higher than its references: where it is on the guest's disk, and who has it there.
struct Shared {
  std::uint64_t missing = 0;
  std::set<std::pair<std::uint32_t, std::uint64_t>> places;  // L1 and L2 index
  std::set<std::size_t> states;
};
using AllShared = std::map<ClusterIndex, Shared>;

// Nothing if there are many: each takes a command of its own.
AllShared counted_too_often(const check::Report& result) {
  constexpr std::size_t most = 16;
  AllShared found;
  if (!counts_tell(result)) return found;
  for (const check::Finding& f : result.findings.list()) {
    if (f.code != Code::refcount_leak || f.expected == 0 || !f.index) continue;
    if (found.size() + f.count > most) return {};
    for (std::uint64_t c = *f.index; c < *f.index + f.count; ++c) {
      found[ClusterIndex(c)].missing = result.disk_refcounts->get(ClusterIndex(c)) - result.references(ClusterIndex(c));
    }
  }
  return found;
}

void find_places(const Clues& clues, AllShared& all) {
  const format::Geometry& g = *clues.image.geometry;
  image::walk<AllShared>(
      clues.image, clues.result.states,
      [&](const image::Group& group, AllShared& part) {
        for (const image::Table& table : group.tables) {
          if (table.l2.empty() || table.offset.value == 0 || g.offset_in_cluster(table.offset.value) != 0) continue;
          image::for_runs(g, table.l2, group.begin, group.end, [&](std::uint64_t first, std::uint64_t n) {
            const std::uint64_t raw = table.l2.raw(first);
            if (raw & format::compressed_flag || (raw & format::offset_mask) == 0) return;
            const ClusterIndex cluster = g.cluster(HostOffset(raw & format::offset_mask));
            for (auto at = all.lower_bound(cluster); at != all.end() && at->first < cluster + n; ++at) {
              Shared& here = part[at->first];
              here.places.emplace(group.l1_index, first + (at->first.value - cluster.value));
              for (const image::L1Entry& e : table.entries) here.states.insert(e.state);
            }
          });
        }
      },
      [&](AllShared&& part) {
        for (auto& [cluster, here] : part) {
          all[cluster].places.merge(here.places);
          all[cluster].states.merge(here.states);
        }
      },
      {.most_entries = image::as_fits});
}

// Each refcount that is too high must be explained by as many wrong entries: old refcounts are too high, too.
std::optional<Evidence> shared_cluster(Clues& clues, const Neighbours& neighbours, AllShared all) {
  if (all.empty()) return std::nullopt;
  find_places(clues, all);
  const bool may_be_empty = clues.image.header.version >= 3;
  std::vector<std::pair<Start, ClusterIndex>> lost;
  for (const auto& [cluster, shared] : all) {
    if (shared.places.size() != 1) return std::nullopt;
    const auto [l1_index, l2_index] = *shared.places.begin();
    std::vector<Start> wrong;
    for (std::size_t s = 0; s < clues.result.states.size(); ++s) {
      if (shared.states.contains(s)) continue;
      const auto start = start_at(clues.image, clues.result, clues.result.states[s].snapshot, l1_index, l2_index);
      if (!start || start->table.value == 0 || clues.image.geometry->offset_in_cluster(start->table.value) != 0)
        continue;
      const Neighbours::Value is = neighbours.value(*start, l2_index);
      if (is == Neighbours::Value::bad || (is == Neighbours::Value::empty && may_be_empty)) wrong.push_back(*start);
    }
    if (wrong.size() != shared.missing) return std::nullopt;
    lost.emplace_back(wrong.front(), cluster);
  }
  for (const auto& [start, cluster] : lost) {
    constexpr std::string_view what = "it counts a reference too many";
    if (auto found = try_entry(clues, start, cluster, "another state has it there", what)) return found;
  }
  return std::nullopt;
}

}  // namespace

std::optional<Evidence> l2_evidence(Clues& clues) {
  const image::Image& image = clues.image;
  const check::Report& result = clues.result;
  if (!image.geometry || !image.refcounts_readable || image.geometry->data_file || result.states.empty() ||
      !result.disk_refcounts || !result.claims) {
    return std::nullopt;
  }
  if (auto found = unaligned(clues)) return found;
  if (auto found = uncompressed(clues)) return found;
  const Orphans& orphans = clues.orphans();
  AllShared shared = counted_too_often(result);
  if (orphans.others.empty() && shared.empty()) return std::nullopt;
  const Neighbours neighbours(image, result, orphans);
  if (auto found = shared_cluster(clues, neighbours, std::move(shared))) return found;
  const bool alone = orphans.complete && orphans.tables.empty() && orphans.others.size() == 1;
  for (std::size_t i = 0; i < neighbours.runs().size(); ++i) {
    auto place = neighbours.place(i);
    if (!place && alone) {
      if (const auto bad = neighbours.only_bad()) {
        place = {*bad, "it is the only entry that is wrong, and the cluster the only one that is missing"};
      }
    }
    if (!place) continue;
    if (auto found = try_entry(clues, place->start, neighbours.runs()[i].first, place->why)) return found;
  }
  return std::nullopt;
}

}  // namespace qd::advice
