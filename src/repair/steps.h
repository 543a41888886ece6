// The steps of a repair, in the order in which they run. Each plans its changes on the image that the steps before it
// have left, and doesn't care what comes after.
#pragma once

#include "repair/work.h"

namespace qd::repair {

// The header's fields that other structures depend on agree with each other.
void mend_header(Work& work);

// The snapshot table can be read, and holds every snapshot that could be found.
void mend_snapshots(Work& work);
void mend_snapshot_lengths(Work& work);

// Bitmaps that can't be read are gone, the others as they were.
void drop_bad_bitmaps(Work& work);

// L1 and L2 entries have no forbidden bits, if nothing else was wrong with them.
void mend_entries(Work& work);

// No cluster has several owners, as far as they are known; repeat until nothing changes.
void separate_owners(Work& work);

// No refcount is too low (error, reuse), and none too high where leaks may be freed. Nothing else lies on refcount
// blocks.
void mend_refcounts(Work& work);

// In the active tables, COPIED is set where the refcount is 1, and nowhere else.
void mend_copied(Work& work);

// Runs these two until references, refcounts and COPIED agree; the image is looked at again after each.
void mend_counts(Work& work);

// The header vouches for nothing that this program doesn't know, if anything is changed. Specification: "Header",
// autoclear_features.
void clear_unknown_features(Work& work);

// The header doesn't say dirty or corrupt any more, if no error is left.
void clear_marks(Work& work);

// What nobody uses is given back to the file system.
void discard_free_space(Work& work);

}  // namespace qd::repair
