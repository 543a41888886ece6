// Are what the header and the refcount table name a refcount table and refcount blocks? A garbled field or entry names
// somebody else's clusters: what lies there is the evidence. Only what is sound is written to; of the rest no value is
// believed.
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
  // Where the refcount table's entry leads to.
  HostOffset block_at(std::uint64_t b) const;
  // Does one of the table's clusters read as a part of it?
  bool reads_as_table(std::uint64_t cluster) const;
  // Is the block there nobody else's?
  bool still_a_block(std::uint64_t b);
  // May it be that a block for clusters behind the end of the file is none?
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
