// One walk answers both questions. It sees all states' entries of a guest offset at once:
//   a gap: an entry names a cluster whose refcount is too high, and some state whose L1 table reaches that place
//   doesn't name the cluster there. That state may have named it once. What lies behind an L1 table in its last cluster
//   counts as a part of it: its length may be what is wrong.
//   a copy: there is an L1 index whose shared tables have each entry of the orphan at the same L2 index, empty ones and
//   zeros included. (A writer changes its copy only after an L1 entry points to it.) The equal entries are added up
//   piece by piece, since tables may come in pieces.
#include "check/counterparts.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include "base/checked.h"
#include "check/claims.h"
#include "check/report.h"
#include "check/sharing.h"
#include "image/walk.h"

namespace qd::check {
namespace {

struct Part {
  std::optional<Gap> gap;
  std::map<std::pair<std::size_t, std::uint32_t>, std::uint64_t> matches;  // orphan, L1 index -> entries that match
};

class Looker {
 public:
  Looker(const image::Image& image, const Report& result, std::span<const OrphanTable> orphans);

  void look(const image::Group& group, Part& into) const;
  std::uint64_t entries() const { return g_.l2_entries(); }

 private:
  bool too_high(std::uint64_t raw) const;
  void look_for_gap(const image::Group& group, Part& into) const;
  std::uint64_t reach(const image::Image& image, const image::State& state) const;
  std::optional<std::int32_t> outsider(const image::Group& group, std::uint64_t key,
                                       std::optional<std::uint64_t> l2_index) const;
  bool is_copied(const image::Table& table) const;
  void compare(const image::Group& group, std::size_t orphan, Part& into) const;
  std::uint64_t orphan_key(std::size_t orphan, std::uint64_t index) const {
    const std::vector<std::uint64_t>& words = orphans_[orphan].words;
    const std::uint64_t i = index * g_.l2_words();
    return key(words[i], g_.extended_l2 ? words[i + 1] : 0);
  }

