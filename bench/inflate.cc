// inflate [-j N] IMAGE: decompresses every compressed cluster of an image, with libdeflate and nothing else, and prints
//
//   GUEST_BYTES SECONDS
//
// The seconds are those of decompressing alone, by N threads (all cores). Finding the clusters isn't measured, nor is
// reading them: they are loaded before, so much at a time as fits well into memory.
#include <libdeflate.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "input.h"

namespace qd::bench {
namespace {

constexpr size_t kSliceBytes = 512 << 20;  // of compressed data in memory
constexpr uint64_t kSector = 512;

struct Cluster {
  uint64_t offset, length;  // from the first byte to the end of the last sector, as an L2 entry has it
};

std::vector<Cluster> compressed_clusters(const Input& input) {
  std::vector<uint64_t> entries;
  std::vector<be64> table(input.cluster_size / 8);
  for (uint64_t offset : input.l2_tables()) {
    input.read(offset, table.data(), input.cluster_size);
    for (const be64& entry : table) {
      if (entry.get() & kCompressed) entries.push_back(entry.get() & ~(kCompressed | kCopied));
    }
  }
  Input::sort_unique(entries);

  // Specification: "Compressed Clusters Descriptor". The number of additional sectors lies above the offset.
  const unsigned offset_bits = 62 - (input.header.cluster_bits.get() - 8);
  std::vector<Cluster> clusters;
  for (uint64_t entry : entries) {
    uint64_t offset = entry & ((uint64_t{1} << offset_bits) - 1);
    clusters.push_back({offset, ((entry >> offset_bits) + 1) * kSector - offset % kSector});
  }
  std::sort(clusters.begin(), clusters.end(), [](Cluster a, Cluster b) { return a.offset < b.offset; });
  return clusters;
}

// Decompresses the clusters [first, last), which lie in `bytes` one after another.
void inflate(const std::vector<Cluster>& clusters, size_t first, size_t last, const std::vector<unsigned char>& bytes,
             uint64_t cluster_size, unsigned threads) {
  std::vector<size_t> place(1, 0);
  for (size_t i = first; i < last; ++i) place.push_back(place.back() + clusters[i].length);
  std::atomic<bool> failed = false;
  in_threads(threads, last - first, [&](auto next) {
    std::unique_ptr<libdeflate_decompressor, void (*)(libdeflate_decompressor*)> decompressor(
        libdeflate_alloc_decompressor(), libdeflate_free_decompressor);
    std::vector<unsigned char> guest(cluster_size);
    size_t consumed, produced;
    for (size_t i; (i = next()) < last - first;) {
      auto status = libdeflate_deflate_decompress_ex(decompressor.get(), &bytes[place[i]], place[i + 1] - place[i],
                                                     guest.data(), guest.size(), &consumed, &produced);
      if (status != LIBDEFLATE_SUCCESS || produced != cluster_size) failed = true;
    }
  });
  if (failed) throw std::runtime_error("a cluster can't be decompressed");
}

void run(const std::string& path, unsigned threads) {
  Input input(path);
  if (input.header.version.get() > 2 && input.header.compression_type != 0) {
    throw std::runtime_error("not compressed with deflate");
  }
  const std::vector<Cluster> clusters = compressed_clusters(input);
  std::chrono::duration<double> seconds{0};
  std::vector<unsigned char> bytes;
  for (size_t first = 0, last = 0; first < clusters.size(); first = last) {
    bytes.clear();
    for (; last < clusters.size() && bytes.size() < kSliceBytes; ++last) {
      const size_t end = bytes.size();
      bytes.resize(end + clusters[last].length);
      input.read(clusters[last].offset, &bytes[end], clusters[last].length);
    }
    auto start = std::chrono::steady_clock::now();
    inflate(clusters, first, last, bytes, input.cluster_size, threads);
    seconds += std::chrono::steady_clock::now() - start;
  }
  std::printf("%zu %.6f\n", static_cast<size_t>(clusters.size() * input.cluster_size), seconds.count());
}

}  // namespace
}  // namespace qd::bench

int main(int argc, char** argv) {
  bool jobs = argc == 4 && std::string(argv[1]) == "-j";
  if (argc != 2 && !jobs) {
    std::fputs("usage: inflate [-j N] IMAGE\n", stderr);
    return 2;
  }
  try {
    qd::bench::run(argv[argc - 1],
                   jobs ? static_cast<unsigned>(std::atoi(argv[2])) : std::thread::hardware_concurrency());
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "inflate: %s\n", e.what());
    return 1;
  }
}
