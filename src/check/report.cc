#include "check/report.h"

#include <algorithm>
#include <array>

#include "check/claims.h"

namespace qd::check {

Totals& Totals::operator+=(const Totals& o) {
  corruptions += o.corruptions;
  leaks += o.leaks;
  check_errors += o.check_errors;
  allocated_clusters += o.allocated_clusters;
  fragmented_clusters += o.fragmented_clusters;
  compressed_clusters += o.compressed_clusters;
  return *this;
}

TableCounts& TableCounts::operator+=(const TableCounts& o) {
  unaligned += o.unaligned;
  invalid += o.invalid;
  unused += o.unused;
  used += o.used;
  return *this;
}

StateReport& StateReport::operator+=(const StateReport& o) {
  l1 += o.l1;
  l2 += o.l2;
  zero_allocated += o.zero_allocated;
  zero_plain += o.zero_plain;
  compressed += o.compressed;
  new_entries += o.new_entries;
  l1_copied_errors += o.l1_copied_errors;
  l2_copied_errors += o.l2_copied_errors;
  data_clusters += o.data_clusters;
  alone += o.alone;
  cut_off += o.cut_off;
  return *this;
}

std::string_view owner_name(OwnerKind kind) {
  constexpr std::array<std::string_view, 12> names{
      "header",           "L1 table",     "L2 table",    "refcount table",    "refcount block", "snapshot table",
      "bitmap directory", "bitmap table", "bitmap data", "encryption header", "data",           "compressed data"};
  return names[static_cast<std::size_t>(kind)];
}

bool Report::damaged(std::size_t state) const {
  const TableCounts &l1 = reports[state].l1, &l2 = reports[state].l2;
  return l1.unaligned + l1.invalid + l2.unaligned + l2.invalid > 0 ||
         std::ranges::any_of(findings.list(), [&](const Finding& f) {
           return f.state == states[state].snapshot && problem(f.code).hides == Hidden::data;
         });
}

bool Report::is_no_table(HostOffset at) const { return std::ranges::binary_search(no_tables, at); }

std::uint64_t Report::undecompressed() const {
  std::uint64_t sum = 0;
  for (const StateReport& r : reports) sum += decompressed ? 0 : r.compressed;
  return sum;
}

namespace {

std::span<const Owner> of(const std::vector<Owner>& owners, ClusterIndex cluster) {
  const auto first = std::ranges::lower_bound(owners, cluster, {}, &Owner::cluster);
  const auto last = std::ranges::upper_bound(owners, cluster, {}, &Owner::cluster);
  return {first, last};
}

}  // namespace

std::span<const Owner> Report::owners_of(ClusterIndex cluster) const { return of(owners, cluster); }

std::span<const Owner> Report::data_owners_of(ClusterIndex cluster) const { return of(data_owners, cluster); }

std::uint64_t Report::references(ClusterIndex cluster) const {
  if (!claims || cluster.value >= claims->clusters()) return 0;
  if (claims->counted(cluster.value)) return claims->tally.get(cluster.value) - claims->baseless.get(cluster.value);
  return claims->owned.test(cluster.value) ? disk_refcounts->get(cluster) : 0;
}

}  // namespace qd::check
