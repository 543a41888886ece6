#include "edit/place.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <vector>

#include "base/number.h"
#include "image/lookup.h"
#include "words/names.h"

namespace qd::edit {
namespace {

using format::RawSnapshot;

tl::unexpected<Error> no_place(const std::string& why) { return fail(EINVAL, why + "; nothing was changed"); }

// Takes "[3,672]" off the front of `text`. Nothing if it isn't there.
std::optional<std::vector<std::uint64_t>> take_indexes(std::string_view& text, std::size_t count) {
  const std::size_t close = text.find(']');
  if (!text.starts_with('[') || close == text.npos) return std::nullopt;
  std::string_view inside = text.substr(1, close - 1);
  std::vector<std::uint64_t> indexes;
  for (;;) {
    const std::size_t comma = inside.find(',');
    const auto number = parse_number(inside.substr(0, comma));
    if (!number) return std::nullopt;
    indexes.push_back(*number);
    if (comma == inside.npos) break;
    inside.remove_prefix(comma + 1);
  }
  text.remove_prefix(close + 1);
  return indexes.size() == count ? std::optional(indexes) : std::nullopt;
}

bool take(std::string_view& text, std::string_view word) {
  if (!text.starts_with(word)) return false;
  text.remove_prefix(word.size());
  return true;
}

class Finder {
 public:
  Finder(const image::Image& image, const std::string& text) : image_(image), text_(text), rest_(text) {}
  Result<BytePlace> find();

 private:
  Result<BytePlace> header();
  Result<BytePlace> table_entry(const image::State& state);
  Result<BytePlace> snapshot();
  Result<BytePlace> snapshot_field(std::size_t number);
  Result<BytePlace> reftable_entry();
  Result<BytePlace> refcount();

  tl::unexpected<Error> unknown() const {
    return no_place(
        fmt::format("\"{}\" is no place; they are called like 0x50000, header.l1_size, l1[3], l2[3,672], "
                    "refcount[12], refcount_table[0], snapshot[0].name, snapshot[0].l2[3,672]",
                    text_));
  }
  tl::unexpected<Error> missing(const std::string& why) const {
    return no_place(fmt::format("there is no {}: {}", text_, why));
  }
  BytePlace entry(PlaceKind kind, HostOffset at) const { return {kind, at, 8, 0, 64, nullptr, 0, text_}; }

