// Looking for structures by what they hold.
#pragma once

#include <cstdint>
#include <vector>

#include "advice/orphans.h"
#include "check/report.h"
#include "image/image.h"

namespace qd::advice {

// What refcounts are read by.
struct Measure {
  unsigned cluster_bits = 16, refcount_order = 4;
  std::uint64_t table_offset = 0;
};

// Does a refcount table lie there whose first block knows of the header, of itself, of the table, and of `other`?
bool plausible_refcounts(const image::Image& image, const Measure& measure, std::uint64_t other);

// Places of clusters that nothing claims and that read so; a refcount table's only where its refcounts are plausible.
std::vector<std::uint64_t> refcount_tables(const image::Image& image, const check::Report& result);
std::vector<std::uint64_t> orphan_l1_tables(const image::Image& image, const check::Report& result,
                                            const Orphans& orphans, std::uint64_t entries = format::max_l1_entries);

// Is some of the data, of what is looked at, no result of encryption?
bool plainly_readable(const image::Image& image, const check::Report& result);

// How many entries of the active L1 table there is room for, before something else begins.
std::uint64_t l1_room(const image::Image& image, const check::Report& result);

// Do an L1 table's entries from this one on read as such, and does one of the first lead to what reads as an L2 table?
// `size`: of the table.
bool l1_goes_on(const image::Image& image, HostOffset l1_table, std::uint64_t size, std::uint64_t from);

// How many entries an L1 table there may have, to its last one, by how many of the clusters behind it that nothing
// names are taken for its own. None if it reads as no such table.
std::vector<std::uint64_t> l1_sizes(const image::Image& image, const check::Report& result, std::uint64_t at);

// What a header that is gone may have said: as many answers as there are L1 tables to be found.
struct LostHeader {
  unsigned cluster_bits = 0, refcount_order = 0;
  std::uint64_t refcount_table = 0, l1_table = 0, l1_entries = 0;
};
std::vector<LostHeader> lost_headers(const image::Image& image);

}  // namespace qd::advice