  const Report& result_;
  const format::Geometry& g_;
  const std::span<const OrphanTable> orphans_;
  std::vector<std::uint64_t> first_;  // of each orphan: its first entry with a cluster
  std::vector<std::uint64_t> reach_;  // of each state: L1 entries
};

Looker::Looker(const image::Image& image, const Report& result, std::span<const OrphanTable> orphans)
    : result_(result), g_(*image.geometry), orphans_(orphans), first_(orphans.size()) {
  for (std::size_t o = 0; o < orphans.size(); ++o) {
    for (std::uint64_t i = g_.l2_entries(); i-- > 0;) {
      if (orphan_key(o, i) != 0) first_[o] = i;
    }
  }
  std::map<HostOffset, std::uint64_t> known;  // snapshots may share a table
  for (const image::State& state : result.states) {
    const auto [at, fresh] = known.try_emplace(state.l1_offset);
    if (fresh) at->second = reach(image, state);
    reach_.push_back(std::max<std::uint64_t>(state.l1_size, at->second));
  }
}

// A table whose length is wrong may have had more entries: they are still there, up to the end of its last cluster.
std::uint64_t Looker::reach(const image::Image& image, const image::State& state) const {
  const std::uint64_t each = g_.cluster_size() / sizeof(std::uint64_t), size = state.l1_size;
  std::uint64_t reach = size;
  std::ignore = image::for_words(image.file(), state.l1_offset + size * sizeof(std::uint64_t),
                                 round_up(size, each) - size, [&](std::uint64_t first, auto words) {
                                   for (std::size_t i = 0; i < words.size(); ++i) {
                                     if (words[i] != 0) reach = size + first + i + 1;
                                   }
                                   return true;
                                 });
  return reach;
}

bool Looker::too_high(std::uint64_t raw) const {
  const ClusterIndex cluster = g_.cluster(HostOffset(raw & format::offset_mask));
  return cluster.value < result_.claims->clusters() && result_.claims->suspect.test(cluster.value) &&
         result_.disk_refcounts->get(cluster) > result_.references(cluster);
}

// A state whose L1 table reaches that place, but names something else there than `wanted`: another cluster, or, without
// `l2_index`, another L2 table.
std::optional<std::int32_t> Looker::outsider(const image::Group& group, std::uint64_t wanted,
                                             std::optional<std::uint64_t> l2_index) const {
  std::vector<bool> has(result_.states.size());
  for (const image::Table& table : group.tables) {
    if (l2_index && table.l2.empty()) continue;
    const std::uint64_t here = l2_index ? key(table.l2.raw(*l2_index), table.l2.bitmap(*l2_index)) : table.offset.value;
    if (here != wanted) continue;
    for (const image::L1Entry& e : table.entries) has[e.state] = true;
  }
  for (std::size_t s = 0; s < has.size(); ++s) {
    if (!has[s] && group.l1_index < reach_[s]) return result_.states[s].snapshot;
  }
  return std::nullopt;
}

void Looker::look_for_gap(const image::Group& group, Part& into) const {
  const auto found = [&](std::uint64_t offset, std::uint64_t wanted, std::optional<std::uint64_t> l2_index) {
    const auto state = outsider(group, wanted, l2_index);
    if (!state) return false;
    into.gap = Gap{g_.cluster(HostOffset(offset)), *state, group.l1_index, std::nullopt};
    if (l2_index) into.gap->l2_index = static_cast<std::uint32_t>(*l2_index);
    return true;
  };
  for (const image::Table& table : group.tables) {
    if (too_high(table.offset.value) && found(table.offset.value, table.offset.value, std::nullopt)) return;
    if (table.l2.empty() || g_.data_file) continue;
    for (std::uint64_t i = group.begin; i < group.end; ++i) {
      const std::uint64_t raw = table.l2.raw(i);
      if (raw == 0 || (raw & format::compressed_flag) || (raw & format::offset_mask) == 0 || !too_high(raw)) continue;
      if (found(raw & format::offset_mask, key(raw, 0), i)) return;
    }
  }
}

// Writers copy a table only while it is shared. Others prove nothing: a guest's own qcow2 file may have tables like
// these.
bool Looker::is_copied(const image::Table& table) const {
  const ClusterIndex cluster = g_.cluster(table.offset);
  return table.entries.size() > 1 ||
         (cluster.value < result_.claims->clusters() && result_.disk_refcounts->get(cluster) > 1);
}

void Looker::compare(const image::Group& group, std::size_t orphan, Part& into) const {
  const auto match = [&](std::uint64_t i) {
    const std::uint64_t wanted = orphan_key(orphan, i);
    return std::ranges::any_of(group.tables, [&](const image::Table& table) {
      return !table.l2.empty() && key(table.l2.raw(i), table.l2.bitmap(i)) == wanted && is_copied(table);
    });
  };
  const std::uint64_t first = first_[orphan];
  if (first >= group.begin && first < group.end && !match(first)) return;
  std::uint64_t matches = 0;
  for (std::uint64_t i = group.begin; i < group.end; ++i) matches += match(i);
  if (matches > 0) into.matches[{orphan, group.l1_index}] += matches;
}

void Looker::look(const image::Group& group, Part& into) const {
  if (!into.gap) look_for_gap(group, into);
  for (std::size_t o = 0; o < orphans_.size(); ++o) compare(group, o, into);
}

bool any_too_high(const Report& result) {
  return std::ranges::any_of(result.findings.list(),
                             [](const Finding& f) { return f.code == Code::refcount_leak && f.expected != 0; });
}

}  // namespace

std::string Gap::text(const format::Geometry& g, const Report& result) const {
  const std::string whose =
      state < 0 ? std::string("the active disk") : "snapshot " + result.snapshot_names[static_cast<std::size_t>(state)];
  return fmt::format("cluster 0x{:x} counts more references than are known, and {} may have had it as its {}",
                     g.offset(cluster).value, whose,
                     l2_index ? fmt::format("guest offset 0x{:x}", g.guest(l1_index, *l2_index).value)
                              : fmt::format("L2 table of L1 entry {}", l1_index));
}

Counterparts counterparts_of(const image::Image& image, const Report& result, std::span<const OrphanTable> orphans) {
  Counterparts answer{{}, std::vector<bool>(orphans.size())};
  if (!result.claims || (orphans.empty() && !any_too_high(result))) return answer;
  const Looker looker(image, result, orphans);
  Part all;
  image::walk<Part>(
      image, result.states, [&](const image::Group& group, Part& part) { looker.look(group, part); },
      [&](Part&& part) {
        if (!all.gap) all.gap = part.gap;
        for (const auto& [place, matches] : part.matches) all.matches[place] += matches;
      },
      {.most_entries = image::as_fits});
  answer.gap = all.gap;
  for (const auto& [place, matches] : all.matches) {
    if (matches == looker.entries()) answer.copies[place.first] = true;
  }
  return answer;
}

}  // namespace qd::check
