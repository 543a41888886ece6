// Forgotten copies of metadata. A program that writes a table anew elsewhere, and is interrupted before it has given
// the old place back, leaves a cluster that nothing refers to. Nothing is lost with it if the metadata in use says all
// that it says. (L2 tables are compared in counterparts.h: that takes a walk.)
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

// Could this be refcount block number `number`? Then it agrees with the known references of most clusters in use in its
// range, and counts nothing behind the end of the file. Other data does so only where one byte fills it; a block that
// could be such data proves nothing, so it isn't taken for one. `lost`: how many references to a cluster may be
// unknown.
bool reads_as_refcount_block(const image::Image& image, const Report& result, std::uint64_t number,
                             const image::RefcountBlock& block, std::uint64_t lost);
// Or does it contradict the known references? Where its range has none, neither of the two holds.
bool reads_as_none(const image::Image& image, const Report& result, std::uint64_t number,
                   const image::RefcountBlock& block, std::uint64_t lost);
bool reads_as_refcount_block(const image::Image& image, const Report& result, std::uint64_t number,
                             std::span<const std::byte> bytes);

class CopyFinder {
 public:
  CopyFinder(const image::Image& image, const Report& result);

  // Does a cluster that nothing refers to hold a copy of a refcount block, of the refcount table, of an L1 table or of
  // the snapshot table? `bytes`: what it holds. Ask in the order of the file.
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
