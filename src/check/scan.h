// The first walk: judges every L1 and L2 entry by itself, claims the clusters they name, compares COPIED with the
// refcounts on disk and gathers the statistics. One pass over the tables; the unit of work is a run of entries.
#pragma once

#include "check/context.h"

namespace qd::check {

// What scanning some groups has found; added up in the order of the L1 index.
struct Scan {
  Findings findings{Findings::part_limit};
  Totals totals;
  Usage usage;
  std::vector<StateReport> reports;  // by state
};

// Judges one group. Called from several threads at once, each with a Scan of its own.
void scan_group(const Context& context, const image::Group& group, Scan& scan);

// Walks all states and adds everything to context.result.
void scan_mapping(Context& context);

}  // namespace qd::check
