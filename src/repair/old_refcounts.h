// Does the header name a real refcount table, and does that name real refcount blocks? A garbled field or entry names
// somebody else's clusters, so their content is the evidence. Only a sound table and sound blocks are written to; no
// value of the others is believed.
#pragma once

#include <cstdint>
#include <utility>

#include "image/refcounts.h"
#include "repair/work.h"

namespace qd::repair {

class OldRefcounts {
 public:
  // As of the last look.
  explicit OldRefcounts(Work& w);

  // Can the table stay what and where it is?
  bool table_sound();
  // Can a block? `needed`: something in use lies in its range.
  bool block_sound(std::uint64_t b, bool table_is_sound, bool needed);
  // Where the refcount table's entry points to.
  HostOffset block_at(std::uint64_t b) const;
  // Does one of the table's clusters read as a part of it?
  bool reads_as_table(std::uint64_t cluster) const;
  // Does the block still have its place, whoever else claims it?
  bool still_a_block(std::uint64_t b);
  // Is the block only for clusters behind the end of the file, and does nothing prove that it is one?
  bool unproven(std::uint64_t b) const;

 private:
  std::pair<std::uint64_t, std::uint64_t> blocks_of_table(std::uint64_t cluster) const;
  bool still_a_table(std::uint64_t cluster);
  bool reads_as_other(std::uint64_t cluster) const;

  Work& w_;
  const format::Geometry& g_;
  const image::Refcounts& refcounts_;
};

}  // namespace qd::repair
