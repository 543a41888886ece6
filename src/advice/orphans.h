// Clusters with a refcount that nothing refers to: what was lost is among them.
#pragma once

#include <cstdint>
#include <vector>

#include "check/counterparts.h"
#include "check/report.h"
#include "image/image.h"

namespace qd::advice {

// `count` words at a place, in the machine's byte order; zeros behind the file's end, none if it can't be read.
std::vector<std::uint64_t> read_words(const image::Image& image, HostOffset at, std::uint64_t count);

// Does every entry make sense, and do at least half lead to clusters whose refcount is higher than their references?
bool reads_as_lost_l2_table(const image::Image& image, const check::Report& result,
                            const std::vector<std::uint64_t>& words);

using check::OrphanTable;

struct Orphans {
  std::vector<OrphanTable> tables;
  std::vector<ClusterIndex> others;  // that hold something, in order
  bool complete = true;              // all were looked into
};
Orphans find_orphans(const image::Image& image, const check::Report& result);

}  // namespace qd::advice
