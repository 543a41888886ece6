#include "check/sharing.h"

namespace qd::check {
namespace {

using format::ClusterType;

bool has_cluster(const format::Geometry& g, std::uint64_t entry) {
  const ClusterType type = format::cluster_type(g, entry);
  return type != ClusterType::unallocated && type != ClusterType::zero_plain;
}

// Do 8 words agree but for COPIED? Tables have a multiple of 8 words.
bool same_block(const std::uint64_t* a, const std::uint64_t* b) {
  std::uint64_t different = 0;
  for (unsigned k = 0; k < 8; ++k) different |= a[k] ^ b[k];
  return (different & ~format::copied_flag) == 0;
}

// Entries of `table` with a cluster that `before` (null: no table at all) doesn't have at the same place.
std::uint64_t new_entries(const format::Geometry& g, const image::Table& table, const image::Table* before) {
  const unsigned words = g.l2_words();
  const bool compare = before && !before->words.empty();
  std::uint64_t count = 0;
  for (std::uint64_t i = 0; i < table.words.size(); i += words) {
    if (compare && i % 8 == 0 && same_block(table.words.data() + i, before->words.data() + i)) {
      i += 8 - words;
      continue;
    }
    const std::uint64_t mine = table.words[i];
    if (mine == 0 || (compare && key(mine, 0) == key(before->words[i], 0))) continue;
    count += has_cluster(g, mine);
  }
  return count;
}

}  // namespace

void count_new_entries(const format::Geometry& geometry, const image::Group& group,
                       std::vector<StateReport>& reports) {
  // Most groups have one table for all states: whoever has a predecessor with the same table has nothing new.
  std::vector<const image::Table*> table_of(reports.size(), nullptr);
  for (const image::Table& table : group.tables) {
    for (const image::L1Entry& e : table.entries) table_of[e.state] = &table;
  }
  const image::Table* last_table = nullptr;
  const image::Table* last_before = nullptr;
  std::uint64_t last_count = 0;
  for (std::size_t s = 0; s < reports.size(); ++s) {
    if (!table_of[s]) continue;
    // The active state (0) comes after the last snapshot, snapshot n after snapshot n - 1.
    const image::Table* before = s == 0 ? (reports.size() > 1 ? table_of.back() : nullptr) : s == 1 ? nullptr : table_of[s - 1];
    if (before == table_of[s]) continue;
    if (table_of[s] != last_table || before != last_before) {
      last_table = table_of[s];
      last_before = before;
      last_count = new_entries(geometry, *last_table, last_before);
    }
    reports[s].new_entries += last_count;
  }
}

}  // namespace qd::check
