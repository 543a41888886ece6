#include "image/refcounts.h"

#include <oneapi/tbb/enumerable_thread_specific.h>
#include <oneapi/tbb/parallel_for.h>

#include <algorithm>
#include <cstring>
#include <mutex>

#include "base/bits.h"
#include "base/checked.h"
#include "base/endian.h"

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

std::uint64_t entry(const std::byte* raw, std::uint64_t i, unsigned order) {
  switch (order) {
    case 3: return static_cast<unsigned>(raw[i]);
    case 4: return whole_entry<std::uint16_t>(raw, i);
    case 5: return whole_entry<std::uint32_t>(raw, i);
    case 6: return whole_entry<std::uint64_t>(raw, i);
    default: return narrow_entry(raw, i, order);
  }
}

// One value throughout? Then the block equals itself shifted by one entry.
bool is_uniform(std::span<const std::byte> raw, unsigned order) {
  if (order >= 3) {
    const std::size_t width = std::size_t{1} << (order - 3);
    return std::memcmp(raw.data(), raw.data() + width, raw.size() - width) == 0;
  }
  const auto first = raw[0];
  if (first != std::byte{0x00} && first != std::byte{0xff}) return false;
  return std::memcmp(raw.data(), raw.data() + 1, raw.size() - 1) == 0;
}

}  // namespace

RefcountBlock::RefcountBlock(std::span<const std::byte> raw, unsigned order, std::uint64_t entries) {
  if (is_uniform(raw, order)) {
    palette_[0] = entry(raw.data(), 0, order);
  } else {
    load(raw, order, entries);
  }
}

void RefcountBlock::load(std::span<const std::byte> raw, unsigned order, std::uint64_t entries) {
  switch (order) {
    case 3: return pack(entries, [&](std::uint64_t i) { return std::uint64_t{static_cast<unsigned char>(raw[i])}; });
    case 4: return pack(entries, [&](std::uint64_t i) { return whole_entry<std::uint16_t>(raw.data(), i); });
    case 5: return pack(entries, [&](std::uint64_t i) { return whole_entry<std::uint32_t>(raw.data(), i); });
    case 6: return pack(entries, [&](std::uint64_t i) { return whole_entry<std::uint64_t>(raw.data(), i); });
    default: return pack(entries, [&](std::uint64_t i) { return narrow_entry(raw.data(), i, order); });
  }
}

// Finds out how narrow the block can be kept, and keeps it so. Neighbours are mostly equal, which spares the search.
template <class Value>
void RefcountBlock::pack(std::uint64_t entries, Value&& value) {
  unsigned known = 0;  // values of the palette; 5: they are too many
  std::uint64_t largest = 0, last = 0;
  for (std::uint64_t i = 0; i < entries; ++i) {
    const std::uint64_t v = value(i);
    if (v == last && i > 0) continue;
    last = v;
    largest = std::max(largest, v);
    if (known > 4 || std::find(palette_, palette_ + known, v) != palette_ + known) continue;
    if (known < 4) palette_[known] = v;
    ++known;
  }
  kind_ = known <= 4         ? Kind::palette
          : largest <= 0xff   ? Kind::wide8
          : largest <= 0xffff ? Kind::wide16
                              : Kind::wide64;
  const unsigned bits = kind_ == Kind::palette ? 2 : kind_ == Kind::wide8 ? 8 : kind_ == Kind::wide16 ? 16 : 64;
  const unsigned per_word = 64 / bits;
  if (kind_ == Kind::palette) std::fill(palette_ + known, palette_ + 4, palette_[0]);

  words_ = std::make_unique<std::uint64_t[]>(entries / per_word);
  last = palette_[0];
  std::uint64_t code = kind_ == Kind::palette ? 0 : last;
  for (std::uint64_t w = 0; w < entries / per_word; ++w) {
    std::uint64_t word = 0;
    for (unsigned k = 0; k < per_word; ++k) {
      const std::uint64_t v = value(w * per_word + k);
      if (v != last) {
        last = v;
        code = kind_ == Kind::palette ? static_cast<std::uint64_t>(std::find(palette_, palette_ + 4, v) - palette_) : v;
      }
      word |= code << (k * bits);
    }
    words_[w] = word;
  }
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
  BitSet::for_words(first * 2, count * 2, [&](std::uint64_t word, std::uint64_t mask) {
    equal &= ((words_[word] ^ pattern) & mask) == 0;
  });
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

bool Refcounts::all_equal(ClusterIndex first, std::uint64_t count, std::uint64_t value) const {
  std::uint64_t at = first.value;
  const std::uint64_t end = at + count;
  while (at < end) {
    const std::uint64_t i = at >> block_bits_, within = at & block_mask_;
    const std::uint64_t here = std::min(end - at, block_mask_ + 1 - within);
    const RefcountBlock* block = i < entries_.size() ? entries_[i].block : nullptr;
    if (block ? !block->all_equal(within, here, value) : value != 0) return false;
    at += here;
  }
  return true;
}

// Blocks that several entries name are read once. What the table claims beyond 8 MiB, the most that any writer makes,
// is not looked at.
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

  const std::vector<std::pair<std::uint64_t, std::vector<std::uint64_t>>> blocks(users.begin(), users.end());
  result.blocks_.resize(blocks.size());
  std::mutex errors;
  tbb::enumerable_thread_specific<std::vector<std::byte>> buffers(g.cluster_size());
  tbb::parallel_for(std::size_t{0}, blocks.size(), [&](std::size_t b) {
    auto& buffer = buffers.local();
    const auto& [offset, indexes] = blocks[b];
    auto read = image.file().read(offset, buffer);
    if (!read) {
      const std::lock_guard lock(errors);
      for (const std::uint64_t i : indexes) {
        result.entries_[i].state = BlockState::unreadable;
        result.block_errors_[i] = read.error().message;
      }
      return;
    }
    result.blocks_[b] = std::make_unique<const RefcountBlock>(buffer, g.refcount_order, g.refcount_block_entries());
    for (const std::uint64_t i : indexes) result.entries_[i].block = result.blocks_[b].get();
  });
  return result;
}

}  // namespace qd::image
