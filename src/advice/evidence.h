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

// Does a refcount that is too high tell of a lost reference? Not where others can't be read, or are too low though no
// entry names their clusters by mistake: then old ones were written back, or none at all; nor with lazy refcounts,
// where a crash leaves such counts.
bool counts_tell(const check::Report& result);

// A field of the header: from the tables, the snapshots and its other fields.
std::optional<Evidence> header_evidence(Clues& clues);
// A snapshot's place of its L1 table: from one that nothing names.
std::optional<Evidence> snapshot_evidence(Clues& clues);
// An L1 entry: from an L2 table that nothing names.
std::optional<Evidence> l1_evidence(Clues& clues);
// An L2 entry: from its neighbours, and a cluster that nothing names.
std::optional<Evidence> l2_evidence(Clues& clues);

// The first of these.
std::optional<Evidence> find_evidence(const image::Image& image, const check::Report& result);

}  // namespace qd::advice
