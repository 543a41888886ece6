// floor [-j N] IMAGE: reads every table that a check has to read, and does nothing with it. All L2 tables and refcount
// blocks, each once, in the order of the file, neighbours joined to reads of up to 512 KiB (more doesn't fit the second
// cache of many processors, and takes longer), by N threads (all cores) into one buffer each.
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <thread>
#include <vector>

#include "input.h"

namespace qd::bench {
namespace {

constexpr uint64_t kLongestRead = 512 << 10;

struct Range {
  uint64_t offset, length;
};

std::vector<Range> joined(std::vector<uint64_t> tables, uint64_t cluster_size) {
  Input::sort_unique(tables);
  std::vector<Range> ranges;
  for (uint64_t table : tables) {
    if (ranges.empty() || table != ranges.back().offset + ranges.back().length ||
        ranges.back().length + cluster_size > kLongestRead) {
      ranges.push_back({table, 0});
    }
    ranges.back().length += cluster_size;
  }
  return ranges;
}

void read_tables(const std::string& path, unsigned threads) {
  Input input(path);
  std::vector<uint64_t> tables = input.l2_tables(), blocks = input.refcount_blocks();
  tables.insert(tables.end(), blocks.begin(), blocks.end());
  const std::vector<Range> ranges = joined(std::move(tables), input.cluster_size);
  in_threads(threads, ranges.size(), [&](auto next) {
    std::vector<unsigned char> buffer(kLongestRead);
    for (size_t i; (i = next()) < ranges.size();) input.read(ranges[i].offset, buffer.data(), ranges[i].length);
  });
}

}  // namespace
}  // namespace qd::bench

int main(int argc, char** argv) {
  bool jobs = argc == 4 && std::string(argv[1]) == "-j";
  if (argc != 2 && !jobs) {
    std::fputs("usage: floor [-j N] IMAGE\n", stderr);
    return 2;
  }
  try {
    unsigned threads = jobs ? static_cast<unsigned>(std::atoi(argv[2])) : std::thread::hardware_concurrency();
    qd::bench::read_tables(argv[argc - 1], threads);
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "floor: %s\n", e.what());
    return 1;
  }
}
