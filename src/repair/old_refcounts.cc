#include "repair/old_refcounts.h"

#include <algorithm>

#include "check/content.h"
#include "image/classify.h"

namespace qd::repair {

OldRefcounts::OldRefcounts(Work& w) : w_(w), g_(w.view.geometry()), refcounts_(w.view.refcounts()) {}

HostOffset OldRefcounts::block_at(std::uint64_t b) const {
  return HostOffset(refcounts_.entries()[b].raw & format::reftable_offset_mask);
}

// The entries in one of the refcount table's clusters, [first, end).
std::pair<std::uint64_t, std::uint64_t> OldRefcounts::blocks_of_table(std::uint64_t cluster) const {
  const std::uint64_t each = g_.cluster_size() / sizeof(be64), all = refcounts_.entries().size();
  return {std::min(cluster * each, all), std::min((cluster + 1) * each, all)};
}

// Do the entries in this cluster of the refcount table point to blocks? One that does is enough. If the cluster has no
// entry at all, nobody else may claim it. The header may have named somebody else's clusters, or more of them than the
// table has.
bool OldRefcounts::reads_as_table(std::uint64_t cluster) const {
  const auto [first, end] = blocks_of_table(cluster);
  bool empty = refcounts_.table_error().empty();
  for (std::uint64_t b = first; b < end; ++b) {
    if (w_.doubts.reads_as_block(b)) return true;
    empty &= refcounts_.entries()[b].raw == 0;
  }
  return empty && w_.doubts.undisputed(refcounts_.table_offset() + (cluster << g_.cluster_bits));
}

// If somebody else claims the cluster, too, it belongs to the one whose content is there. The table doesn't give way to
// a garbage claim, and nothing is written into what may be somebody else's table.
bool OldRefcounts::still_a_table(std::uint64_t cluster) {
  const HostOffset at = refcounts_.table_offset() + (cluster << g_.cluster_bits);
  return w_.doubts.undisputed(at) ? !reads_as_other(cluster) : !w_.doubts.contested(at) && reads_as_table(cluster);
}

// Does the cluster hold something else than a part of the refcount table? Then no entry points to a block, and one of
// these is true: an entry is as in an L1 table, with COPIED; or so many are impossible that these are other bytes; or
// one is impossible, and damage hid references, so something lost may lie there.
bool OldRefcounts::reads_as_other(std::uint64_t cluster) const {
  const auto [first, end] = blocks_of_table(cluster);
  bool as_l1 = false;
  image::TableLook look;
  for (std::uint64_t b = first; b < end && !as_l1; ++b) {
    const std::uint64_t raw = refcounts_.entries()[b].raw;
    as_l1 = (raw & format::copied_flag) && !(raw & format::l1_reserved_mask) &&
            image::possible_l1_entry(w_.view.image(), raw);
    look.used += raw != 0;
    look.bad += raw != 0 && !refcounts_.entry_in_order(b, w_.view.image().size());
  }
  const bool other = as_l1 || !look.is_table() || (w_.doubts.was_hidden() && look.bad > 0);
  return other && !reads_as_table(cluster);
}

bool OldRefcounts::still_a_block(std::uint64_t b) {
  const HostOffset at = block_at(b);
  if (w_.doubts.undisputed(at)) return true;
  return at.value < w_.view.image().size() && !w_.doubts.contested(at) && w_.doubts.reads_as_block(b);
}

bool OldRefcounts::table_sound() {
  const format::Header& h = w_.view.image().header;
  const std::uint64_t clusters = h.refcount_table_clusters;
  if (w_.view.count(check::Code::header_refcount_table) > 0 || !refcounts_.table_error().empty()) return false;
  for (std::uint64_t c = 0; c < clusters; ++c) {
    if (!still_a_table(c)) return false;
  }
  return true;
}

// What the block says of clusters behind the end of the file is wrong, so it may not be a block at all. It isn't
// written to: it stays as it is, or is made anew elsewhere if something in use needs it.
bool OldRefcounts::unproven(std::uint64_t b) const {
  const bool behind = b * refcounts_.block_entries() >= w_.view.image().clusters();
  return behind && w_.view.count(check::Code::refcount_past_end) > 0 && !w_.doubts.reads_as_block(b);
}

// Is there a block, is it what its entry says it is, whole, and the only owner of its cluster? If the table isn't
// sound, its entry proves nothing.
bool OldRefcounts::block_sound(std::uint64_t b, bool table_is_sound, bool needed) {
  const auto& entries = refcounts_.entries();
  if (b >= entries.size() || entries[b].state != image::BlockState::present || !entries[b].block) return false;
  if (!table_is_sound && !w_.doubts.reads_as_block(b)) return false;
  const bool doubtful = w_.doubts.was_hidden() || check::most_values_impossible(w_.view.image(), *entries[b].block);
  if (doubtful && !entries[b].block->all_zero() && w_.doubts.reads_as_none(b)) return false;
  if (needed && unproven(b)) return false;
  return !entries[b].garbage && refcounts_.entry_in_order(b, w_.view.image().size()) && still_a_block(b) &&
         block_at(b).value + g_.cluster_size() <= w_.view.image().file().size();
}

}  // namespace qd::repair
