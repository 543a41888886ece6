// Which entries may name the wrong cluster? -A asks this before it drops the active tables: as long as a cluster has
// two owners, the damage shows. Afterwards one is left, and it looks right.
#pragma once

#include "repair/work.h"

namespace qd::edit {

// Are there entries that stay, but may name somebody else's cluster? The clusters that they should name may be among
// the leaked ones.
struct Misplaced {
  bool any = false;
  bool applied = false;  // the applied snapshot has one that is surely wrong
};

// `work` has looked at the image as it is. `applied`: the snapshot. `new_snapshot_table`: the present one is dropped,
// too.
Misplaced find_misplaced(repair::Work& work, std::int32_t applied, bool new_snapshot_table);

}  // namespace qd::edit
