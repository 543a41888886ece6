// Tables that several L1 indexes name. That is damage, or made to cost much: an L1 table whose entries name the table
// itself is read as an L2 table once for each of them. So a walk looks into a table twice: then all that it names has
// two owners, and a third look would find nothing new. Further visits are only counted.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>

#include "base/bits.h"

namespace qd::image {

// Visits to tables with equal keys are judged alike, whatever the L1 index.
struct RepeatKey {
  std::uint64_t offset = 0;       // all tables past the end of the file are one, since they read as zeros
  std::uint64_t end_of_disk = 0;  // the first L2 index behind the guest's disk
  bool active = false;            // the active L1 table is among those that name it
  auto operator<=>(const RepeatKey&) const = default;
};

enum class Visit : std::uint8_t { first, recorded, skipped };

// For one walk, and then a second one that visits the same tables in the same order. Not thread-safe.
class Repeats {
 public:
  // `file_bytes` of the image, `stored` of them really there.
  Repeats(std::uint64_t file_bytes, unsigned cluster_bits, std::uint64_t stored)
      : file_bytes_(file_bytes), cluster_bits_(cluster_bits), stored_(stored) {
    seen_.emplace(clusters(), is_vast(clusters(), stored_));
  }

  // Has the offset been met before? Only then its key matters. No bit is kept of offsets that are unaligned or past the
  // end of the file: they count as met.
  bool again(std::uint64_t offset) {
    const std::uint64_t cluster = offset >> cluster_bits_;
    if (offset >= file_bytes_ || cluster << cluster_bits_ != offset) return true;
    bool before = false;
    seen_->set_range(cluster, 1, [&](std::uint64_t, std::uint64_t) { before = true; });
    return before;
  }
  // A further visit, by `references` L1 entries. The first one with this key is recorded; all behind it are skipped.
  Visit visit(RepeatKey& key, std::uint64_t references) {
    if (key.offset >= file_bytes_) key.offset = ~std::uint64_t{0};
    Count& count = counts_[key];
    if (!count.visited) {
      count.visited = true;
      return Visit::recorded;
    }
    if (!complete_) count.skipped += references;
    return Visit::skipped;
  }
  // After the first walk: how many L1 entries name what will be skipped.
  std::uint64_t skipped(RepeatKey key) const {
    const auto found = counts_.find(key);
    return complete_ && found != counts_.end() ? found->second.skipped : 0;
  }
  void begin_again() {
    complete_ = true;
    seen_.emplace(clusters(), is_vast(clusters(), stored_));
    for (auto& [key, count] : counts_) count.visited = false;
  }

 private:
  struct Count {
    bool visited = false;
    std::uint64_t skipped = 0;
  };
  std::uint64_t clusters() const { return (file_bytes_ >> cluster_bits_) + 1; }

  std::uint64_t file_bytes_;
  unsigned cluster_bits_;
  std::uint64_t stored_;
  std::optional<BitSet> seen_;
  std::map<RepeatKey, Count> counts_;
  bool complete_ = false;
};

}  // namespace qd::image
