// Where were leaked clusters on the guest's disk? What is written in one go lies in a row, on the disk as in the file.
//
// If an L2 table is among them, an L1 entry was lost. The data lies somewhere in the part of the disk that has no
// table: the first such part behind the guest cluster that lies just before the stretch in the file.
//
// If there is no L2 table among them, their L2 entries were lost. Then they follow the guest cluster that lies just
// before them in the file, or begin the table that lies just before them, or precede the guest cluster that lies just
// behind them: the first of these places that has no entries.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <vector>

#include "base/uniform.h"
#include "check/leaks.h"
#include "check/report.h"
#include "image/runs.h"
#include "image/walk.h"

namespace qd::check {
namespace {

// What the active tables say about the neighbours of a stretch. Guest places count clusters.
struct Neighbours {
  enum Side { before, table, behind, sides };
  std::array<std::optional<std::uint64_t>, sides> start;  // of the stretch, as this side tells
  std::array<bool, sides> free{};                         // are there no entries at that place?
  bool behind_void = false;                               // the table just before maps nothing

  void add(const Neighbours& other) {
    behind_void |= other.behind_void;
    for (int side = 0; side < sides; ++side) {
      if (start[side] || !other.start[side]) continue;
      start[side] = other.start[side];
      free[side] = other.free[side];
    }
  }
  // Do the neighbours on both sides say the same?
  bool agree() const {
    const auto& first = start[before] ? start[before] : start[table];
    return first && first == start[behind];
  }
};

class Looker {
 public:
  Looker(const format::Geometry& geometry, std::span<const Stretch> stretches) : g_(geometry), stretches_(stretches) {}
  // `into`: one for each stretch.
  void look(const image::Group& group, const image::Table& table, std::span<Neighbours> into) const;

 private:
  bool empty(const image::Table& table, const Stretch& stretch, std::uint64_t first) const;

  const format::Geometry& g_;
  const std::span<const Stretch> stretches_;
};

// Has the table no entries where the stretch would have them, up to its end?
bool Looker::empty(const image::Table& table, const Stretch& stretch, std::uint64_t first) const {
  const std::uint64_t end = std::min<std::uint64_t>(first + stretch.count, g_.l2_entries());
  for (std::uint64_t i = first; i < end; ++i) {
    if (table.l2.raw(i) != 0) return false;
  }
  return true;
}

void Looker::look(const image::Group& group, const image::Table& table, std::span<Neighbours> into) const {
  const std::uint64_t begin = std::uint64_t{group.l1_index} * g_.l2_entries();
  const auto found = [&](std::size_t i, Neighbours::Side side, std::uint64_t first) {
    into[i].start[side] = begin + first;
    into[i].free[side] = empty(table, stretches_[i], first);
  };
  for (std::size_t i = 0; i < stretches_.size(); ++i) {
    if (g_.cluster(table.offset) + 1 != stretches_[i].first) continue;
    found(i, Neighbours::table, 0);
    into[i].behind_void = all_zero(table.l2.words());
  }
  image::for_runs(g_, table.l2, 0, g_.l2_entries(), [&](std::uint64_t first, std::uint64_t n) {
    const std::uint64_t raw = table.l2.raw(first);
    if (raw & format::compressed_flag) return;
    const ClusterIndex cluster = g_.cluster(HostOffset(raw & format::offset_mask));
    for (std::size_t i = 0; i < stretches_.size(); ++i) {
      const Stretch& stretch = stretches_[i];
      if (cluster + n == stretch.first) found(i, Neighbours::before, first + n);
      if (stretch.first + stretch.count == cluster && first >= stretch.count) {
        found(i, Neighbours::behind, first - stretch.count);
      }
    }
  });
}

// The first row of empty L1 entries at or behind `from`; if there is none, the first row of all.
std::optional<std::pair<std::uint64_t, std::uint64_t>> empty_slots(const std::vector<std::uint32_t>& used,
                                                                   std::uint64_t from, std::uint64_t slots) {
  std::optional<std::pair<std::uint64_t, std::uint64_t>> first;
  for (std::uint64_t i = 0, next = 0; i <= used.size() && next < slots; ++i) {
    const std::uint64_t end = i < used.size() ? std::min<std::uint64_t>(used[i], slots) : slots;
    if (end > next && (!first || first->first < from)) {
      if (!first || next >= from) first.emplace(next, end);
    }
    if (i < used.size()) next = std::uint64_t{used[i]} + 1;
  }
  return first;
}

std::optional<GuestRange> guess(const image::Image& image, const Stretch& stretch, const Neighbours& neighbours,
                                const std::vector<std::uint32_t>& used) {
  const format::Geometry& g = *image.geometry;
  const std::uint64_t size = image.header.size;
  const auto range = [&](std::uint64_t first, std::uint64_t clusters, bool somewhere) -> std::optional<GuestRange> {
    const std::uint64_t at = first << g.cluster_bits;
    if (at >= size || clusters == 0) return std::nullopt;
    return GuestRange{GuestOffset(at), std::min(clusters << g.cluster_bits, size - at), somewhere};
  };
  if (stretch.tables > 0) {
    const std::uint64_t after = neighbours.start[Neighbours::before].value_or(0) / g.l2_entries();
    const auto slots = empty_slots(used, after, g.l1_entries_for(size));
    if (!slots || stretch.data() == 0) return std::nullopt;
    return range(slots->first * g.l2_entries(), (slots->second - slots->first) * g.l2_entries(), true);
  }
  if (neighbours.agree()) return range(*neighbours.start[Neighbours::behind], stretch.count, false);
  for (int side = 0; side < Neighbours::sides; ++side) {
    if (neighbours.start[side] && neighbours.free[side]) return range(*neighbours.start[side], stretch.count, false);
  }
  return std::nullopt;
}

}  // namespace

std::string GuestRange::text() const {
  return fmt::format("probably {}the guest's bytes 0x{:x} to 0x{:x}", somewhere ? "somewhere in " : "", first.value,
                     first.value + bytes);
}

std::vector<ProbablePlace> places_of(const image::Image& image, const Report& result,
                                     std::span<const Stretch> stretches) {
  if (result.states.empty()) return std::vector<ProbablePlace>(stretches.size());
  struct Part {
    std::vector<Neighbours> neighbours;  // as stretches
    std::vector<std::uint32_t> used;     // L1 indexes that have a table
  };
  const Looker looker(*image.geometry, stretches);
  Part all{std::vector<Neighbours>(stretches.size()), {}};
  image::Repeats repeats(image.size(), image.geometry->cluster_bits, image.file().allocated_bytes());
  image::walk<Part>(
      image, std::span(result.states).first(1),
      [&](const image::Group& group, Part& part) {
        part.neighbours.resize(stretches.size());
        for (const image::Table& table : group.tables) {
          // A ruined L1 entry has no table either.
          if (table.offset.value == 0 || table.offset.value >= image.size() || table.l2.empty()) continue;
          part.used.push_back(group.l1_index);
          looker.look(group, table, part.neighbours);
        }
      },
      [&](Part&& part) {
        for (std::size_t i = 0; i < part.neighbours.size(); ++i) all.neighbours[i].add(part.neighbours[i]);
        all.used.insert(all.used.end(), part.used.begin(), part.used.end());
      },
      {.repeats = &repeats});

  std::vector<ProbablePlace> places;
  for (std::size_t i = 0; i < stretches.size(); ++i) {
    places.push_back({guess(image, stretches[i], all.neighbours[i], all.used), all.neighbours[i].agree(),
                      all.neighbours[i].behind_void});
  }
  return places;
}

}  // namespace qd::check
