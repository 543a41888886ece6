// The refcounts that an image records, all of them, in little memory. A refcount block usually holds one value
// throughout, or two or three of them. So each block is kept as one number, or as two bits a cluster and a palette, and
// at 8, 16 or 64 bits only where that isn't enough. Immutable once loaded: any thread may ask.
//
// Specification: "Host cluster management".
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "format/geometry.h"
#include "image/image.h"

namespace qd::image {

// The refcount that all clusters of a run have; nothing if each of them must be looked at. (It isn't an optional, since
// g++ passes that through memory, and the hot pass would wait.)
class RunRefcount {
 public:
  RunRefcount() = default;
  RunRefcount(std::uint64_t value) : value_(value), known_(true) {}
  explicit operator bool() const { return known_; }
  std::uint64_t operator*() const { return value_; }
  bool operator==(std::uint64_t value) const { return known_ && value_ == value; }

 private:
  std::uint64_t value_ = 0;
  bool known_ = false;
};

// Entry i of the refcount block that begins at `raw`. `order`: the width of an entry (bits = 1 << order).
std::uint64_t refcount_entry(const std::byte* raw, std::uint64_t i, unsigned order);
void set_refcount_entry(std::span<std::byte> block, std::uint64_t i, unsigned order, std::uint64_t value);

class RefcountBlock {
 public:
  // `raw`: the block's bytes, `order`: the width of an entry (bits = 1 << order).
  RefcountBlock(std::span<const std::byte> raw, unsigned order, std::uint64_t entries);

  std::uint64_t get(std::uint64_t i) const { return kind_ == Kind::uniform ? palette_[0] : look_up(i); }
  // What all of [first, first + count) have.
  RunRefcount run(std::uint64_t first, std::uint64_t count) const {
    const std::uint64_t value = get(first);
    return kind_ == Kind::uniform || count == 1 || all_equal(first, count, value) ? RunRefcount(value) : RunRefcount();
  }
  // Which of the 64 clusters from 64 * `word` on have a refcount other than zero, as bits.
  std::uint64_t nonzero(std::uint64_t word) const;
  bool all_zero() const { return kind_ == Kind::uniform && palette_[0] == 0; }
  // May it have a value above `value`? Looks at no single cluster, so "yes" may be wrong, but "no" isn't.
  bool may_exceed(std::uint64_t value) const {
    return kind_ > Kind::palette || std::ranges::any_of(palette_, [&](std::uint64_t has) { return has > value; });
  }

 private:
  std::uint64_t look_up(std::uint64_t i) const;
  bool all_equal(std::uint64_t first, std::uint64_t count, std::uint64_t value) const;
  void load(std::span<const std::byte> raw, unsigned order, std::uint64_t entries);
  template <class Uniform, class Value>
  void pack(std::uint64_t entries, Uniform&& uniform, Value&& value);
  template <class Uniform, class Value>
  void pack_palette(std::uint64_t entries, unsigned known, Uniform&& uniform, Value&& value);

  enum class Kind : std::uint8_t { uniform, palette, wide8, wide16, wide64 };
  Kind kind_ = Kind::uniform;
  std::uint64_t palette_[4] = {};
  std::unique_ptr<std::uint64_t[]> words_;
};

enum class BlockState : std::uint8_t { absent, present, unaligned, unreadable };

class Refcounts {
 public:
  struct alignas(32) Entry {  // a power of two, so that counting them takes no division
    std::uint64_t raw = 0;    // the refcount table's entry
    BlockState state = BlockState::absent;
    bool garbage = false;  // it can be read, but holds something else
    const RefcountBlock* block = nullptr;
  };

  // Reads the refcount table and all its blocks. Blocks that can't be read are marked so.
  static Refcounts load(const Image& image);
  void mark_garbage(std::uint64_t entry) { entries_[entry].garbage = true; }

