// Tables that are met again and again: from some visit on they are skipped, and only counted (image/repeats.h).
#pragma once

#include <cstdint>
#include <map>
#include <span>

#include "check/context.h"
#include "check/scan.h"

namespace qd::check {

// Keeps what the recorded visit of each such table has found, and adds it again for each skipped visit.
class RepeatedTables {
 public:
  explicit RepeatedTables(Report& result) : result_(result) {}

  void add(RepeatedVisit&& visit) {
    Recorded& table = tables_[visit.key];
    visit.recorded ? add_piece(table, *visit.recorded) : count_again(table, visit.states, visit.references);
  }

 private:
  static void add_piece(Recorded& table, const Recorded& piece) {
    for (const auto& [code, n] : piece.once) table.once[code] += n;
    for (const auto& [code, n] : piece.each) table.each[code] += n;
    table.listed = piece.listed;
    table.totals += piece.totals;
    table.figures += piece.figures;
    table.totals.fragmented_clusters += table.fragments.add(piece.fragments);
  }
  void count_again(const Recorded& table, std::span<const std::uint32_t> states, std::uint64_t references) {
    for (const auto& [code, n] : table.once) count(code, n, 1, table.listed);
    for (const auto& [code, n] : table.each) count(code, n, references, table.listed);
    result_.totals += table.totals;
    for (const std::uint32_t state : states) result_.reports[state] += table.figures;
    if (const auto copied = table.once.find(Code::l2_copied); copied != table.once.end()) {
      result_.reports[0].l2_copied_errors += copied->second;
    }
  }
  void count(Code code, std::uint64_t n, std::uint64_t times, bool listed) {
    Finding f;
    f.code = code;
    f.count = n;
    Context::count(result_.totals, f, times);
    if (listed) result_.findings.add_unlisted(code, n);
  }

  Report& result_;
  std::map<image::RepeatKey, Recorded> tables_;
};

}  // namespace qd::check
