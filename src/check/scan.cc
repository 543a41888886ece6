#include "check/scan.h"

#include <algorithm>

#include "check/repeated.h"
#include "check/sharing.h"
#include "check/table_scan.h"
#include "image/walk.h"

namespace qd::check {
namespace {

using image::Group;
using image::Table;

// What isn't a table shares nothing with others and is judged alone. Returns which tables these are; empty if none.
std::vector<bool> judge_no_tables(const Group& group, std::vector<TableScan>& tables, Scan& scan) {
  std::vector<bool> none;
  for (std::size_t t = 0; t < tables.size(); ++t) {
    if (!tables[t].none()) continue;
    none.resize(tables.size());
    none[t] = true;
    Sharing alone;
    alone.add(group.tables[t]);
    const std::uint64_t clusters = tables[t].judge_entries(group.begin, group.end, alone, tables[t]);
    for (const image::L1Entry& e : group.tables[t].entries) scan.reports[e.state].new_entries += clusters;
  }
  return none;
}

}  // namespace

void scan_group(const Context& context, const Group& group, Scan& scan) {
  scan.reports.resize(context.result.states.size());
  std::vector<TableScan> tables;
  tables.reserve(group.tables.size());
  for (const Table& table : group.tables) {
    tables.emplace_back(context, group, table, scan);
    if (group.begin == 0) tables.back().judge_l1_entries();
    if (table.visit != image::Visit::skipped) tables.back().judge_reading();
  }
  const Predecessors predecessors(group, context.walked_as);
  const std::vector<bool> none = judge_no_tables(group, tables, scan);
  SharedStretches(group, none)
      .for_each([&](std::size_t table, std::uint64_t begin, std::uint64_t end, const Sharing& sharing,
                    const Leaders& leaders) {
        const std::uint64_t clusters = tables[table].judge_entries(begin, end, sharing, tables[leaders[table]]);
        for (const image::L1Entry& e : group.tables[table].entries) {
          const std::size_t before = predecessors.before(e.state);
          if (before == nobody || leaders[before] != leaders[table]) scan.reports[e.state].new_entries += clusters;
        }
      });
  for (TableScan& table : tables) {
    table.try_decompressing();
    table.finish();
  }
}

void scan_mapping(Context& context) {
  Report& result = context.result;
  find_copies(context);
  result.reports.assign(result.states.size(), {});
  TableFragments fragments;
  RepeatedTables repeated(result);
  context.repeats = std::make_unique<image::Repeats>(context.size(), context.geometry().cluster_bits,
                                                     context.image.file().allocated_bytes());
  const auto unreadable = image::walk<Scan>(
      context.image, result.states, [&](const Group& group, Scan& scan) { scan_group(context, group, scan); },
      [&](Scan&& scan) {
        result.totals += scan.totals;
        result.no_tables.insert(result.no_tables.end(), scan.no_tables.begin(), scan.no_tables.end());
        context.furthest = std::max(context.furthest, scan.furthest);
        result.totals.fragmented_clusters += fragments.add(scan.fragments);
        result.findings.append(std::move(scan.findings));
        for (RepeatedVisit& visit : scan.repeated) repeated.add(std::move(visit));
        context.profile.count_runs(scan.runs);
        result.usage.active += scan.usage.active;
        result.usage.shared += scan.usage.shared;
        result.usage.inactive += scan.usage.inactive;
        for (std::size_t s = 0; s < scan.reports.size(); ++s) result.reports[s] += scan.reports[s];
      },
      {.most_entries = context.options.most_entries,
       .profile = context.options.profile,
       .copies = context.copies,
       .repeats = context.repeats.get()});
  for (const auto& [state, reason] : unreadable) {
    Finding f;
    f.code = Code::l1_unreadable;
    f.state = result.states[state].snapshot;
    f.host = result.states[state].l1_offset;
    f.detail = reason;
    context.report(f);
  }
  for (std::size_t s = 1; s < result.states.size(); ++s) {
    const std::size_t as = context.walked_as[s];
    if (as == s) continue;
    result.reports[s] = result.reports[as];
    if (context.walked_as[s - 1] == as) result.reports[s].new_entries = 0;
  }
  std::ranges::sort(result.no_tables);
  for (std::size_t s = 0; s < result.states.size(); ++s) {
    TableCounts& l1 = result.reports[s].l1;
    l1.unused = result.states[s].l1_size - l1.unaligned - l1.invalid - l1.used;
  }
}

}  // namespace qd::check
