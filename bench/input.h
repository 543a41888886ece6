// What the tools that read an image have in common: where its tables lie. The images are sound, made for the benchmark;
// so nothing is verified, and what can't be read ends the program.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "format.h"

namespace qd::bench {

class Input {
 public:
  explicit Input(const std::string& path) : fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (fd_ < 0) throw std::system_error(errno, std::generic_category(), path);
    read(0, &header, sizeof header);
    if (header.magic.get() != kMagic) throw std::runtime_error(path + ": not a qcow2 image");
    cluster_size = uint64_t{1} << header.cluster_bits.get();
  }
  ~Input() { close(fd_); }
  Input(const Input&) = delete;
  Input& operator=(const Input&) = delete;

  // The last table may end behind the end of the file, which reads as zeros.
  void read(uint64_t offset, void* into, size_t length) const {
    auto* bytes = static_cast<unsigned char*>(into);
    for (size_t done = 0; done < length;) {
      ssize_t n = pread(fd_, bytes + done, length - done, static_cast<off_t>(offset + done));
      if (n < 0 && errno != EINTR) throw std::system_error(errno, std::generic_category(), "read");
      if (n == 0) return std::fill(bytes + done, bytes + length, static_cast<unsigned char>(0));
      if (n > 0) done += static_cast<size_t>(n);
    }
  }

  // The places that a table of offsets names.
  std::vector<uint64_t> places(uint64_t table, uint64_t entries) const {
    std::vector<be64> raw(entries);
    read(table, raw.data(), entries * sizeof(be64));
    std::vector<uint64_t> result;
    for (const be64& entry : raw) {
      if (uint64_t place = entry.get() & kOffsetMask) result.push_back(place);
    }
    return result;
  }

  std::vector<uint64_t> refcount_blocks() const {
    return places(header.refcount_table_offset.get(), header.refcount_table_clusters.get() * cluster_size / 8);
  }

  // Of the active state and all snapshots, each once, in the order of the file.
  std::vector<uint64_t> l2_tables() const {
    std::vector<uint64_t> all = places(header.l1_offset.get(), header.l1_size.get());
    uint64_t at = header.snapshots_offset.get();
    for (uint64_t i = 0; i < header.snapshot_count.get(); ++i) {
      SnapshotEntry entry;
      read(at, &entry, sizeof entry);
      std::vector<uint64_t> more = places(entry.l1_offset.get(), entry.l1_size.get());
      all.insert(all.end(), more.begin(), more.end());
      uint64_t length = 40 + entry.extra_size.get() + entry.id_length.get() + entry.name_length.get();
      at += (length + 7) / 8 * 8;
    }
    sort_unique(all);
    return all;
  }

  static void sort_unique(std::vector<uint64_t>& values) {
    std::sort(values.begin(), values.end());
    values.erase(std::unique(values.begin(), values.end()), values.end());
  }

  Header header;
  uint64_t cluster_size;

 private:
  int fd_;
};

// work(next) in each of the threads; next() hands out the numbers below count, each once.
template <class Work>
void in_threads(unsigned threads, size_t count, Work work) {
  std::atomic<size_t> taken{0};
  auto next = [&] { return std::min(count, taken.fetch_add(1, std::memory_order_relaxed)); };
  std::vector<std::jthread> others;
  for (unsigned i = 1; i < threads; ++i) others.emplace_back([&] { work(next); });
  work(next);
}

}  // namespace qd::bench
