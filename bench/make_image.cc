// make_image: writes consistent, fully allocated, sparse qcow2 images (version 3) of any size for the benchmarks.
//
// The metadata is real, the guest's data are holes: a 2 TiB image takes some 320 MB of disk and a second or two.
//
// 1. image_plan.h computes the place and the refcount of every cluster by formula; nothing of that is held in memory.
// 2. placement.h says which data cluster of the file belongs to which guest cluster.
// 3. The tables are streamed out in the order in which they lie, joined to large writes. While the active L2 tables are
//    written, one bit a cluster verifies that the placement is one to one.
// 4. The header is written last: a file left by a killed run has no magic.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "format.h"
#include "image_plan.h"
#include "placement.h"

namespace qd::bench {
namespace {

constexpr unsigned kMaxSnapshots = 65536;

// ---- Options ------------------------------------------------------------------------------------------------------

struct Options {
  std::string out;
  Shape shape;
  Layout layout = Layout::in_order;
  uint64_t seed = 1;
};

constexpr const char* kUsage =
    "usage: make_image OUT --size SIZE [--layout in-order|random|runs] [--snapshots N] [--l2 own|shared]\n"
    "                  [--cluster-size SIZE] [--refcount-bits N] [--seed N]\n"
    "SIZE takes k, M, G or T. OUT is overwritten.\n";

uint64_t parse_number(std::string_view option, std::string_view text) {
  constexpr std::string_view kSuffixes = "kMGT";
  uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  std::string_view suffix = text.substr(static_cast<size_t>(end - text.data()));
  size_t power = suffix.empty() ? 0 : kSuffixes.find(suffix) + 1;  // npos + 1 is 0
  bool bad_suffix = !suffix.empty() && power == 0;
  if (error != std::errc{} || bad_suffix || suffix.size() > 1 || value << 10 * power >> 10 * power != value) {
    throw std::invalid_argument(std::string(option) + ": not a number: " + std::string(text));
  }
  return value << 10 * power;
}

template <class T>
T parse_choice(std::string_view option, std::string_view text, std::initializer_list<std::pair<const char*, T>> all) {
  for (const auto& [name, value] : all) {
    if (text == name) return value;
  }
  throw std::invalid_argument(std::string(option) + ": unknown: " + std::string(text));
}

void check_options(const Options& o) {
  const Shape& shape = o.shape;
  if (o.out.empty()) throw std::invalid_argument("OUT is missing");
  if (shape.size == 0 || shape.size % 512 || shape.size >= kMaxHostOffset) {
    throw std::invalid_argument("--size must be a positive multiple of 512 below 2^56");
  }
  if (!std::has_single_bit(shape.cluster_size) || shape.cluster_size < 512 || shape.cluster_size > (2 << 20)) {
    throw std::invalid_argument("--cluster-size must be a power of two from 512 to 2M");
  }
  if (!std::has_single_bit(shape.refcount_bits) || shape.refcount_bits > 64) {
    throw std::invalid_argument("--refcount-bits must be 1, 2, 4, 8, 16, 32 or 64");
  }
  if (shape.snapshots > kMaxSnapshots) throw std::invalid_argument("--snapshots: too many");
  if (shape.refcount_bits < 64 && (shape.snapshots + 1) >> shape.refcount_bits) {
    throw std::invalid_argument("--refcount-bits: too few to count a reference from each snapshot");
  }
}

void set_option(Options& o, std::string_view name, std::string_view text) {
  if (name == "--size") {
    o.shape.size = parse_number(name, text);
  } else if (name == "--cluster-size") {
    o.shape.cluster_size = parse_number(name, text);
  } else if (name == "--refcount-bits") {
    o.shape.refcount_bits = parse_number(name, text);
  } else if (name == "--snapshots") {
    o.shape.snapshots = parse_number(name, text);
  } else if (name == "--l2") {
    o.shape.own_l2 = parse_choice<bool>(name, text, {{"own", true}, {"shared", false}});
  } else if (name == "--layout") {
    o.layout = parse_choice<Layout>(
        name, text, {{"in-order", Layout::in_order}, {"random", Layout::random}, {"runs", Layout::runs}});
  } else if (name == "--seed") {
    o.seed = parse_number(name, text);
  } else {
    throw std::invalid_argument("unknown option " + std::string(name));
  }
}

Options parse_options(int argc, char** argv) {
  Options o;
  for (int i = 1; i < argc; ++i) {
    std::string_view argument = argv[i];
    if (!argument.starts_with("--")) {
      if (!o.out.empty()) throw std::invalid_argument("only one OUT");
      o.out = argument;
    } else if (i + 1 == argc) {
      throw std::invalid_argument(std::string(argument) + ": value is missing");
    } else {
      set_option(o, argument, argv[++i]);
    }
  }
  check_options(o);
  return o;
}

// ---- Writing ------------------------------------------------------------------------------------------------------

// Joins adjacent pieces to large writes.
class Output {
 public:
  explicit Output(const std::string& path) : fd_(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)) {
    if (fd_ < 0) fail(path.c_str());
    buffer_.reserve(kBufferBytes);
  }
  ~Output() { close(fd_); }
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  void put(uint64_t offset, const void* bytes, size_t length) {
    if (offset != start_ + buffer_.size() || buffer_.size() + length > kBufferBytes) {
      flush();
      start_ = offset;
    }
    auto* first = static_cast<const unsigned char*>(bytes);
    buffer_.insert(buffer_.end(), first, first + length);
  }
  void flush() {
    for (size_t done = 0; done < buffer_.size();) {
      ssize_t n = pwrite(fd_, buffer_.data() + done, buffer_.size() - done, static_cast<off_t>(start_ + done));
      if (n < 0 && errno != EINTR) fail("write");
      if (n > 0) done += static_cast<size_t>(n);
    }
    start_ += buffer_.size();
    buffer_.clear();
  }
  void set_length(uint64_t length) {
    if (ftruncate(fd_, static_cast<off_t>(length))) fail("this file system takes no sparse file this long");
  }

