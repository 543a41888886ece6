#include "repair/snapshot_table.h"

#include <algorithm>
#include <cerrno>

#include "base/checked.h"

namespace qd::repair {

SnapshotEntry read_snapshot(Work& w, const format::Snapshot& s) {
  SnapshotEntry e;
  const auto bytes = w.view.read(s.at, std::max<std::uint64_t>(s.bytes, sizeof e.raw));
  std::ranges::copy_n(bytes.begin(), sizeof e.raw, std::as_writable_bytes(std::span(&e.raw, 1)).begin());
  auto at = bytes.begin() + sizeof e.raw;
  const auto take = [&](std::uint64_t size) {
    const auto begin = at;
    at += std::min<std::ptrdiff_t>(static_cast<std::ptrdiff_t>(size), bytes.end() - at);
    return std::span(begin, at);
  };
  const auto text = [&](std::uint64_t size) {
    const auto from = take(size);
    return std::string(reinterpret_cast<const char*>(from.data()), from.size());
  };
  const auto extra = take(s.extra_data_size);
  e.extra.assign(extra.begin(), extra.end());
  e.id = text(s.id_bytes);
  e.name = text(s.name_bytes);
  e.bytes = s.bytes;
  return e;
}

std::optional<HostOffset> write_snapshots(Work& w, std::vector<SnapshotEntry>& entries) {
  const format::Geometry& g = w.view.geometry();
  std::vector<std::byte> table;
  const auto append = [&](std::span<const std::byte> bytes) { table.insert(table.end(), bytes.begin(), bytes.end()); };
  for (SnapshotEntry& e : entries) {
    table.resize(round_up(table.size(), 8));
    e.raw.extra_data_size.set(static_cast<std::uint32_t>(e.extra.size()));
    e.raw.id_size.set(static_cast<std::uint16_t>(e.id.size()));
    e.raw.name_size.set(static_cast<std::uint16_t>(e.name.size()));
    append(std::as_bytes(std::span(&e.raw, 1)));
    append(e.extra);
    append(std::as_bytes(std::span(e.id)));
    append(std::as_bytes(std::span(e.name)));
  }
  if (table.size() > format::max_snapshot_table_bytes) {
    w.view.fail({EFBIG, "the snapshot table would be larger than the 64 MiB that are possible; nothing was changed"});
    return std::nullopt;
  }
  HostOffset place(0);
  if (!table.empty()) {
    const std::uint64_t clusters = g.clusters(table.size());
    table.resize(clusters << g.cluster_bits);
    const auto at = w.editor.allocate(clusters);
    if (!at) return std::nullopt;
    place = *at;
    w.editor.write(Stage::fresh, place, table);
  }
  struct {
    be32 count;
    be64 offset;
  } const field{be32(static_cast<std::uint32_t>(entries.size())), be64(place.value)};
  static_assert(sizeof field == snapshot_field_bytes);
  w.editor.write(Stage::point, snapshot_field, std::as_bytes(std::span(&field, 1)));
  return place;
}

}  // namespace qd::repair
