// Looking for structures by what they hold.
#pragma once

#include <cstdint>
#include <vector>

#include "advice/orphans.h"
#include "check/report.h"
#include "image/image.h"

namespace qd::advice {

// What it takes to read refcounts.
struct Measure {
  unsigned cluster_bits = 16, refcount_order = 4;
  std::uint64_t table_offset = 0;
};

// Is there a refcount table at measure.table_offset whose first block counts the header, itself, the table, and the
// cluster at `other`?
bool plausible_refcounts(const image::Image& image, const Measure& measure, std::uint64_t other);

// Places of unclaimed clusters that read as such a table. Of a refcount table, the refcounts must be plausible, too. An
// L1 table must have no more than `entries`.
std::vector<std::uint64_t> refcount_tables(const image::Image& image, const check::Report& result);
std::vector<std::uint64_t> orphan_l1_tables(const image::Image& image, const check::Report& result,
                                            const Orphans& orphans, std::uint64_t entries = format::max_l1_entries);

// Is some of the data surely not encrypted? Looks at a part of it only.
bool plainly_readable(const image::Image& image, const check::Report& result);

// How many entries the active L1 table has room for before something else begins.
std::uint64_t l1_room(const image::Image& image, const check::Report& result);

// Do the entries of an L1 table read as such from entry `from` on, and does one of the first lead to what reads as an
// L2 table? `size`: of the L1 table, in entries.
bool l1_goes_on(const image::Image& image, HostOffset l1_table, std::uint64_t size, std::uint64_t from);

// Possible lengths of an L1 table at `at`. Clusters behind it that nothing names may be a part of it: there is a length
// for each number of them, up to the last entry in them. Empty if this doesn't read as an L1 table.
std::vector<std::uint64_t> l1_sizes(const image::Image& image, const check::Report& result, std::uint64_t at);

// What a header that is gone may have said: an answer for each refcount table and L1 table that can be found.
struct LostHeader {
  unsigned cluster_bits = 0, refcount_order = 0;
  std::uint64_t refcount_table = 0, l1_table = 0, l1_entries = 0;
};
std::vector<LostHeader> lost_headers(const image::Image& image);

}  // namespace qd::advice
