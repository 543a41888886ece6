// May clusters that look leaked be freed? A lost L1 entry, L2 table or snapshot leaves no other trace than clusters
// that have a refcount but no mapping, and freeing them destroys the only copy of somebody's data. So leaks are
// suspicious until their number, their content and the state of all tables show that nothing was lost.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/units.h"
#include "check/problems.h"
#include "image/image.h"

namespace qd::check {

struct Report;

// Are there snapshots whose tables can't be reached? Refcounts that count their references then look too high.
bool snapshots_unread(const Report& result);

// Clusters in a row that have a refcount, but no reference at all.
struct Stretch {
  ClusterIndex first;
  std::uint64_t count = 0;
  std::uint64_t full = 0;    // of them, clusters that hold something
  std::uint64_t tables = 0;  // of these, clusters that read as L1 or L2 tables

  std::uint64_t data() const { return count - tables; }
};

struct GuestRange {
  GuestOffset first;
  std::uint64_t bytes = 0;
  bool somewhere = false;  // within it, not all of it

  std::string text() const;  // "probably the guest's bytes 0x… to 0x…"
};

// Where on the guest's disk the data of a stretch may have been, as far as its neighbours in the file tell.
struct ProbablePlace {
  std::optional<GuestRange> guest;
  bool fits = false;         // exactly between its neighbours, on the disk as in the file
  bool behind_void = false;  // just behind an L2 table that maps nothing
};
// Walks the active tables, once for all stretches.
std::vector<ProbablePlace> places_of(const image::Image& image, const Report& result,
                                     std::span<const Stretch> stretches);

struct LeakDoubt {
  bool hidden = false;              // damage hides references to data: any leak may be data
  bool bitmaps_hidden = false;      // damage hides references of bitmaps
  bool lost_table = false;          // the leaks look like what a lost table has mapped
  bool maybe_bitmap = false;        // lost_table: but what was lost could as well be a bitmap
  bool lost_snapshot = false;       // lost_table: a snapshot's L1 table is among them
  bool misplaced = false;           // entries may name wrong clusters, and the right ones may be what is leaked
  std::string evidence;             // lost_table: what says so, a clause
  std::optional<GuestRange> guest;  // lost_table: where they probably were

  bool data_at_risk() const { return hidden || lost_table; }
  bool forbids_freeing() const { return data_at_risk() || bitmaps_hidden; }
};

// Fills result.leak_doubt from the findings. Reads the content of some leaked clusters, 16 MiB of them at most.
void judge_leaks(const image::Image& image, Report& result);

}  // namespace qd::check
