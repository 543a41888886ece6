// Forgotten copies of metadata. A program that writes a table anew elsewhere, and is interrupted before it has given
// the old place back, leaves a cluster that nothing refers to. It is no loss if all that it says is said by what is in
// use. (L2 tables are compared in counterparts.h: that takes a walk.)
#pragma once

#include <cstdint>
#include <span>
#include <unordered_set>
#include <vector>

#include "base/units.h"
#include "image/image.h"
#include "image/refcounts.h"

namespace qd::check {

struct Report;

// Could this be refcount block number `number`: does it tell of most clusters in use in its range what their references
// tell, and nothing of clusters behind the end of the file? Data does only where one byte fills it, and a block that
// such data can be says no more than no block. `lost`: references a cluster that may be missing.
bool reads_as_refcount_block(const image::Image& image, const Report& result, std::uint64_t number,
                             const image::RefcountBlock& block, std::uint64_t lost);
// And does it tell otherwise? One that tells of nothing that is known is neither.
bool reads_as_none(const image::Image& image, const Report& result, std::uint64_t number,
                   const image::RefcountBlock& block, std::uint64_t lost);
bool reads_as_refcount_block(const image::Image& image, const Report& result, std::uint64_t number,
                             std::span<const std::byte> bytes);

class CopyFinder {
 public:
  CopyFinder(const image::Image& image, const Report& result);

  // Does a cluster that nothing refers to hold a copy of a refcount block or table, an L1 or the snapshot table?
  // `bytes`: the cluster's. Ask in the order of the file.
  bool is_copy(ClusterIndex cluster, std::span<const std::byte> bytes);

 private:
  bool was_block(std::uint64_t offset) const;
  bool reads_as_block(ClusterIndex cluster, std::span<const std::byte> bytes) const;
  bool is_refcount_table(std::span<const std::byte> bytes) const;
  bool is_l1_table(std::span<const std::byte> bytes) const;
  bool is_snapshot_table(std::span<const std::byte> bytes) const;

  const image::Image& image_;
  const Report& result_;
  std::unordered_set<std::uint64_t> blocks_;  // offsets of refcount blocks, of those in use and of copies
};

}  // namespace qd::check
