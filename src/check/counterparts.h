// What the mapping says about clusters that have more references on disk than are known. An internal snapshot shares a
// cluster at one guest offset only, so what was lost can be looked up in the other states, at the same place. The
// mapping also tells a forgotten copy of a table from a lost table: everything that a copy points to is in use, at the
// same place.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/units.h"
#include "image/image.h"

namespace qd::check {

struct Report;

// A cluster that nothing refers to and that reads as an L2 table.
struct OrphanTable {
  ClusterIndex cluster;
  std::vector<std::uint64_t> words;  // in the machine's byte order
};

// A cluster in use with a refcount too high, where some state has another entry, or none, at its place.
struct Gap {
  ClusterIndex cluster;
  std::int32_t state = 0;  // as a Finding's
  std::uint32_t l1_index = 0;
  std::optional<std::uint32_t> l2_index;  // nothing: the cluster is an L2 table

  std::string text(const format::Geometry& geometry, const Report& result) const;  // a clause
};

struct Counterparts {
  std::optional<Gap> gap;    // the first
  std::vector<bool> copies;  // by orphan: shared tables of one L1 index have all its entries, at the same indexes
};

// Walks the tables of all states once; not at all if neither question is open.
Counterparts counterparts_of(const image::Image& image, const Report& result, std::span<const OrphanTable> orphans);

}  // namespace qd::check
