// The first walk: judges every L1 and L2 entry by itself, claims the clusters they name, compares COPIED with the
// refcounts on disk and gathers the statistics. One pass over the tables; the unit of work is a run of entries.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "check/context.h"

namespace qd::check {

// As QEMU counts: an allocated cluster that doesn't follow the one before it in its table is a fragment.
struct Fragments {
  std::uint64_t first = 0, next = 0;  // where the first cluster lies, and where the last one ends: 0 if there is none

  // Appends what follows. Returns 1 if that is a new fragment.
  unsigned add(const Fragments& behind) {
    if (behind.next == 0) return 0;
    const unsigned fragment = next != 0 && behind.first != next;
    if (next == 0) first = behind.first;
    next = behind.next;
    return fragment;
  }
};

// The same for pieces of tables in a row: the first table may have begun in an earlier piece, and the last may go on in
// a later one.
struct TableFragments {
  Fragments begun, last;
  bool has_begin = false;  // a table begins here: `last` is of another table than `begun`

  unsigned add_table(const Fragments& piece, bool begins) {
    if (!begins) return (has_begin ? last : begun).add(piece);
    last = piece;
    has_begin = true;
    return 0;
  }
  unsigned add(const TableFragments& behind) {
    const unsigned fragment = add_table(behind.begun, false);
    if (behind.has_begin) add_table(behind.last, true);
    return fragment;
  }
};

// What a visit of a table that is met again and again has found. It stands for all later visits.
struct Recorded {
  std::map<Code, std::uint64_t> once, each;  // problems: of the table, of each L1 entry that names it
  bool listed = true;                        // the problems are findings; else they count in the totals only
  Totals totals;                             // of the active tables
  StateReport figures;
  Fragments fragments;
};

// A visit of such a table: recorded, or skipped.
struct RepeatedVisit {
  image::RepeatKey key;
  std::optional<Recorded> recorded;
  std::uint64_t references = 0;
  std::vector<std::uint32_t> states;  // if it was skipped: who refers to it
};

// What scanning some groups has found; added up in the order of the L1 index.
struct Scan {
  Findings findings{Findings::part_limit};
  Totals totals;
  Usage usage;
  std::vector<StateReport> reports;  // by state
  TableFragments fragments;          // of the active tables
  std::uint64_t runs = 0;
  std::vector<RepeatedVisit> repeated;         // in the order of the walk
  std::map<std::uint64_t, std::string> tried;  // compressed entry -> why it can't be decompressed; empty: it can
  std::vector<HostOffset> no_tables;
  std::uint64_t furthest = 0;  // the end of the last cluster that was written once, but lies behind the file's end
};

// Judges one group. Called from several threads at once, each with a Scan of its own.
void scan_group(const Context& context, const image::Group& group, Scan& scan);

// Walks all states and adds everything to context.result.
void scan_mapping(Context& context);

}  // namespace qd::check
