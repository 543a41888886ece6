// Who shares what within a group. Tables of several states that map the same stretch of the disk agree in most entries
// (the cluster is shared, and claimed once) and differ in some (the cluster was copied on write).
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "check/result.h"
#include "image/walk.h"

namespace qd::check {

// The states that have the very same clusters in a stretch of entries.
struct Sharing {
  bool claims = true;            // false for all tables but one of those that share: a cluster is claimed once
  std::uint64_t references = 0;  // how many L1 entries lead here
  bool active = false, inactive = false;
  std::uint32_t only_state = ~0u;  // the one state that has it, if it is one

  void add(const image::Table& table) {
    for (const image::L1Entry& e : table.entries) {
      (e.state == 0 ? active : inactive) = true;
      only_state = references == 0 ? e.state : ~0u;
      ++references;
    }
  }
  void count_data(std::uint64_t clusters, Usage& usage, std::vector<StateReport>& reports) const {
    (active && inactive ? usage.shared : active ? usage.active : usage.inactive) += clusters;
    if (only_state != ~0u) reports[only_state].alone += clusters;
  }
};

// What an entry refers to: equal keys, same clusters. 0: nothing. Flags don't matter (a zero flag may be set on a
// cluster that a snapshot still reads).
// A compressed entry with a subcluster bitmap is garbage, and refers to nothing either.
inline std::uint64_t key(std::uint64_t entry, std::uint64_t bitmap) {
  if ((entry & format::compressed_flag) && bitmap != 0) return 0;
  return entry & format::compressed_flag ? entry & ~format::copied_flag : entry & format::offset_mask;
}

// Cuts a group into stretches of entries within which each table shares with the same others, and calls
// each(table number, begin, end, sharing) for every table with content.
template <class Each>
void for_shared_stretches(const format::Geometry& g, const image::Group& group, Each&& each) {
  const std::uint64_t entries = g.l2_entries();
  std::vector<std::size_t> readable;
  for (std::size_t t = 0; t < group.tables.size(); ++t) {
    if (!group.tables[t].words.empty()) readable.push_back(t);
  }
  const auto alone = [&](std::size_t t, std::uint64_t begin, std::uint64_t end) {
    Sharing sharing;
    sharing.add(group.tables[t]);
    each(t, begin, end, sharing);
  };
  if (readable.size() == 1) return alone(readable[0], 0, entries);
  if (readable.empty()) return;

  const unsigned words = g.l2_words();
  const auto key_at = [&](std::size_t r, std::uint64_t i) {
    const std::uint64_t* word = group.tables[readable[r]].words.data() + i * words;
    return key(word[0], words == 2 ? word[1] : 0);
  };
  // leader[r]: the first table whose entry refers to the same clusters.
  std::vector<std::size_t> leader(readable.size()), next(readable.size());
  std::vector<std::pair<std::uint64_t, std::size_t>> sorted(readable.size());
  const auto leaders_at = [&](std::uint64_t i, std::vector<std::size_t>& into) {
    for (std::size_t r = 0; r < readable.size(); ++r) sorted[r] = {key_at(r, i), r};
    std::sort(sorted.begin(), sorted.end());
    for (std::size_t k = 0; k < sorted.size(); ++k) {
      const bool same = k > 0 && sorted[k].first == sorted[k - 1].first;
      into[sorted[k].second] = same ? into[sorted[k - 1].second] : sorted[k].second;
    }
  };
  // The usual case in blocks of 8: all tables say the same.
  const auto all_same = [&](std::uint64_t i) {
    std::uint64_t different = 0;
    const std::uint64_t* first = group.tables[readable[0]].words.data() + i * words;
    for (std::size_t r = 1; r < readable.size(); ++r) {
      const std::uint64_t* other = group.tables[readable[r]].words.data() + i * words;
      for (unsigned k = 0; k < 8 * words; ++k) different |= first[k] ^ other[k];
    }
    return (different & ~format::copied_flag) == 0;
  };
  const auto emit = [&](std::uint64_t begin, std::uint64_t end) {
    for (std::size_t r = 0; r < readable.size(); ++r) {
      Sharing sharing;
      sharing.claims = leader[r] == r;
      for (std::size_t other = 0; other < readable.size(); ++other) {
        if (leader[other] == leader[r]) sharing.add(group.tables[readable[other]]);
      }
      each(readable[r], begin, end, sharing);
    }
  };

  std::uint64_t begin = 0;
  leaders_at(0, leader);
  for (std::uint64_t i = 0; i < entries;) {
    if (i % 8 == 0 && i + 8 <= entries && all_same(i)) {
      std::fill(next.begin(), next.end(), 0);
      if (next == leader) {
        i += 8;
        continue;
      }
    } else {
      leaders_at(i, next);
    }
    if (next != leader) {
      if (i > begin) emit(begin, i);
      begin = i;
      leader = next;
    }
    ++i;
  }
  emit(begin, entries);
}

// Adds to each state how many of its entries the snapshot before it doesn't share.
void count_new_entries(const format::Geometry& geometry, const image::Group& group,
                       std::vector<StateReport>& reports);

}  // namespace qd::check
