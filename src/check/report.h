// What a check found out: findings, figures, and for each state of the disk what its tables hold. Plain data, for any
// renderer.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "check/findings.h"
#include "check/leaks.h"
#include "image/chain.h"
#include "image/group.h"
#include "image/image.h"
#include "image/refcounts.h"

namespace qd::check {

class Claims;

// The figures of `qemu-img check --output=json`, with their names and meaning.
struct Totals {
  std::uint64_t corruptions = 0, leaks = 0, check_errors = 0, image_end_offset = 0, total_clusters = 0,
                allocated_clusters = 0, fragmented_clusters = 0, compressed_clusters = 0;
  Totals& operator+=(const Totals& other);
  bool operator==(const Totals&) const = default;
};

// Entries of a table, each counted once.
struct TableCounts {
  std::uint64_t unaligned = 0;  // the offset is not cluster-aligned
  std::uint64_t invalid = 0;    // past the end of the file, or reserved bits set
  std::uint64_t unused = 0;
  std::uint64_t used = 0;
  TableCounts& operator+=(const TableCounts& other);
  bool operator==(const TableCounts&) const = default;
};

struct StateReport {
  TableCounts l1, l2;                                // l2.used: uncompressed data
  std::uint64_t zero_allocated = 0, zero_plain = 0;  // L2 entries that read as zeros, with and without a cluster
  std::uint64_t compressed = 0;                      // L2 entries
  std::uint64_t new_entries = 0;  // entries with a cluster that the snapshot before doesn't share (all, for the first)
  std::uint64_t l1_copied_errors = 0, l2_copied_errors = 0;
  std::uint64_t data_clusters = 0;  // host clusters of data (uncompressed)
  std::uint64_t alone = 0;          // of these, those that no other state has
  std::uint64_t cut_off = 0;        // entries whose clusters, or L2 tables, were behind the end of the file
  StateReport& operator+=(const StateReport& other);
  bool operator==(const StateReport&) const = default;
};

struct RefcountCounts {
  std::uint64_t error = 0, leak = 0;   // clusters whose refcount is too low, too high
  std::uint64_t unused = 0, used = 0;  // clusters of the file with refcount zero, not zero
};

// Clusters of the file, by who uses them.
struct Usage {
  std::uint64_t active = 0;             // data of the active disk only
  std::uint64_t shared = 0;             // data of the active disk and of snapshots
  std::uint64_t inactive = 0;           // data of snapshots only
  std::uint64_t used = 0;               // all that anything refers to
  std::uint64_t free = 0;               // the rest, with refcount 0
  std::uint64_t discardable_bytes = 0;  // of the free clusters, what the file system still stores
  bool operator==(const Usage&) const = default;
};

// What can claim a cluster.
enum class OwnerKind : std::uint8_t {
  header,
  l1_table,
  l2_table,
  refcount_table,
  refcount_block,
  snapshot_table,
  bitmap_directory,
  bitmap_table,
  bitmap_data,
  crypt_header,
  data,
  compressed
};
std::string_view owner_name(OwnerKind kind);
inline bool is_metadata(OwnerKind kind) { return kind < OwnerKind::data; }

struct Owner {
  ClusterIndex cluster;
  OwnerKind kind{};
  std::int32_t state = no_state;  // l1_table, l2_table, data, compressed
  std::uint32_t l1_index = 0, l2_index = 0;
  std::uint64_t raw = 0;    // the entry
  std::uint64_t index = 0;  // of a refcount block in its table, of a bitmap
};

struct Report {
  Findings findings;
  Totals totals;
  std::vector<image::State> states;  // the active one first, then by number the snapshots that can be read
  std::vector<StateReport> reports;  // as states
  TableCounts refcount_table;
  RefcountCounts refcounts;
  Usage usage;
  std::vector<Owner> owners;       // of suspect clusters, sorted by place; not all if there are very many
  std::vector<Owner> data_owners;  // the same of the data file's clusters
  bool owners_complete = true;
  bool decompressed = false;                // compressed clusters were tried
  std::vector<HostOffset> no_tables;        // places that L1 entries name, but that hold something else; sorted
  std::vector<std::string> snapshot_names;  // by number: "ID (NAME)"
  LeakDoubt leak_doubt;                     // may what looks leaked be freed?
  std::optional<image::Chain> chain;        // if there is one, and it was looked at
  double seconds = 0;

  // Refcounts and references of each cluster; null where the image has no readable geometry.
  std::shared_ptr<const image::Refcounts> disk_refcounts;
  std::shared_ptr<const Claims> claims;

  Status status() const { return findings.status(); }
  // Has the state with this index entries that point nowhere, or damage that hides what they refer to?
  bool damaged(std::size_t state) const;
  // Do L1 entries name that place although it holds something else than a table?
  bool is_no_table(HostOffset at) const;
  // Compressed clusters, of all states, that were not tried (without -c).
  std::uint64_t undecompressed() const;
  // Who holds a suspect cluster; empty if too many were found to keep them all.
  std::span<const Owner> owners_of(ClusterIndex cluster) const;
  std::span<const Owner> data_owners_of(ClusterIndex cluster) const;
  // How many known references a cluster has, without those that mean nothing (Claims::baseless).
  std::uint64_t references(ClusterIndex cluster) const;
};

}  // namespace qd::check