  // The refcount on disk; 0 where there is no block. Meaningless where !readable(cluster).
  std::uint64_t get(ClusterIndex cluster) const {
    const std::uint64_t i = cluster.value >> block_bits_;
    if (i >= entries_.size() || !entries_[i].block) return 0;
    return entries_[i].block->get(cluster.value & block_mask_);
  }
  bool readable(ClusterIndex cluster) const {
    const std::uint64_t i = cluster.value >> block_bits_;
    return i >= entries_.size() || entries_[i].state < BlockState::unaligned;
  }
  RunRefcount run(ClusterIndex first, std::uint64_t count) const {
    const std::uint64_t i = first.value >> block_bits_, within = first.value & block_mask_;
    if (within + count > block_mask_ + 1) return run_over_blocks(first, count);
    const RefcountBlock* block = i < entries_.size() ? entries_[i].block : nullptr;
    return block ? block->run(within, count) : RunRefcount(0);
  }
  // How many clusters, from this one on, have their refcounts in the same block; behind the table's end, all of them.
  std::uint64_t block_rest(ClusterIndex cluster) const {
    if (cluster.value >> block_bits_ >= entries_.size()) return ~std::uint64_t{0} - cluster.value;
    return block_mask_ + 1 - (cluster.value & block_mask_);
  }
  // Can the block be read, but holds something else? Then its values are good for QEMU's figures only.
  bool garbage(ClusterIndex cluster) const {
    const std::uint64_t i = cluster.value >> block_bits_;
    return i < entries_.size() && entries_[i].garbage;
  }
  bool all_sound(ClusterIndex first, std::uint64_t count) const {
    const std::uint64_t end = std::min(first.value + count, std::uint64_t{entries_.size()} << block_bits_);
    for (std::uint64_t c = first.value; c < end; c = (c | block_mask_) + 1) {
      if (!readable(ClusterIndex(c)) || garbage(ClusterIndex(c))) return false;
    }
    return true;
  }
  // Has any of the clusters a refcount?
  bool any(ClusterIndex first, std::uint64_t count) const {
    const std::uint64_t i = first.value >> block_bits_;
    if (i < entries_.size() && entries_[i].raw != 0 && !entries_[i].block) return true;  // nobody knows
    const RunRefcount all = run(first, count);
    return !all || *all != 0;
  }

  // Does entry i name a block that lies where a block can lie? Only then it counts as a reference.
  bool entry_in_order(std::uint64_t i, std::uint64_t file_size) const {
    const std::uint64_t raw = entries_[i].raw;
    return raw != 0 && (raw & format::reftable_reserved_mask) == 0 && entries_[i].state != BlockState::unaligned &&
           raw < file_size;
  }
  // Does the table itself lie where one can lie? Only then it counts as a reference to its clusters.
  bool table_in_order(const Image& image) const {
    return image.refcounts_readable && image.geometry->offset_in_cluster(table_offset_.value) == 0 &&
           table_bytes_ <= format::max_reftable_bytes && !image.past_end(table_offset_, table_bytes_);
  }
  const std::vector<Entry>& entries() const { return entries_; }
  std::size_t blocks() const { return blocks_.size(); }  // that were read
  std::uint64_t block_entries() const { return block_mask_ + 1; }
  HostOffset table_offset() const { return table_offset_; }
  std::uint64_t table_bytes() const { return table_bytes_; }  // as the header says
  const std::string& table_error() const { return table_error_; }
  const std::map<std::uint64_t, std::string>& block_errors() const { return block_errors_; }

 private:
  using BlockUsers = std::pair<std::uint64_t, std::vector<std::uint64_t>>;  // offset, entries of the table that name it
  void load_blocks(const Image& image, const std::vector<BlockUsers>& blocks);
  RunRefcount run_over_blocks(ClusterIndex first, std::uint64_t count) const;

  std::vector<Entry> entries_;
  std::vector<std::unique_ptr<const RefcountBlock>> blocks_;  // each once, however many entries name it
  std::map<std::uint64_t, std::string> block_errors_;         // by index in the refcount table
  std::string table_error_;
  HostOffset table_offset_;
  std::uint64_t table_bytes_ = 0;
  unsigned block_bits_ = 0;
  std::uint64_t block_mask_ = 0;
};

}  // namespace qd::image