 private:
  static constexpr size_t kBufferBytes = 4 << 20;
  [[noreturn]] static void fail(const char* what) { throw std::system_error(errno, std::generic_category(), what); }

  int fd_;
  uint64_t start_ = 0;
  std::vector<unsigned char> buffer_;
};

void put_entry(Output& out, uint64_t table_offset, uint64_t index, uint64_t value) {
  be64 entry(value);
  out.put(table_offset + index * sizeof entry, &entry, sizeof entry);
}

void put_refcount(std::vector<unsigned char>& block, uint64_t bits, uint64_t index, uint64_t count) {
  if (bits < 8) {  // the first entry is in the lowest bits
    unsigned char& byte = block[index * bits / 8];
    byte = static_cast<unsigned char>(byte | count << index * bits % 8);
  } else {
    be64 wide(count);
    std::memcpy(&block[index * bits / 8], reinterpret_cast<unsigned char*>(&wide + 1) - bits / 8, bits / 8);
  }
}

void write_refcounts(Output& out, const Plan& plan) {
  uint64_t table = plan.refcount_table() * plan.cluster_size;
  for (uint64_t i = 0; i < plan.block_count; ++i) put_entry(out, table, i, plan.refcount_block(i) * plan.cluster_size);

  std::vector<unsigned char> block(plan.cluster_size);
  for (uint64_t i = 0; i < plan.block_count; ++i) {
    std::fill(block.begin(), block.end(), static_cast<unsigned char>(0));
    for (uint64_t j = 0; j < plan.block_entries; ++j) {
      put_refcount(block, plan.refcount_bits, j, plan.refcount(i * plan.block_entries + j));
    }
    out.put(plan.refcount_block(i) * plan.cluster_size, block.data(), block.size());
  }
}

// COPIED says something in the active L1 table only, as the format has it; elsewhere it is left clear.
void write_l1_tables(Output& out, const Plan& plan) {
  for (uint64_t state = 0; state <= plan.snapshots; ++state) {
    uint64_t copied = state == 0 && plan.l2_refcount == 1 ? kCopied : 0;
    for (uint64_t i = 0; i < plan.l2_tables; ++i) {
      uint64_t entry = plan.l2_table(state, i) * plan.cluster_size | copied;
      put_entry(out, plan.l1(state) * plan.cluster_size, i, entry);
    }
  }
}

// A placement that isn't one to one would make an inconsistent image, and every figure measured on it worthless.
void mark_used(std::vector<bool>& used, uint64_t place) {
  if (place >= used.size() || used[place]) throw std::logic_error("the layout is not one to one");
  used[place] = true;
}

void write_l2_tables(Output& out, const Plan& plan, const Placement& place) {
  std::vector<be64> table(plan.table_entries);
  std::vector<bool> used(plan.guest_clusters);
  uint64_t copied = plan.data_refcount == 1 ? kCopied : 0;
  uint64_t states = plan.own_l2 ? plan.snapshots + 1 : 1;
  for (uint64_t state = 0; state < states; ++state) {
    uint64_t guest = 0;
    for (uint64_t i = 0; i < plan.l2_tables; ++i) {
      uint64_t count = std::min(plan.table_entries, plan.guest_clusters - guest);
      for (uint64_t j = 0; j < count; ++j) {
        uint64_t data = place(guest++);
        if (state == 0) mark_used(used, data);
        table[j].set(plan.data(data) * plan.cluster_size | copied);
      }
      std::fill(table.begin() + static_cast<std::ptrdiff_t>(count), table.end(), be64(0));
      out.put(plan.l2_table(state, i) * plan.cluster_size, table.data(), plan.cluster_size);
    }
  }
}

std::string snapshot_table(const Plan& plan) {
  std::string bytes;
  for (uint64_t i = 0; i < plan.snapshots; ++i) {
    std::string id = std::to_string(i + 1), name = "snap-" + id;
    SnapshotEntry entry;
    entry.l1_offset.set(plan.l1(i + 1) * plan.cluster_size);
    entry.l1_size.set(static_cast<uint32_t>(plan.l2_tables));
    entry.id_length.set(static_cast<uint16_t>(id.size()));
    entry.name_length.set(static_cast<uint16_t>(name.size()));
    entry.seconds.set(static_cast<uint32_t>(1700000000 + i * 3600));  // not now: equal options make equal images
    entry.disk_size.set(plan.size);
    bytes.append(reinterpret_cast<const char*>(&entry), sizeof entry);
    bytes += id + name;
    bytes.resize(divide_up(bytes.size(), 8) * 8);
  }
  return bytes;
}

void write_header(Output& out, const Plan& plan) {
  Header header;
  header.cluster_bits.set(static_cast<uint32_t>(std::countr_zero(plan.cluster_size)));
  header.size.set(plan.size);
  header.l1_size.set(static_cast<uint32_t>(plan.l2_tables));
  header.l1_offset.set(plan.l1(0) * plan.cluster_size);
  header.refcount_table_offset.set(plan.refcount_table() * plan.cluster_size);
  header.refcount_table_clusters.set(static_cast<uint32_t>(plan.refcount_table_clusters));
  header.snapshot_count.set(static_cast<uint32_t>(plan.snapshots));
  header.snapshots_offset.set(plan.snapshots ? plan.snapshot_table() * plan.cluster_size : 0);
  header.refcount_order.set(static_cast<uint32_t>(std::countr_zero(plan.refcount_bits)));
  out.put(0, &header, sizeof header);
}

void make_image(const Options& options) {
  // The length of the snapshot table doesn't depend on places, but places depend on it.
  size_t snapshot_bytes = snapshot_table(Plan(options.shape, 0)).size();
  Plan plan(options.shape, snapshot_bytes);
  std::string snapshots = snapshot_table(plan);

  Output out(options.out);
  out.set_length(plan.cluster_count * plan.cluster_size);
  write_refcounts(out, plan);
  write_l1_tables(out, plan);
  out.put(plan.snapshot_table() * plan.cluster_size, snapshots.data(), snapshots.size());
  write_l2_tables(out, plan, make_placement(options.layout, plan.guest_clusters, options.seed));
  out.flush();
  write_header(out, plan);
  out.flush();
}

}  // namespace
}  // namespace qd::bench

int main(int argc, char** argv) {
  try {
    qd::bench::make_image(qd::bench::parse_options(argc, argv));
    return 0;
  } catch (const std::invalid_argument& e) {
    std::fprintf(stderr, "make_image: %s\n%s", e.what(), qd::bench::kUsage);
    return 2;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "make_image: %s\n", e.what());
    return 1;
  }
}
