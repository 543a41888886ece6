// What the rest of the file says about a value that was lost. A finder answers only where exactly one value fits.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "advice/orphans.h"
#include "advice/trial.h"

namespace qd::advice {

struct Evidence {
  std::string place;  // as -m edit knows it: "l2[0,773]"
  std::uint64_t value = 0;
  std::string why;  // a clause
};

// What all finders look at.
class Clues {
 public:
  Clues(const image::Image& image_, const check::Report& result_)
      : image(image_), result(result_), trial(image_, result_) {}
  const Orphans& orphans();  // looked for when first asked for

  const image::Image& image;
  const check::Report& result;
  Trial trial;

 private:
  std::optional<Orphans> orphans_;
};

// Is a refcount that is too high a sign of a lost reference? Not if refcounts can't be read. Not if others are too low,
// unless entries name those clusters by mistake: then old refcounts were written back, or none at all. And not if the
// image is dirty: with lazy refcounts, a crash leaves such counts.
bool counts_tell(const check::Report& result);

// A field of the header: from the tables, the snapshots and its other fields.
std::optional<Evidence> header_evidence(Clues& clues);
// The place or the length of a snapshot's L1 table: from a table that nothing names, or from the disk's size.
std::optional<Evidence> snapshot_evidence(Clues& clues);
// An L1 entry: from an L2 table that nothing names.
std::optional<Evidence> l1_evidence(Clues& clues);
// An L2 entry: from its neighbours, and a cluster that nothing names.
std::optional<Evidence> l2_evidence(Clues& clues);

// The first answer of these, in this order.
std::optional<Evidence> find_evidence(const image::Image& image, const check::Report& result);

}  // namespace qd::advice
