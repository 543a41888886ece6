// The one walk over the mapping. Check, dump and whatever else needs L1 and L2 tables goes through here; nobody else
// loops over them.
//
// The unit is the *group*: everything that maps the same stretch of the guest's disk, that is, the entries with one L1
// index of all states (the active tables and each snapshot's), and the distinct L2 tables they name. Internal snapshots
// share clusters only at the same guest offset, so what is lawful sharing and what is damage can be decided within a
// group, and each L2 table is read once, however many snapshots share it.
//
// Groups are gathered into batches of some megabytes of tables. Batches are read and scanned by all threads, and their
// results handed over in the order of the L1 index: the same for any number of threads. Memory: a few batches.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/parallel.h"
#include "base/units.h"
#include "image/image.h"

namespace qd::image {

// One set of tables: the active ones (snapshot == -1) or those of a snapshot.
struct State {
  std::int32_t snapshot = -1;
  HostOffset l1_offset;
  std::uint32_t l1_size = 0;      // entries
  std::uint64_t disk_size = 0;    // bytes of the guest's disk
  std::uint64_t vm_state = 0;     // bytes of VM state behind the disk's end, at most
};

// An L1 entry as one state has it.
struct L1Entry {
  std::uint32_t state = 0;  // index into the walk's states
  std::uint64_t raw = 0;
};

// A distinct L2 table of a group. An entry without an offset names the header: QEMU reads it so, and so do we.
struct Table {
  HostOffset offset;
  std::span<const L1Entry> entries;  // who refers to it, by state
  // The table as numbers in the machine's byte order, Geometry::l2_words() for each entry; zeros past the file's end;
  // empty if it can't be read.
  std::span<const std::uint64_t> words;
  const std::string* error = nullptr;
};

struct Group {
  std::uint32_t l1_index = 0;
  std::span<const Table> tables;  // in the order of their offset
};

// What a walk passes from its reading to its scanning.
class Batch {
 public:
  std::vector<Group> groups;

 private:
  friend class BatchReader;
  struct Pending {
    std::uint32_t l1_index;
    std::uint32_t first_table, tables;
  };
  std::vector<Pending> pending_;
  std::vector<Table> tables_;
  std::vector<L1Entry> entries_;
  std::vector<std::uint32_t> entry_counts_;
  std::unique_ptr<std::uint64_t[]> words_;
  std::vector<std::unique_ptr<std::string>> errors_;
};

// Makes batches out of L1 tables. L1 tables are read in slices, so that thousands of snapshots need no memory for all
// of them at once.
class BatchReader {
 public:
  BatchReader(const Image& image, std::span<const State> states, std::uint32_t first_index, std::uint32_t end_index);

  // The next batch with its tables named but not read; nothing at the end. Not thread-safe.
  std::unique_ptr<Batch> next();
  // Reads the tables of a batch. Thread-safe.
  void read(Batch& batch) const;

  // L1 tables that could not be read, with the system's reason.
  const std::vector<std::pair<std::uint32_t, std::string>>& l1_errors() const { return l1_errors_; }

 private:
  std::uint32_t entries_in_file(const State& state) const;
  void load_slice();
  void add_group(Batch& batch, std::uint32_t l1_index);

  const Image& image_;
  std::span<const State> states_;
  std::uint32_t index_, end_;
  std::uint32_t slice_begin_ = 0, slice_end_ = 0, slice_width_;
  std::vector<std::vector<std::uint64_t>> slice_;  // by state
  std::vector<L1Entry> row_;
  std::vector<std::pair<std::uint32_t, std::string>> l1_errors_;
};

// Walks L1 indexes [first, end). scan(const Group&, Result&) runs in parallel, merge(Result&&) in order.
template <class Result, class Scan, class Merge>
std::vector<std::pair<std::uint32_t, std::string>> walk(const Image& image, std::span<const State> states,
                                                        Scan&& scan, Merge&& merge, std::uint32_t first = 0,
                                                        std::uint32_t end = ~std::uint32_t{0}) {
  BatchReader reader(image, states, first, end);
  ordered_parallel<Batch, Result>([&] { return reader.next(); },
                                  [&](Batch& batch, Result& result) {
                                    reader.read(batch);
                                    for (const Group& group : batch.groups) scan(group, result);
                                  },
                                  merge);
  return reader.l1_errors();
}

// Calls each(first, count) for the runs of entries that have the same flags and lie one after the other in the file,
// for entries [begin, end) of a table. Empty entries (all zero) are skipped.
template <class Each>
void for_runs(const format::Geometry& geometry, std::span<const std::uint64_t> words, std::uint64_t begin,
              std::uint64_t end, Each&& each) {
  if (geometry.extended_l2) {
    for (std::uint64_t i = begin; i < end; ++i) {
      if ((words[i * 2] | words[i * 2 + 1]) != 0) each(i, std::uint64_t{1});
    }
    return;
  }
  const std::uint64_t step = geometry.cluster_size();
  const std::uint64_t* e = words.data();
  std::uint64_t i = begin;
  while (i < end) {
    if (e[i] == 0) {
      while (i + 8 <= end && (e[i] | e[i + 1] | e[i + 2] | e[i + 3] | e[i + 4] | e[i + 5] | e[i + 6] | e[i + 7]) == 0) {
        i += 8;
      }
      while (i < end && e[i] == 0) ++i;
      continue;
    }
    const std::uint64_t first = i++;
    // Compressed entries and those without an offset stand alone: adding a cluster to them means nothing.
    const bool runs = (e[first] & format::compressed_flag) == 0 && (e[first] & format::offset_mask) != 0;
    if (runs) {
      std::uint64_t expected = e[first] + step;
      while (i + 8 <= end) {
        std::uint64_t different = 0;
        for (unsigned k = 0; k < 8; ++k) different |= e[i + k] ^ (expected + k * step);
        if (different != 0) break;
        i += 8;
        expected += 8 * step;
      }
      while (i < end && e[i] == expected) {
        ++i;
        expected += step;
      }
      // A run that counts into the flags is garbage; its entries are judged one by one.
      if (((e[i - 1] ^ e[first]) & ~format::offset_mask) != 0) i = first + 1;
    }
    each(first, i - first);
  }
}

}  // namespace qd::image
