// -A takes the active tables away, and with them all that shows whose a cluster is which their entries and others'
// name. So it is asked before.
#pragma once

#include "repair/work.h"

namespace qd::edit {

// Entries that stay, and name clusters which may not be theirs. What they should name may be what is leaked.
struct Misplaced {
  bool any = false;
  bool applied = false;  // of the snapshot to be made active, some surely do
};

// `work` has looked at the image as it is. `new_snapshot_table`: the present one goes, too.
Misplaced find_misplaced(repair::Work& work, std::int32_t applied, bool new_snapshot_table);

}  // namespace qd::edit
