// The passes of a check, in the order in which they run. Each leaves behind an invariant that the next relies on.
#pragma once

#include "check/context.h"

namespace qd::check {

// The header's fields and extensions make sense, or there is a finding. Needs nothing but the header.
void check_header(Context& context);

// result.states holds every set of tables that can be walked; the snapshot table and its entries are judged.
void check_snapshots(Context& context);

// Clusters of metadata outside the mapping are claimed: header, L1 tables, snapshot table, refcount table, encryption
// header.
void claim_metadata(Context& context);

// Refcount blocks that hold something else are marked.
void judge_refcount_blocks(Context& context, image::Refcounts& refcounts);

// Refcount table entries are judged, refcount blocks claimed.
void check_refcount_table(Context& context);

// Bitmap directory, tables and data are judged and claimed.
void check_bitmaps(Context& context);

// (scan_mapping, in scan.h: the mapping is judged, all its clusters are claimed.)

// A disk of no size maps nothing, or there is a finding.
void check_sizes(Context& context);

// A file that was cut off is reported as such.
void check_end(Context& context);

// The references to suspect clusters are counted, their owners named.
void count_suspects(Context& context);

// Every cluster's references are held against its refcount; clusters with several owners are reported.
void settle_refcounts(Context& context);

// The files that this one needs: backing chain, data file.
void check_backing_chain(Context& context);
void open_data_file(Context& context);

}  // namespace qd::check
