#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "check/scan.h"

namespace qd::check {
namespace {

// Runs of clusters of one table: first and end, in bytes.
using Runs = std::vector<Fragments>;

unsigned fragments(const Runs& runs, std::size_t begin, std::size_t end, Fragments& piece) {
  unsigned count = 0;
  for (std::size_t i = begin; i < end; ++i) count += piece.add(runs[i]);
  return count;
}

// Wherever tables are cut into pieces, and pieces into batches, there are as many fragments.
TEST(Fragments, DoNotDependOnTheCuts) {
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    unsigned expected = 0, found = 0;
    TableFragments all, batch;
    for (int table = 0; table < 5; ++table) {
      Runs runs;
      std::uint64_t at = random() % 3;
      for (unsigned i = random() % 12; i > 0; --i) {
        const std::uint64_t end = at + 1 + random() % 4;
        runs.push_back({at, end});
        at = random() % 2 ? end : end + 1 + random() % 5;
      }
      Fragments whole;
      expected += fragments(runs, 0, runs.size(), whole);
      std::size_t begin = 0;
      bool begins = true;
      do {
        const std::size_t end = std::min(runs.size(), begin + random() % 4);
        Fragments piece;
        found += fragments(runs, begin, end, piece);
        found += batch.add_table(piece, begins);
        begins = false;
        begin = end;
        if (random() % 3 == 0) {
          found += all.add(batch);
          batch = {};
        }
      } while (begin < runs.size());
    }
    found += all.add(batch);
    ASSERT_EQ(found, expected) << round;
  }
}

}  // namespace
}  // namespace qd::check
