// A snapshot's entry has lost the place of its L1 table: an L1 table that nothing names may be it. Or it has lost the
// length: the size of its disk tells it.
#include <fmt/core.h>

#include <algorithm>
#include <set>

#include "advice/evidence.h"
#include "advice/search.h"
#include "check/claims.h"
#include "image/classify.h"

namespace qd::advice {
namespace {

using check::Code;

// May the snapshot's L1 table be another one than its entry names?
bool misled(const image::Image& image, const check::Report& result, std::size_t number) {
  const HostOffset at = image.snapshots.entries[number].l1_offset;
  if (!image::possible_place(image, at)) return true;
  const ClusterIndex cluster = image.geometry->cluster(at);
  if (result.claims->conflict.test(cluster.value) || result.disk_refcounts->get(cluster) == 0) return true;
  for (std::size_t s = 1; s < result.states.size(); ++s) {
    if (result.states[s].snapshot == static_cast<std::int32_t>(number)) return result.damaged(s);
  }
  return true;
}

std::optional<Evidence> l1_table(Clues& clues, std::size_t number) {
  const format::Snapshot& snapshot = clues.image.snapshots.entries[number];
  Fewest<std::uint64_t> best;
  for (const std::uint64_t value : orphan_l1_tables(clues.image, clues.result, clues.orphans(), snapshot.l1_size)) {
    const Change change{snapshot.at, 8, value};
    const auto then = clues.trial.with(std::span(&change, 1));
    if (then && clues.trial.better(then->result) && !then->abandons(snapshot.l1_offset)) best.add(value, then->leaks());
  }
  const auto alone = best.alone();
  if (!alone) return std::nullopt;
  return Evidence{fmt::format("snapshot[{}].l1_table_offset", number), *alone,
                  fmt::format("What lies there reads as an L1 table that nothing names, and it fits snapshot {}.",
                              clues.result.snapshot_names[number])};
}

// The L1 table is as long as the disk needs, or as the active one; with a VM state it is longer.
std::optional<Evidence> l1_size(Clues& clues, std::size_t number) {
  const format::Snapshot& snapshot = clues.image.snapshots.entries[number];
  if (snapshot.extra_data_size < 16 || snapshot.disk_size == 0) return std::nullopt;
  Fewest<std::uint64_t> best;
  const std::uint64_t needed = clues.image.geometry->l1_entries_for(snapshot.disk_size);
  for (const std::uint64_t value : std::set{needed, std::uint64_t{clues.image.header.l1_size}}) {
    const bool shorter = value < snapshot.l1_size;
    if (value < needed || value == snapshot.l1_size || (snapshot.vm_state_size > 0 && shorter)) continue;
    if (shorter && l1_goes_on(clues.image, snapshot.l1_offset, snapshot.l1_size, value)) continue;
    const Change change{snapshot.at + 8, 4, value};
    const auto then = clues.trial.with(std::span(&change, 1));
    if (then && clues.trial.better(then->result)) best.add(value, errors(then->result) + then->leaks());
  }
  const auto alone = best.alone();
  if (!alone) return std::nullopt;
  return Evidence{
      fmt::format("snapshot[{}].l1_size", number), *alone,
      fmt::format("So many L1 entries a disk of {} bytes has, as that of snapshot {} was, and then its table "
                  "fits.",
                  snapshot.disk_size, clues.result.snapshot_names[number])};
}

}  // namespace

std::optional<Evidence> snapshot_evidence(Clues& clues) {
  const check::Report& result = clues.result;
  if (!clues.image.geometry || !clues.image.refcounts_readable || !result.claims || !result.disk_refcounts) {
    return std::nullopt;
  }
  const bool leaks = result.findings.count(Code::refcount_leak) > 0;
  if (!leaks && errors(result) == 0) return std::nullopt;
  constexpr std::size_t most = 8;  // snapshots that are tried
  std::size_t tried = 0;
  for (std::size_t i = 0; i < std::min(clues.image.snapshots.entries.size(), result.snapshot_names.size()); ++i) {
    const format::Snapshot& snapshot = clues.image.snapshots.entries[i];
    const bool shorter = snapshot.l1_size < clues.image.geometry->l1_entries_for(snapshot.disk_size);
    const bool wrong = misled(clues.image, result, i);
    if (!wrong && !shorter) continue;
    if (auto found = l1_size(clues, i)) return found;
    if (auto found = wrong && leaks ? l1_table(clues, i) : std::nullopt) return found;
    if (++tried == most) break;
  }
  return std::nullopt;
}

}  // namespace qd::advice
