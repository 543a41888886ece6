#include "image/refcounts.h"

#include <oneapi/tbb/enumerable_thread_specific.h>

#include <algorithm>
#include <cstring>

#include "base/bits.h"
#include "base/checked.h"
#include "base/endian.h"
#include "base/parallel.h"
#include "base/uniform.h"
#include "io/read_buffer.h"
#include "io/readahead.h"

namespace qd::image {
namespace {

template <class T>
std::uint64_t whole_entry(const std::byte* raw, std::uint64_t i) {
  return load_big_endian<T>(raw + i * sizeof(T));
}

// Narrow entries fill a byte from its least significant bit on.
std::uint64_t narrow_entry(const std::byte* raw, std::uint64_t i, unsigned order) {
  const std::uint64_t bit = i << order;
  return static_cast<unsigned>(raw[bit / 8]) >> (bit % 8) & ((1u << (1u << order)) - 1);
}

// One value throughout? Then the block equals itself shifted by one entry.
bool is_uniform(std::span<const std::byte> raw, unsigned order) {
  if (order >= 3) {
    const std::size_t width = std::size_t{1} << (order - 3);
    return std::memcmp(raw.data(), raw.data() + width, raw.size() - width) == 0;
  }
  const auto first = static_cast<unsigned>(raw[0]), most = (1u << (1u << order)) - 1;
  if (first != (first & most) * (0xff / most)) return false;  // the byte's own entries differ
  return all_same(raw);
}

}  // namespace

std::uint64_t refcount_entry(const std::byte* raw, std::uint64_t i, unsigned order) {
  switch (order) {
    case 3:
      return static_cast<unsigned>(raw[i]);
    case 4:
      return whole_entry<std::uint16_t>(raw, i);
    case 5:
      return whole_entry<std::uint32_t>(raw, i);
    case 6:
      return whole_entry<std::uint64_t>(raw, i);
    default:
      return narrow_entry(raw, i, order);
  }
}

void set_refcount_entry(std::span<std::byte> block, std::uint64_t i, unsigned order, std::uint64_t value) {
  if (order < 3) {
    const std::uint64_t bit = i << order;
    const unsigned shift = bit % 8, mask = (1u << (1u << order)) - 1;
    block[bit / 8] = (block[bit / 8] & ~std::byte(mask << shift)) | std::byte((value & mask) << shift);
    return;
  }
  const unsigned bytes = 1u << (order - 3);
  for (unsigned b = 0; b < bytes; ++b) block[i * bytes + b] = std::byte(value >> (8 * (bytes - 1 - b)) & 0xff);
}

RefcountBlock::RefcountBlock(std::span<const std::byte> raw, unsigned order, std::uint64_t entries) {
  if (is_uniform(raw, order)) {
    palette_[0] = refcount_entry(raw.data(), 0, order);
  } else {
    load(raw, order, entries);
  }
}

void RefcountBlock::load(std::span<const std::byte> raw, unsigned order, std::uint64_t entries) {
  // Do `count` entries, which fill whole bytes, all have the value of the first?
  const auto uniform = [&](std::uint64_t first, std::uint64_t count) {
    return is_uniform(raw.subspan((first << order) / 8, (count << order) / 8), order);
  };
  switch (order) {
    case 3:
      return pack(entries, uniform, [&](std::uint64_t i) { return std::uint64_t{static_cast<unsigned char>(raw[i])}; });
    case 4:
      return pack(entries, uniform, [&](std::uint64_t i) { return whole_entry<std::uint16_t>(raw.data(), i); });
    case 5:
      return pack(entries, uniform, [&](std::uint64_t i) { return whole_entry<std::uint32_t>(raw.data(), i); });
    case 6:
      return pack(entries, uniform, [&](std::uint64_t i) { return whole_entry<std::uint64_t>(raw.data(), i); });
    default:
      return pack(entries, uniform, [&](std::uint64_t i) { return narrow_entry(raw.data(), i, order); });
  }
}

// Finds out how narrow the block can be kept, and keeps it so. Neighbours are mostly equal: most chunks need one look.
template <class Uniform, class Value>
void RefcountBlock::pack(std::uint64_t entries, Uniform&& uniform, Value&& value) {
  constexpr std::uint64_t chunk = 32;
  unsigned known = 0;  // values in the palette; 5: too many for one
  std::uint64_t largest = 0;
  for (std::uint64_t i = 0; i < entries; ++i) {
    const std::uint64_t v = value(i);
    largest = std::max(largest, v);
    if (known <= 4 && std::find(palette_, palette_ + known, v) == palette_ + known) {
      if (known < 4) palette_[known] = v;
      ++known;
    }
    if (i % chunk == 0 && uniform(i, chunk)) i += chunk - 1;
  }
  kind_ = known <= 4 ? Kind::palette : largest <= 0xff ? Kind::wide8 : largest <= 0xffff ? Kind::wide16 : Kind::wide64;
  if (kind_ == Kind::palette) return pack_palette(entries, known, uniform, value);
  const unsigned bits = kind_ == Kind::wide8 ? 8 : kind_ == Kind::wide16 ? 16 : 64;
  const unsigned per_word = 64 / bits;
  words_ = std::make_unique<std::uint64_t[]>(entries / per_word);
  for (std::uint64_t i = 0; i < entries; ++i) words_[i / per_word] |= value(i) << (i % per_word * bits);
}

template <class Uniform, class Value>
void RefcountBlock::pack_palette(std::uint64_t entries, unsigned known, Uniform&& uniform, Value&& value) {
  constexpr std::uint64_t chunk = 32;  // a word
  std::fill(palette_ + known, palette_ + 4, palette_[0]);
  const auto code = [&](std::uint64_t i) {
    return static_cast<std::uint64_t>(std::find(palette_, palette_ + 4, value(i)) - palette_);
  };
  words_ = std::make_unique_for_overwrite<std::uint64_t[]>(entries / chunk);
  for (std::uint64_t i = 0; i < entries; i += chunk) {
    std::uint64_t word = 0;
    if (uniform(i, chunk)) {
      word = code(i) * 0x5555555555555555;
    } else {
      for (unsigned k = 0; k < chunk; ++k) word |= code(i + k) << (k * 2);
    }
    words_[i / chunk] = word;
  }
}

std::uint64_t RefcountBlock::look_up(std::uint64_t i) const {
  switch (kind_) {
    case Kind::uniform:
      return palette_[0];
    case Kind::palette:
      return palette_[words_[i / 32] >> (i % 32 * 2) & 3];
    case Kind::wide8:
      return words_[i / 8] >> (i % 8 * 8) & 0xff;
    case Kind::wide16:
      return words_[i / 4] >> (i % 4 * 16) & 0xffff;
    case Kind::wide64:
      return words_[i];
  }
  return 0;
}

bool RefcountBlock::all_equal(std::uint64_t first, std::uint64_t count, std::uint64_t value) const {
  if (kind_ == Kind::uniform) return palette_[0] == value;
  if (kind_ != Kind::palette) {
    for (std::uint64_t i = first; i < first + count; ++i) {
      if (get(i) != value) return false;
    }
    return true;
  }
  const auto code = static_cast<std::uint64_t>(std::find(palette_, palette_ + 4, value) - palette_);
  if (code == 4) return false;
  const std::uint64_t pattern = code * 0x5555555555555555;
  bool equal = true;
  BitSet::for_words(first * 2, count * 2,
                    [&](std::uint64_t word, std::uint64_t mask) { equal &= ((words_[word] ^ pattern) & mask) == 0; });
  return equal;
}

std::uint64_t RefcountBlock::nonzero(std::uint64_t word) const {
  if (kind_ == Kind::uniform) return palette_[0] == 0 ? 0 : ~std::uint64_t{0};
  if (kind_ == Kind::palette) {
    const auto zero = static_cast<std::uint64_t>(std::find(palette_, palette_ + 4, std::uint64_t{0}) - palette_);
    if (zero == 4) return ~std::uint64_t{0};
    const auto halves = [&](std::uint64_t codes) {  // two bits a cluster -> one: does its code differ from zero's?
      std::uint64_t x = codes ^ zero * 0x5555555555555555;
      x = (x | x >> 1) & 0x5555555555555555;
      x = (x | x >> 1) & 0x3333333333333333;
      x = (x | x >> 2) & 0x0f0f0f0f0f0f0f0f;
      x = (x | x >> 4) & 0x00ff00ff00ff00ff;
      x = (x | x >> 8) & 0x0000ffff0000ffff;
      return (x | x >> 16) & 0x00000000ffffffff;
    };
    return halves(words_[word * 2]) | halves(words_[word * 2 + 1]) << 32;
  }
  std::uint64_t bits = 0;
  for (std::uint64_t i = 0; i < 64; ++i) bits |= std::uint64_t{get(word * 64 + i) != 0} << i;
  return bits;
}

RunRefcount Refcounts::run_over_blocks(ClusterIndex first, std::uint64_t count) const {
  const std::uint64_t value = get(first), end = first.value + count;
  for (std::uint64_t at = first.value; at < end;) {
    const std::uint64_t here = std::min(end - at, block_rest(ClusterIndex(at)));
    if (at >> block_bits_ >= entries_.size() ? value != 0 : run(ClusterIndex(at), here) != value) return {};
    at += here;
  }
  return value;
}

// Blocks that several entries name are read once. The table is read up to 8 MiB, the most that any writer makes.
Refcounts Refcounts::load(const Image& image) {
  Refcounts result;
  const format::Geometry& g = *image.geometry;
  result.block_bits_ = g.refcount_block_bits();
  result.block_mask_ = g.refcount_block_entries() - 1;
  result.table_offset_ = HostOffset(image.header.refcount_table_offset);
  result.table_bytes_ = std::uint64_t{image.header.refcount_table_clusters} << g.cluster_bits;
  if (!image.refcounts_readable || g.offset_in_cluster(result.table_offset_.value) != 0 ||
      result.table_offset_.value >= image.size()) {
    return result;
  }

  // An impossibly large table is read as far as this file's clusters need one.
  const std::uint64_t needed = divide_up(image.clusters(), g.refcount_block_entries()) * sizeof(be64);
  const std::uint64_t most = result.table_bytes_ <= format::max_reftable_bytes ? result.table_bytes_ : needed;
  const std::uint64_t bytes = std::min({most, format::max_reftable_bytes, image.size() - result.table_offset_.value});
  std::vector<be64> table(bytes / sizeof(be64));
  if (auto read = image.file().read(result.table_offset_.value, std::as_writable_bytes(std::span(table))); !read) {
    result.table_error_ = read.error().message;
    return result;
  }
  while (!table.empty() && table.back().get() == 0) table.pop_back();
  result.entries_.resize(table.size());

  std::map<std::uint64_t, std::vector<std::uint64_t>> users;  // block offset -> entries that name it
  for (std::uint64_t i = 0; i < table.size(); ++i) {
    Entry& e = result.entries_[i];
    e.raw = table[i].get();
    const std::uint64_t offset = e.raw & format::reftable_offset_mask;
    if (offset == 0) continue;
    if (g.offset_in_cluster(offset) != 0) {
      e.state = BlockState::unaligned;
    } else if (offset >= 1ULL << 63) {
      e.state = BlockState::unreadable;
    } else if (offset < image.size()) {
      e.state = BlockState::present;
      users[offset].push_back(i);
    }
  }

  result.load_blocks(image, {users.begin(), users.end()});
  return result;
}

// In the order of the file, and neighbours at once.
void Refcounts::load_blocks(const Image& image, const std::vector<BlockUsers>& blocks) {
  struct Part {
    std::size_t first, count;  // of the blocks
  };
  using Errors = std::vector<std::pair<std::size_t, std::string>>;
  constexpr std::uint64_t read_bytes = 512u << 10;
  const format::Geometry& g = *image.geometry;
  const std::uint64_t cluster = g.cluster_size();
  const auto neighbours = [&](std::size_t first) {
    std::size_t n = 1;
    while (first + n < blocks.size() && n < read_bytes / cluster &&
           blocks[first + n].first == blocks[first].first + n * cluster) {
      ++n;
    }
    return n;
  };
  const auto load = [&](const Part& part, std::span<std::byte> buffer) -> Result<std::size_t> {
    auto read = image.file().read(blocks[part.first].first, buffer.first(part.count * cluster));
    for (std::size_t k = 0; read && k < part.count; ++k) {
      const std::size_t b = part.first + k;
      blocks_[b] = std::make_unique<const RefcountBlock>(buffer.subspan(k * cluster, cluster), g.refcount_order,
                                                         g.refcount_block_entries());
      for (const std::uint64_t i : blocks[b].second) entries_[i].block = blocks_[b].get();
    }
    return read;
  };

  blocks_.resize(blocks.size());
  tbb::enumerable_thread_specific<ReadBuffer> buffers;
  Readahead readahead(image.file());
  std::size_t next = 0;
  ordered_parallel<Part, Errors>(
      [&]() -> std::unique_ptr<Part> {
        if (next == blocks.size()) return nullptr;
        readahead.reach(next, blocks.size(), [&](std::uint64_t b) { readahead.add(blocks[b].first, cluster); });
        auto part = std::make_unique<Part>(Part{next, neighbours(next)});
        next += part->count;
        return part;
      },
      [&](const Part& part, Errors& errors) {
        const auto buffer = std::as_writable_bytes(buffers.local().words(part.count * cluster / sizeof(std::uint64_t)));
        if (load(part, buffer)) return;
        for (std::size_t b = part.first; b < part.first + part.count; ++b) {  // one bad sector must not hide the rest
          if (auto done = load({b, 1}, buffer); !done) errors.emplace_back(b, done.error().message);
        }
      },
      [&](Errors&& errors) {
        for (const auto& [b, message] : errors) {
          for (const std::uint64_t i : blocks[b].second) {
            entries_[i].state = BlockState::unreadable;
            block_errors_[i] = message;
          }
        }
      });
}

}  // namespace qd::image
