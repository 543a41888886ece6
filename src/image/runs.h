// Runs in an L2 table: entries with the same flags whose clusters lie one after the other in the file.
#pragma once

#include <cstdint>

#include "format/geometry.h"
#include "image/group.h"

namespace qd::image {

// The length of the run that begins with the first of `count` entries: equal flags, and clusters in a row in the file.
std::uint64_t run_length(const std::uint64_t* entries, std::uint64_t count, std::uint64_t cluster_size);
// How many of `count` entries are all zero, up to the first one that isn't.
std::uint64_t empty_length(const std::uint64_t* entries, std::uint64_t count);

// Calls each(first, count) for the runs of entries that have the same flags and lie one after the other in the file,
// for entries [begin, end) of a table. Empty entries (all zero) are skipped.
template <class Each>
void for_runs(const format::Geometry& geometry, const L2Entries& l2, std::uint64_t begin, std::uint64_t end,
              Each&& each) {
  if (l2.width() == 2) {
    for (std::uint64_t i = begin; i < end; ++i) {
      if ((l2.raw(i) | l2.bitmap(i)) != 0) each(i, std::uint64_t{1});
    }
    return;
  }
  const std::uint64_t step = geometry.cluster_size();
  const std::uint64_t* const first = l2.at(begin);
  const std::uint64_t count = end - begin;
  for (std::uint64_t i = 0; i < count;) {
    const std::uint64_t* const e = first + i;
    if (*e == 0) {
      i += empty_length(e, count - i);
      continue;
    }
    // For most entries that stand alone, a look at the next one is enough.
    const bool alone = i + 1 == count || e[1] != *e + step;
    const std::uint64_t run = alone ? 1 : run_length(e, count - i, step);
    each(begin + i, run);
    i += run;
  }
}

}  // namespace qd::image