  const image::Image& image_;
  const std::string& text_;
  std::string_view rest_;
};

Result<BytePlace> Finder::header() {
  const auto fields = format::header_fields();
  const auto field = std::ranges::find(fields, rest_, &format::HeaderField::name);
  if (field == fields.end()) return missing("-H lists the header's fields");
  if (field->version3 && image_.header.version == 2) return missing("version 2 ends before it");
  return BytePlace{PlaceKind::header, field->at(), field->bytes, 0, field->bytes * 8, &*field, 0, text_};
}

// In the tables of any state: "l1[i]", "l2[i,j]", "l2[i,j].bitmap".
Result<BytePlace> Finder::table_entry(const image::State& state) {
  const bool second = rest_.starts_with("l2");
  rest_.remove_prefix(2);
  const auto index = take_indexes(rest_, second ? 2 : 1);
  if (!index) return unknown();
  const format::Geometry& g = *image_.geometry;
  if (state.l1_offset.value >= format::max_host_offset) return missing("its L1 table lies nowhere");
  if ((*index)[0] >= state.l1_size) return missing(fmt::format("the L1 table has {} entries", state.l1_size));
  if (!second) {
    return rest_.empty() ? Result<BytePlace>(entry(PlaceKind::l1_entry, image::l1_entry_at(state, (*index)[0])))
                         : unknown();
  }

  if ((*index)[1] >= g.l2_entries()) return missing(fmt::format("an L2 table has {} entries", g.l2_entries()));
  const auto table = image::l2_table_of(image_, state, (*index)[0]);
  if (!table) return tl::unexpected(table.error());
  if (table->value == 0) return missing(fmt::format("L1 entry {} leads to no L2 table", (*index)[0]));
  const HostOffset at = image::l2_entry_at(image_, *table, (*index)[1]);
  if (rest_.empty()) return entry(PlaceKind::l2_entry, at);
  if (rest_ != ".bitmap") return unknown();
  if (!g.extended_l2) return missing("the image has no extended L2 entries");
  return entry(PlaceKind::l2_bitmap, at + sizeof(be64));
}

Result<BytePlace> Finder::snapshot() {
  const auto index = take_indexes(rest_, 1);
  if (!index || !take(rest_, ".")) return unknown();
  const auto& entries = image_.snapshots.entries;
  if ((*index)[0] >= entries.size()) return missing(fmt::format("{} snapshots can be read", entries.size()));
  const format::Snapshot& s = entries[(*index)[0]];
  if (rest_.starts_with("l1[") || rest_.starts_with("l2[")) {
    return table_entry({static_cast<std::int32_t>((*index)[0]), s.l1_offset, s.l1_size});
  }
  return snapshot_field((*index)[0]);
}

Result<BytePlace> Finder::snapshot_field(std::size_t number) {
  struct Field {
    std::string_view name;
    std::size_t offset;
    unsigned bytes;
  };
#define FIELD(name) \
  Field { #name, offsetof(RawSnapshot, name), sizeof(RawSnapshot::name) }
  constexpr std::array fields{FIELD(l1_table_offset), FIELD(l1_size),          FIELD(id_size),  FIELD(name_size),
                              FIELD(date_seconds),    FIELD(date_nanoseconds), FIELD(vm_clock), FIELD(extra_data_size)};
#undef FIELD
  const format::Snapshot& s = image_.snapshots.entries[number];
  BytePlace place{PlaceKind::number, s.at, 8, 0, 64, nullptr, number, text_};
  if (rest_ == "name" || rest_ == "id") {
    place.kind = rest_ == "id" ? PlaceKind::snapshot_id : PlaceKind::snapshot_name;
    return place;
  }
  const bool wide = s.extra_data_size >= 8;  // the extra data has a larger field for the VM state
  if (rest_ == "vm_state_size") {
    place.at = s.at + (wide ? sizeof(RawSnapshot) : offsetof(RawSnapshot, vm_state_size));
    place.bytes = wide ? 8 : 4;
  } else if (rest_ == "disk_size") {
    if (s.extra_data_size < 16) return missing("the entry doesn't record it");
    place.at = s.at + sizeof(RawSnapshot) + offsetof(format::RawSnapshotExtra, disk_size);
  } else {
    const auto field = std::ranges::find(fields, rest_, &Field::name);
    if (field == fields.end()) return unknown();
    place.at = s.at + field->offset;
    place.bytes = field->bytes;
  }
  place.bits = place.bytes * 8;
  return place;
}

Result<BytePlace> Finder::reftable_entry() {
  const auto index = take_indexes(rest_, 1);
  if (!index || !rest_.empty()) return unknown();
  if (image_.header.refcount_table_offset >= format::max_host_offset) return missing("the refcount table lies nowhere");
  const std::uint64_t entries =
      (std::uint64_t{image_.header.refcount_table_clusters} << image_.geometry->cluster_bits) / sizeof(be64);
  if ((*index)[0] >= entries) return missing(fmt::format("the refcount table has {} entries", entries));
  return entry(PlaceKind::reftable_entry, HostOffset(image_.header.refcount_table_offset) + (*index)[0] * sizeof(be64));
}

Result<BytePlace> Finder::refcount() {
  const auto index = take_indexes(rest_, 1);
  if (!index || !rest_.empty()) return unknown();
  const format::Geometry& g = *image_.geometry;
  if (image_.header.refcount_table_offset >= format::max_host_offset) return missing("the refcount table lies nowhere");
  const std::uint64_t cluster = (*index)[0], block = cluster >> g.refcount_block_bits();
  const std::uint64_t room = std::uint64_t{image_.header.refcount_table_clusters} << g.cluster_bits;
  if (block >= room / sizeof(be64)) return missing("the refcount table ends before");
  const auto value =
      image::read_word(image_.file(), HostOffset(image_.header.refcount_table_offset) + block * sizeof(be64));
  if (!value) return tl::unexpected(value.error());
  const HostOffset at(*value & format::reftable_offset_mask);
  if (at.value == 0)
    return missing(fmt::format("refcount table entry {} leads to no block; -R error makes one", block));
  if (at.value >= format::max_host_offset) return missing(fmt::format("refcount table entry {} leads nowhere", block));
  BytePlace place = entry(PlaceKind::refcount, at);
  place.bits = g.refcount_bits();
  place.bytes = std::max(1u, place.bits / 8);
  const std::uint64_t bit = (cluster & (g.refcount_block_entries() - 1)) << g.refcount_order;
  place.at = at + bit / 8;
  place.shift = place.bits < 8 ? static_cast<unsigned>(bit % 8) : 0;
  return place;
}

Result<BytePlace> Finder::find() {
  if (const auto number = parse_number(rest_))
    return BytePlace{PlaceKind::number, HostOffset(*number), 8, 0, 64, nullptr, 0, {}};
  if (take(rest_, "header.")) return header();
  const bool table = rest_.starts_with("l1[") || rest_.starts_with("l2[");
  if (!table && rest_.find('[') == rest_.npos) return unknown();
  if (!image_.geometry) return missing("the header's cluster size is impossible (--cluster-size gives another)");
  if (table) return table_entry({-1, HostOffset(image_.header.l1_table_offset), image_.header.l1_size});
  if (take(rest_, "snapshot")) return snapshot();
  if (take(rest_, "refcount_table")) return reftable_entry();
  if (take(rest_, "refcount")) return refcount();
  return unknown();
}

struct EntryBits {
  std::uint64_t offset, reserved;
};
constexpr EntryBits l1_bits{format::offset_mask, format::l1_reserved_mask};
constexpr EntryBits reftable_bits{format::reftable_offset_mask, format::reftable_reserved_mask};

// Adds to `what` the rest of the entry beside its offset: its flag, and what it shouldn't have.
std::string entry_text(const format::Geometry& g, std::string what, std::uint64_t raw, const EntryBits& bits) {
  if (raw & format::copied_flag & ~bits.offset) what += ", COPIED";
  if (g.offset_in_cluster(raw & bits.offset) != 0) what += ", not cluster-aligned";
  if (raw & bits.reserved) what += fmt::format(", reserved bits 0x{:x}", raw & bits.reserved);
  return what;
}

std::string table_meaning(const format::Geometry& g, std::string_view leads_to, std::uint64_t raw,
                          const EntryBits& bits) {
  const std::uint64_t offset = raw & bits.offset;
  const std::string what = offset == 0 ? fmt::format("no {}", leads_to) : fmt::format("{} at 0x{:x}", leads_to, offset);
  return entry_text(g, what, raw, bits);
}

std::string l2_meaning(const format::Geometry& g, std::uint32_t version, std::uint64_t raw) {
  const std::string at = fmt::format("0x{:x}", raw & format::offset_mask);
  const bool no_zero_flag = version < 3 || g.extended_l2;
  const EntryBits bits{format::offset_mask, format::l2_reserved_mask | (no_zero_flag ? format::zero_flag : 0)};
  const auto plain = [&](const std::string& what) { return entry_text(g, what, raw, bits); };
  switch (format::cluster_type(g, raw)) {
    case format::ClusterType::unallocated:
      return plain("unallocated");
    case format::ClusterType::zero_plain:
      return plain("zeros");
    case format::ClusterType::zero_allocated:
      return plain("zeros, with a cluster at " + at);
    case format::ClusterType::normal:
      return plain("data at " + at);
    case format::ClusterType::compressed:
      break;
  }
  const format::CompressedRange range = g.compressed(raw);
  return fmt::format("compressed data at 0x{:x}, {} bytes at most{}{}", range.offset.value, range.bytes,
                     raw & format::copied_flag ? ", COPIED" : "",
                     range.offset.value >= format::max_host_offset ? ", past 2^56" : "");
}

}  // namespace

Result<BytePlace> find_place(const image::Image& image, const std::string& text) { return Finder(image, text).find(); }

BytePlace recognise(const image::Image& image, HostOffset at, unsigned bytes) {
  BytePlace place{PlaceKind::number, at, bytes, 0, bytes * 8, nullptr, 0, ""};
  for (const format::HeaderField& field : format::header_fields()) {
    const bool here = field.at() == at && field.bytes == bytes;
    if (here && !(field.version3 && image.header.version == 2)) {
      return {PlaceKind::header, at, bytes, 0, bytes * 8, &field, 0, fmt::format("header.{}", field.name)};
    }
  }
  if (!image.geometry || bytes != sizeof(be64) || at.value % sizeof(be64) != 0) return place;
  const format::Geometry& g = *image.geometry;
  const HostOffset l1(image.header.l1_table_offset);
  const std::uint64_t l1_bytes = std::min<std::uint64_t>(image.header.l1_size * sizeof(be64), format::max_l1_bytes);
  if (at >= l1 && at - l1 < l1_bytes) {
    return {PlaceKind::l1_entry, at, bytes, 0, 64, nullptr, 0, fmt::format("l1[{}]", (at - l1) / sizeof(be64))};
  }
  const auto table = image::read_words(image.file(), l1, l1_bytes / sizeof(be64));
  if (!table) return place;
  const std::uint64_t inside = g.offset_in_cluster(at.value);
  const auto leads_here = [&](std::uint64_t entry) { return (entry & format::offset_mask) == at.value - inside; };
  const auto entry = std::ranges::find_if(*table, leads_here);
  if (entry == table->end() || at.value == inside) return place;
  const bool bitmap = g.extended_l2 && inside % g.l2_entry_bytes() != 0;
  return {bitmap ? PlaceKind::l2_bitmap : PlaceKind::l2_entry,
          at,
          bytes,
          0,
          64,
          nullptr,
          0,
          fmt::format("l2[{},{}]{}", entry - table->begin(), inside / g.l2_entry_bytes(), bitmap ? ".bitmap" : "")};
}

std::string meaning(const image::Image& image, const BytePlace& place, std::uint64_t value) {
  switch (place.kind) {
    case PlaceKind::header:
      return field_meaning(image, *place.field, value);
    case PlaceKind::l1_entry:
      return table_meaning(*image.geometry, "L2 table", value, l1_bits);
    case PlaceKind::l2_entry:
      return l2_meaning(*image.geometry, image.header.version, value);
    case PlaceKind::l2_bitmap:
      return fmt::format("{} subclusters with data, {} of zeros", std::popcount(value & 0xffffffff),
                         std::popcount(value >> 32));
    case PlaceKind::reftable_entry:
      return table_meaning(*image.geometry, "block", value, reftable_bits);
    default:
      return fmt::format("{}", value);
  }
}

}  // namespace qd::edit
