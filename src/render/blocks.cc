#include "render/blocks.h"

namespace qd::render {
namespace {

std::int32_t state_of(Block block, const check::Finding& finding) {
  return block == Block::snapshots ? finding.state : check::no_state;
}

}  // namespace

Block block_of(const check::Finding& finding) {
  using enum check::Subject;
  switch (check::problem(finding.code).subject) {
    case l1:
    case l2:
    case compressed:
    case data_map:
      return finding.state >= 0 ? Block::snapshots : Block::active;
    case snapshots:
      return Block::snapshots;
    case bitmaps:
      return Block::bitmaps;
    case refcount_table:
    case refcounts:
      return Block::refcounts;
    case copied:
      return Block::copied;
    case reused:
    case data_file_reused:
      return Block::clusters;
    case end:
    case file:
    case header:
    case corrupt_bit:
    case backing:
    case data_file:
    case count_:
      break;
  }
  return Block::header;
}

bool shows(const Selection& selection, const check::Finding& finding) {
  switch (block_of(finding)) {
    case Block::header:
      return true;
    case Block::refcounts:
      return selection.refcounts;
    case Block::snapshots:
      return selection.mapping && (finding.state < 0 ? selection.inactive : selection.shows(finding.state));
    case Block::active:
    case Block::copied:
      return selection.mapping && selection.active;
    case Block::bitmaps:
    case Block::clusters:
      return selection.mapping;
  }
  return true;
}

Problems::Problems(const std::vector<check::Finding>& findings, const Selection& selection) {
  for (const check::Finding& finding : findings) {
    if (!shows(selection, finding)) continue;
    const Block block = block_of(finding);
    blocks_[{block, state_of(block, finding)}].push_back(&finding);
  }
}

std::span<const check::Finding* const> Problems::of(Block block, std::int32_t state) const {
  const auto found = blocks_.find({block, state});
  if (found == blocks_.end()) return {};
  return found->second;
}

}  // namespace qd::render
