// May what looks leaked be freed? A lost L1 entry, L2 table or snapshot leaves no other trace than clusters with a
// refcount that nobody maps, and freeing them destroys the only copy of somebody's data. So leaks are under suspicion
// until their number, their content and the state of all tables speak for them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/units.h"
#include "check/problems.h"
#include "image/image.h"

namespace qd::check {

struct Result;

// While such a problem stands, references to clusters are missing from the count. What looks leaked may then be
// somebody's data, or a bitmap's, and must not be freed before the problem is gone.
enum class Hidden : std::uint8_t { nothing, bitmaps, data };
Hidden hides(Code code);

struct LeakDoubt {
  bool hidden = false;          // damage hides references to data: any leak may be data
  bool bitmaps_hidden = false;  // damage hides references of bitmaps
  bool lost_table = false;      // the leaks look like what a lost table has mapped
  bool maybe_bitmap = false;    // lost_table: but what was lost could as well be a bitmap
  std::string evidence;         // lost_table: what says so, a clause
  // lost_table: where on the guest's disk they were, as far as their neighbours tell.
  std::optional<GuestOffset> guest;
  std::uint64_t guest_bytes = 0;

  bool forbids_freeing() const { return hidden || lost_table; }
};

// Fills result.leak_doubt from the findings. Reads the content of some leaked clusters, 16 MiB of them at most.
void judge_leaks(const image::Image& image, Result& result);

}  // namespace qd::check
