// Where in a report a problem belongs.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "check/findings.h"
#include "render/selection.h"

namespace qd::render {

enum class Block : std::uint8_t { header, active, snapshots, bitmaps, refcounts, copied, clusters };

// A problem of a snapshot (its table entry, its L1 and L2 tables) belongs to Block::snapshots, with the snapshot's
// number as state; those of the snapshot table as a whole have check::no_state.
Block block_of(const check::Finding& finding);

// Does the user want to see it? (Warnings about the header and the files around are always shown.)
bool shows(const Selection& selection, const check::Finding& finding);

// Findings by the block they belong to, those of one block in the order of the check. They must outlive this.
class Problems {
 public:
  Problems(const std::vector<check::Finding>& findings, const Selection& selection);

  std::span<const check::Finding* const> of(Block block, std::int32_t state = check::no_state) const;

 private:
  std::map<std::pair<Block, std::int32_t>, std::vector<const check::Finding*>> blocks_;
};

}  // namespace qd::render
