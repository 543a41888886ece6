#include "render/blocks.h"

#include <string_view>

namespace qd::render {
namespace {

std::int32_t state_of(Block block, const check::Finding& finding) {
  return block == Block::snapshots ? finding.state : check::no_state;
}

}  // namespace

Block block_of(const check::Finding& finding) {
  const std::string_view name = check::problem(finding.code).name;
  const std::string_view structure = name.substr(0, name.find('.'));
  if (name == "data-file.missing") return Block::header;
  if (name == "data-file.reuse" || structure == "cluster" || structure == "metadata") return Block::clusters;
  if (name.ends_with(".copied")) return Block::copied;
  if (structure == "reftable" || structure == "refblock" || structure == "refcount") return Block::refcounts;
  if (structure == "bitmap" || structure == "bitmaps") return Block::bitmaps;
  if (structure == "snapshot") return Block::snapshots;
  if (structure == "l1" || structure == "l2" || structure == "compressed" || structure == "data-file") {
    return finding.state >= 0 ? Block::snapshots : Block::active;
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
