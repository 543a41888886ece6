// The one walk over the mapping. Check, dump and whatever else needs L1 and L2 tables goes through here; nobody else
// loops over them.
//
// The unit is the *group*: everything that maps the same stretch of the guest's disk, that is, the entries with one L1
// index of all states (the active tables and each snapshot's), and the distinct L2 tables they name. Internal snapshots
// share clusters only at the same guest offset, so what is lawful sharing and what is damage can be decided within a
// group, and each L2 table is read once, however many snapshots share it. Where the tables of a group are too many or
// too large for the memory at hand, it comes in pieces, each with the same entries of all its tables.
//
// Groups are gathered into batches that fit a processor's cache. Batches are read and scanned by all threads, and their
// results handed over in the order of the L1 index: the same for any number of threads. Memory: a few batches.
#pragma once

#include <oneapi/tbb/enumerable_thread_specific.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/parallel.h"
#include "base/units.h"
#include "image/group.h"
#include "image/image.h"
#include "image/repeats.h"
#include "io/profile.h"
#include "io/read_buffer.h"
#include "io/readahead.h"

namespace qd::image {

// What a walk passes from its reading to its scanning.
class Batch {
 public:
  std::vector<Group> groups;

 private:
  friend class BatchReader;
  struct Pending {
    std::uint32_t l1_index;
    std::uint32_t first_table, tables;
    std::uint64_t begin, end;
  };
  std::vector<Pending> pending_;
  std::vector<Table> tables_;
  std::vector<L1Entry> entries_;
  std::vector<std::uint32_t> entry_counts_;
  std::size_t skipped_ = 0;  // tables
  std::uint64_t bytes_ = 0, l2_entries_ = 0;
  std::vector<std::unique_ptr<std::string>> errors_;
};

// What to walk, and in what pieces.
struct WalkOptions {
  // How many L2 indexes a batch covers at most: a power of two, 8 or more. Groups are then cut where they are too large
  // for a batch. 0: as many as fit, and no group is ever cut.
  std::uint64_t most_entries = 0;
  std::size_t in_flight = results_in_flight();  // batches
  const std::atomic<bool>* stop = nullptr;      // once true, nothing more is read
  Profile* profile = nullptr;                   // the tables are counted there, if there is one
  std::span<const std::uint32_t> copies = {};   // by state: how many are walked as this one; 0: it isn't walked itself
  Repeats* repeats = nullptr;                   // tables met again and again are skipped, if there is one
};

// Makes batches out of L1 tables. L1 tables are read in slices, so that thousands of snapshots need no memory for all
// of them at once.
class BatchReader {
 public:
  BatchReader(const Image& image, std::span<const State> states, const WalkOptions& options);

  // The next batch with its tables named but not read; nothing at the end. Not thread-safe.
  std::unique_ptr<Batch> next();
  // Reads the tables of a batch into a buffer that must stay as long as they are looked at. Thread-safe.
  void read(Batch& batch, ReadBuffer& buffer) const;

  // How many tables the batches so far have.
  std::uint64_t tables() const { return tables_; }
  // L1 tables that could not be read, with the system's reason.
  const std::vector<std::pair<std::uint32_t, std::string>>& l1_errors() const { return l1_errors_; }

 private:
  std::uint32_t copies(std::size_t state) const { return options_.copies.empty() ? 1 : options_.copies[state]; }
  std::uint32_t entries_in_file(const State& state) const;
  void load_slice();
  void skip_holes();
  void look_ahead();
  void gather(std::uint32_t l1_index);
  std::size_t look_for_repeats();
  void add_piece(Batch& batch);
  std::uint64_t piece_entries() const;

  const Image& image_;
  std::span<const State> states_;
  const WalkOptions options_;
  std::uint32_t index_ = 0, end_ = 0;
  std::uint32_t slice_begin_ = 0, slice_end_ = 0, slice_width_;
  std::vector<std::vector<std::uint64_t>> slice_;  // by state
  std::vector<std::uint64_t> data_;                // by state: where its L1 table goes on behind a hole
  std::vector<L1Entry> row_;                       // of the group at index_, by table
  std::vector<std::uint32_t> counts_;              // how many of them name the same table
  std::vector<Table> tables_of_row_;               // these tables
  bool all_skipped_ = false;
  std::uint64_t next_entry_ = 0;  // of the group at index_
  std::uint64_t tables_ = 0;
  Readahead readahead_;
  std::vector<std::pair<std::uint32_t, std::string>> l1_errors_;
};

// Walks the tables of all states. scan(const Group&, Result&) runs in parallel, merge(Result&&) in order.
template <class Result, class Scan, class Merge>
std::vector<std::pair<std::uint32_t, std::string>> walk(const Image& image, std::span<const State> states, Scan&& scan,
                                                        Merge&& merge, const WalkOptions& options = {}) {
  BatchReader reader(image, states, options);
  tbb::enumerable_thread_specific<ReadBuffer> buffers;
  ordered_parallel<Batch, Result>([&] { return reader.next(); },
                                  [&](Batch& batch, Result& result) {
                                    reader.read(batch, buffers.local());
                                    for (const Group& group : batch.groups) scan(group, result);
                                  },
                                  merge, options.in_flight);
  if (options.profile) options.profile->count_tables(reader.tables());
  return reader.l1_errors();
}

}  // namespace qd::image
