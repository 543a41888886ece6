// Judging one L2 table, or a piece of it, on its way through the scan: the L1 entries that name it, and each of its
// entries.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "check/scan.h"
#include "check/sharing.h"
#include "image/group.h"

namespace qd::check {

class TableScan {
 public:
  TableScan(const Context& context, const image::Group& group, const image::Table& table, Scan& scan);

  // Judges the L1 entries that name this table, and claims the table's own cluster. With the table's first piece.
  void judge_l1_entries();
  // Is the piece there, and can it be read?
  void judge_reading();
  // Judges L2 entries [begin, end), all of which are shared as `sharing` says. Returns how many of them have a cluster.
  // `leader`: the table that is judged first of those that share.
  std::uint64_t judge_entries(std::uint64_t begin, std::uint64_t end, const Sharing& sharing, const TableScan& leader);
  // Tries the compressed clusters that this table claims.
  void try_decompressing();
  bool none() const { return no_table_; }
  // Adds the table's figures to those of every state that has it.
  void finish();

 private:
  std::uint64_t references() const { return table_.references; }
  Finding at(Code code, std::uint64_t l2_index, std::uint64_t count, std::uint64_t raw) const;
  // `times`: it counts once, or for each L1 entry that names the table. Entries of no table are counted, not listed.
  enum class Times { once, each };
  void report(Finding finding, Times times) {
    Context::count(scan_.totals, finding, times == Times::each ? references() : 1);
    if (recorded_) (times == Times::each ? recorded_->each : recorded_->once)[finding.code] += finding.count;
    if (!no_table_ || !finding.l2_index) scan_.findings.add(std::move(finding));
  }

  void report_no_table();
  void judge_l1_entry(const image::L1Entry& entry);
  bool copied_means_something(const image::L1Entry& entry) const;
  bool ordinary(std::uint64_t first, std::uint64_t count, std::uint64_t raw) const;
  void judge_ordinary(std::uint64_t first, std::uint64_t count, std::uint64_t raw, const Sharing& sharing);
  void judge_odd(std::uint64_t first, std::uint64_t count, const Sharing& sharing);
  void judge_flags(std::uint64_t first, std::uint64_t count, std::uint64_t raw);
  void judge_allocated(std::uint64_t first, std::uint64_t count, const Sharing& sharing);
  void judge_cut_off(std::uint64_t offset, std::uint64_t clusters);
  void judge_data_file(std::uint64_t first, std::uint64_t count);
  void judge_compressed(std::uint64_t index, const Sharing& sharing);
  void judge_copied(std::uint64_t first, std::uint64_t count, std::uint64_t raw, RunRefcount run);
  void count_fragments(std::uint64_t offset, std::uint64_t count);

  std::uint64_t word(std::uint64_t index) const { return table_.l2.raw(index); }

  const Context& c_;
  const format::Geometry& g_;
  const image::Group& group_;
  const image::Table& table_;
  Scan& scan_;
  std::int32_t state_;
  bool active_ = false;
  bool check_copied_ = false;
  bool garbage_ = false, no_table_ = false;
  std::uint64_t end_of_disk_ = 0;
  std::uint64_t odd_bits_ = 0;     // an entry with any of them is odd
  std::uint64_t end_of_file_ = 0;  // of its last whole cluster
  std::uint64_t stretch_ = 0;      // entries with a cluster, of those that were judged last
  bool plain_stretch_ = false;     // all of those were ordinary
  Fragments fragments_;
  Totals totals_;
  StateReport figures_;
  std::optional<Recorded> recorded_;
  std::vector<std::uint64_t> compressed_;  // indexes of entries to decompress
};

}  // namespace qd::check
