// Where everything lies in a generated image, and how often it is referenced: all by formula. In clusters:
//
//   header | refcount table | first refcount blocks | L1 | L1 of each snapshot | snapshot table | body
//
// The tables at the front have to be contiguous, so they come first, with the refcount blocks that describe them. Then
// follows the body, in which each refcount block lies at the start of the clusters it describes, as QEMU leaves them
// when a file grows. All other clusters of the body are numbered as *slots*:
//
//   L2 table 0 | its data | L2 table 1 | its data | ... | L2 tables of snapshot 1 | L2 tables of snapshot 2 | ...
#pragma once

#include <cstdint>
#include <stdexcept>

namespace qd::bench {

using std::uint64_t;

constexpr uint64_t kMaxL1Bytes = 32 << 20;  // QEMU opens nothing beyond these limits
constexpr uint64_t kMaxRefcountTableBytes = 8 << 20;
constexpr uint64_t kMaxHostOffset = uint64_t{1} << 56;

constexpr uint64_t divide_up(uint64_t a, uint64_t b) { return (a + b - 1) / b; }

struct Shape {
  uint64_t size = 0;
  uint64_t cluster_size = 65536;
  uint64_t refcount_bits = 16;
  uint64_t snapshots = 0;
  bool own_l2 = true;  // each snapshot has L2 tables of its own, or shares those of the active state
};

class Plan : public Shape {
 public:
  Plan(const Shape& shape, uint64_t snapshot_table_bytes) : Shape(shape) {
    table_entries = cluster_size / 8;
    block_entries = cluster_size * 8 / refcount_bits;
    guest_clusters = divide_up(size, cluster_size);
    l2_tables = divide_up(guest_clusters, table_entries);
    l1_clusters_ = divide_up(l2_tables * 8, cluster_size);
    data_refcount = snapshots + 1;
    l2_refcount = own_l2 ? 1 : snapshots + 1;
    if (l2_tables * 8 > kMaxL1Bytes) {
      throw std::invalid_argument("--size: the L1 table would exceed 32 MiB; take larger clusters");
    }
    place(l1_clusters_ * (1 + snapshots) + divide_up(snapshot_table_bytes, cluster_size));
    if (refcount_table_clusters * cluster_size > kMaxRefcountTableBytes) {
      throw std::invalid_argument("--size: the refcount table would exceed 8 MiB; take larger clusters");
    }
    if (cluster_count > kMaxHostOffset / cluster_size) {
      throw std::invalid_argument("--size: the file would exceed 2^56 bytes");
    }
  }

  uint64_t table_entries;  // in an L2 table
  uint64_t block_entries;  // in a refcount block
  uint64_t guest_clusters, l2_tables;
  uint64_t data_refcount, l2_refcount;
  uint64_t refcount_table_clusters = 0, block_count = 1, cluster_count = 0;

  // All of these return the number of a (first) cluster. State 0 is the active one, state s is snapshot s-1.
  uint64_t refcount_table() const { return 1; }
  uint64_t l1(uint64_t state) const { return front_blocks_ + front_block_count_ + state * l1_clusters_; }
  uint64_t snapshot_table() const { return l1(snapshots + 1); }
  uint64_t refcount_block(uint64_t index) const {
    return index < front_block_count_ ? front_blocks_ + index : index * block_entries;
  }
  uint64_t data(uint64_t index) const { return cluster_of_slot(index + index / table_entries + 1); }
  uint64_t l2_table(uint64_t state, uint64_t index) const {
    if (state == 0 || !own_l2) return cluster_of_slot(index * (table_entries + 1));
    return cluster_of_slot(guest_clusters + state * l2_tables + index);
  }

  uint64_t refcount(uint64_t cluster) const {
    if (cluster >= cluster_count) return 0;
    if (cluster < body_ || cluster % block_entries == 0) return 1;
    uint64_t slot = unskipped(cluster) - unskipped(body_);
    if (slot >= guest_clusters + l2_tables) return 1;  // a snapshot's own L2 table
    return slot % (table_entries + 1) == 0 ? l2_refcount : data_refcount;
  }

 private:
  uint64_t l1_clusters_, front_blocks_ = 0, front_block_count_ = 0, body_ = 0;

  // In the body every cluster whose number is a multiple of block_entries is a refcount block; the rest are the slots.
  uint64_t unskipped(uint64_t cluster) const { return cluster - divide_up(cluster, block_entries); }
  uint64_t cluster_of_slot(uint64_t slot) const {
    uint64_t n = unskipped(body_) + slot;
    return n + 1 + n / (block_entries - 1);
  }

  // A longer file needs a longer refcount table, which makes the file longer. Both only grow, so this ends at the
  // smallest table that covers the file, itself included. `front` counts the clusters of the L1 and snapshot tables.
  void place(uint64_t front) {
    uint64_t slots = guest_clusters + l2_tables * (own_l2 ? 1 + snapshots : 1);
    for (uint64_t needed; (needed = divide_up(block_count * 8, cluster_size)) > refcount_table_clusters;) {
      refcount_table_clusters = needed;
      front_blocks_ = refcount_table() + refcount_table_clusters;
      place_front_blocks(front);
      cluster_count = cluster_of_slot(slots - 1) + 1;
      block_count = divide_up(cluster_count, block_entries);
    }
  }

  // The first refcount blocks are among the clusters that they describe, too.
  void place_front_blocks(uint64_t front) {
    front_block_count_ = 0;
    do {
      ++front_block_count_;
      body_ = front_blocks_ + front_block_count_ + front;
    } while (front_block_count_ * block_entries < body_);
  }
};

}  // namespace qd::bench
