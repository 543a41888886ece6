#include "image/image.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/checked.h"
#include "base/endian.h"
#include "image/classify.h"

namespace qd::image {

using format::Geometry;

Result<Image> Image::reopen(std::unique_ptr<File> view) const {
  auto image = open(std::move(view), hints_);
  if (!image || !hints_.cluster_bits || image->header.cluster_bits == header.cluster_bits) return image;
  Hints left = hints_;
  left.cluster_bits.reset();
  return open(std::move(image->file_), left);
}

Result<Image> Image::open(std::unique_ptr<File> file, const Hints& hints) {
  Image image;
  image.file_ = std::move(file);
  image.hints_ = hints;
  // No entry can name a place beyond 2^56, so nothing behind it is of interest.
  image.size_ = round_up(std::min<std::uint64_t>(image.file_->size(), format::max_host_offset), format::sector);

  std::vector<std::byte> first(4096);
  auto read = image.file_->read(0, first);
  if (!read) return tl::make_unexpected(read.error());
  image.header_bytes_present = std::min<std::uint64_t>(image.file_->size(), format::header_bytes_known);
  image.header = format::parse_header(std::span(first).first(image.header_bytes_present));

  const format::Header& h = image.header;
  // Whoever gives the cluster size knows that it is a qcow2 image.
  const bool ours = h.magic == format::magic && h.version != 1;
  if (!ours && !hints.cluster_bits) image.foreign = image::foreign(*image.file_);
  if (image.foreign) return image;
  Geometry g;
  g.cluster_bits = hints.cluster_bits.value_or(h.cluster_bits);
  if (g.cluster_bits < 9 || g.cluster_bits > 21) return image;
  g.extended_l2 = (h.incompatible_features & format::incompatible::extended_l2) != 0;
  g.data_file = (h.incompatible_features & format::incompatible::data_file) != 0;
  image.refcounts_readable = h.refcount_order <= 6;
  g.refcount_order = image.refcounts_readable ? h.refcount_order : 4;
  image.geometry = g;

  first.assign(g.cluster_size(), std::byte{});
  if (auto whole = image.file_->read(0, first); !whole) return tl::make_unexpected(whole.error());
  image.read_extensions(first);
  image.read_snapshots();
  image.read_bitmaps();
  return image;
}

std::uint64_t Image::table_bytes() const {
  if (!geometry) return 0;
  std::uint64_t l2_tables = header.l1_size;
  for (const format::Snapshot& snapshot : snapshots.entries) l2_tables += snapshot.l1_size;
  const std::uint64_t blocks = clusters() / geometry->refcount_block_entries() + 1;
  return std::min((l2_tables + blocks) << geometry->cluster_bits, file_->allocated_bytes());
}

const format::Extension* Image::find_extension(std::uint32_t type) const {
  const auto found = std::ranges::find(extensions.list, type, &format::Extension::type);
  return found == extensions.list.end() ? nullptr : &*found;
}

std::string Image::feature_name(format::FeatureKind kind, unsigned bit) const {
  const auto named = [&](const format::FeatureName& f) { return f.kind == kind && f.bit == bit; };
  const auto own = std::ranges::find_if(feature_names, named);
  if (own != feature_names.end() && !own->name.empty()) return own->name;
  const auto known = format::known_features();
  if (const auto ours = std::ranges::find_if(known, named); ours != known.end()) return ours->name;
  return {};
}

void Image::read_extensions(std::span<const std::byte> first_cluster) {
  const std::uint64_t cluster = geometry->cluster_size();
  const bool has_backing = header.backing_file_offset != 0;
  const std::uint64_t end = has_backing ? std::min(header.backing_file_offset, cluster) : cluster;
  const bool length_plausible =
      header.version == 2 || (header.header_length >= format::header_bytes_v3 && header.header_length <= cluster);
  if (length_plausible) {
    extensions = format::parse_extensions(first_cluster, header.header_length, end);
  }

  if (has_backing && header.backing_file_offset <= cluster &&
      header.backing_file_size <=
          std::min<std::uint64_t>(format::max_backing_name_bytes, cluster - header.backing_file_offset)) {
    backing_file.emplace(reinterpret_cast<const char*>(first_cluster.data() + header.backing_file_offset),
                         header.backing_file_size);
  }
  if (const auto* e = find_extension(format::extension::backing_format)) backing_format = e->text();
  if (const auto* e = find_extension(format::extension::data_file_name)) data_file = e->text();
  if (const auto* e = find_extension(format::extension::feature_names)) {
    feature_names = format::parse_feature_names(e->data);
  }
  if (const auto* e = find_extension(format::extension::crypt_header); e && e->data.size() == 16) {
    crypt = CryptHeader{HostOffset(load_big_endian<std::uint64_t>(e->data.data())),
                        load_big_endian<std::uint64_t>(e->data.data() + 8)};
  }
}

namespace {

template <class T>
Result<bool> read_struct(const File& file, std::uint64_t at, T& into) {
  auto read = file.read(at, std::as_writable_bytes(std::span(&into, 1)));
  if (!read) return tl::make_unexpected(read.error());
  return *read > 0;
}

Result<std::string> read_name(const File& file, std::uint64_t at, std::size_t bytes) {
  std::string text(std::min(bytes, format::most_name_bytes), '\0');
  auto read = file.read(at, std::as_writable_bytes(std::span(text)));
  if (!read) return tl::make_unexpected(read.error());
  return text;
}

// Fills everything of `snapshot` that follows the fixed part. The entry's end is at + bytes.
Result<bool> read_snapshot_tail(const File& file, const format::RawSnapshot& raw, format::Snapshot& snapshot) {
  std::uint64_t at = snapshot.at.value + sizeof raw;
  format::RawSnapshotExtra extra;
  if (auto read = read_struct(file, at, extra); !read) return read;
  if (snapshot.extra_data_size >= 8) snapshot.vm_state_size = extra.vm_state_size.get();
  if (snapshot.extra_data_size >= 16) snapshot.disk_size = extra.disk_size.get();

  at += snapshot.extra_data_size;
  snapshot.id_bytes = raw.id_size.get();
  auto id = read_name(file, at, snapshot.id_bytes);
  if (!id) return tl::make_unexpected(id.error());
  snapshot.id = std::move(*id);
  at += snapshot.id_bytes;
  snapshot.name_bytes = raw.name_size.get();
  auto name = read_name(file, at, snapshot.name_bytes);
  if (!name) return tl::make_unexpected(name.error());
  snapshot.name = std::move(*name);
  at += snapshot.name_bytes;
  snapshot.bytes = at - snapshot.at.value;
  return true;
}

}  // namespace

// Entries have no fixed size, so one that is unreadable hides all behind it. Entries past the end of the file are not
// listed one by one: a hostile count would make millions of them out of nothing.
void Image::read_snapshots() {
  if (header.nb_snapshots == 0) return;
  const std::uint64_t start = header.snapshots_offset;
  const auto stop = [&](std::uint64_t index, std::uint64_t at, std::string reason) {
    snapshots.stop = Stop{index, HostOffset(at), std::move(reason)};
  };
  if (geometry->offset_in_cluster(start) != 0 || start >= format::max_host_offset) {
    return stop(0, start, "the table's offset is not cluster-aligned or impossible");
  }

  // An impossible count says nothing about how many there are. Then entries are read as long as they make sense.
  const std::uint64_t count = std::min<std::uint64_t>(header.nb_snapshots, format::max_snapshots);
  const bool count_possible = header.nb_snapshots <= format::max_snapshots;
  const auto impossible_count = [&](std::uint64_t found) {
    stop(0, start, fmt::format("{} are possible; {} can be read", format::max_snapshots, found));
  };
  std::uint64_t at = start;
  for (std::uint64_t i = 0; i < count; ++i) {
    at = round_up(at, 8);
    if (at >= size_) {
      if (!count_possible) return impossible_count(i);
      snapshots.missing = count - i;
      snapshots.bytes = at - start + (count - i) * sizeof(format::RawSnapshot);
      return;
    }
    format::RawSnapshot raw;
    if (auto read = read_struct(*file_, at, raw); !read) return stop(i, at, read.error().message);

    const std::uint64_t l1 = raw.l1_table_offset.get();
    if (!count_possible && (raw.id_size.get() == 0 || l1 == 0 || geometry->offset_in_cluster(l1) != 0)) {
      return impossible_count(i);
    }
    format::Snapshot snapshot;
    snapshot.at = HostOffset(at);
    snapshot.l1_offset = HostOffset(raw.l1_table_offset.get());
    snapshot.l1_size = raw.l1_size.get();
    snapshot.date_seconds = raw.date_seconds.get();
    snapshot.date_nanoseconds = raw.date_nanoseconds.get();
    snapshot.vm_clock = raw.vm_clock.get();
    snapshot.vm_state_size = raw.vm_state_size.get();
    snapshot.extra_data_size = raw.extra_data_size.get();
    snapshot.disk_size = header.size / format::sector * format::sector;
    if (at - start + sizeof raw + snapshot.extra_data_size > format::max_snapshot_table_bytes) {
      return stop(
          i, at,
          fmt::format("it claims {} bytes of extra data, more than a whole table may have", snapshot.extra_data_size));
    }
    if (auto tail = read_snapshot_tail(*file_, raw, snapshot); !tail) return stop(i, at, tail.error().message);
    if (at + snapshot.bytes - start > format::max_snapshot_table_bytes) {
      return stop(i, at, "the table grows beyond 64 MiB here");
    }
    at += snapshot.bytes;
    snapshots.bytes = at - start;
    snapshots.entries.push_back(std::move(snapshot));
  }
  if (!count_possible) impossible_count(count);
}

void Image::read_bitmaps() {
  const auto* e = find_extension(format::extension::bitmaps);
  if (!e || e->data.size() != sizeof(format::RawBitmapsExtension)) return;
  format::RawBitmapsExtension extension;
  std::copy(e->data.begin(), e->data.end(), std::as_writable_bytes(std::span(&extension, 1)).begin());
  bitmaps.extension = extension;
  bitmaps.valid = header.version >= 3 && (header.autoclear_features & format::autoclear::bitmaps);
  if (bitmaps.valid) read_directory(bitmaps);
}

Bitmaps Image::stale_bitmaps() const {
  Bitmaps stale;
  stale.extension = bitmaps.extension;
  if (stale.extension && !bitmaps.valid) read_directory(stale);
  return stale;
}

void Image::read_directory(Bitmaps& into) const {
  const format::RawBitmapsExtension& extension = *into.extension;
  const std::uint64_t start = extension.directory_offset.get(), bytes = extension.directory_size.get();
  const auto stop = [&](std::uint64_t at, std::string reason) {
    into.stop = Stop{into.entries.size(), HostOffset(at), std::move(reason)};
  };
  if (geometry->offset_in_cluster(start) != 0) return stop(start, "its offset is not cluster-aligned");
  if (bytes == 0 || bytes > format::max_bitmap_directory_bytes) return stop(start, "its size is impossible");
  if (start >= size_ || bytes > size_ - start) {
    return stop(start, fmt::format("it lies past the end of the file (0x{:x})", size_));
  }

  std::uint64_t at = start;
  const std::uint64_t end = start + bytes;
  while (at < end) {
    if (into.entries.size() == format::max_bitmaps) {
      return stop(at, fmt::format("it has more than the {} entries that are possible", format::max_bitmaps));
    }
    if (into.entries.size() == extension.count.get()) {
      return stop(at, fmt::format("it has more than the {} entries that the header promises", extension.count.get()));
    }
    format::RawBitmapEntry raw;
    if (end - at < sizeof raw) return stop(at, "its last entry is cut off");
    if (auto read = read_struct(*file_, at, raw); !read) return stop(at, read.error().message);
    const std::uint64_t entry_bytes =
        round_up(sizeof raw + std::uint64_t{raw.extra_data_size.get()} + raw.name_size.get(), 8);
    if (entry_bytes > end - at) return stop(at, "its last entry is cut off");

    format::Bitmap bitmap;
    bitmap.at = HostOffset(at);
    bitmap.table_offset = HostOffset(raw.table_offset.get());
    bitmap.table_size = raw.table_size.get();
    bitmap.flags = raw.flags.get();
    bitmap.type = raw.type;
    bitmap.granularity_bits = raw.granularity_bits;
    bitmap.extra_data_size = raw.extra_data_size.get();
    bitmap.name_bytes = raw.name_size.get();
    auto name = read_name(*file_, at + sizeof raw + bitmap.extra_data_size, bitmap.name_bytes);
    if (!name) return stop(at, name.error().message);
    bitmap.name = std::move(*name);
    into.entries.push_back(std::move(bitmap));
    at += entry_bytes;
  }
  if (into.entries.size() != extension.count.get()) {
    stop(at, fmt::format("it has {} entries, the header promises {}", into.entries.size(), extension.count.get()));
  }
}

bool leads_to_l1_table(const Image& image, const format::RawSnapshot& entry) {
  const std::uint64_t entries = entry.l1_size.get();
  return possible_place(image, HostOffset(entry.l1_table_offset.get())) && entries > 0 &&
         entries <= format::max_l1_entries;
}

SnapshotEntries snapshot_entries_at(const Image& image, std::uint64_t start) {
  using format::RawSnapshot;
  const format::Geometry& g = *image.geometry;
  if (start == 0 || g.offset_in_cluster(start) != 0) return {};
  std::uint64_t found = 0, at = start;
  while (found < format::max_snapshots && at + sizeof(RawSnapshot) <= image.file().size()) {
    RawSnapshot raw;
    if (!image.file().read(at, std::as_writable_bytes(std::span(&raw, 1)))) break;
    const std::uint64_t extra = raw.extra_data_size.get(), id = raw.id_size.get();
    if (!leads_to_l1_table(image, raw) || extra > format::max_snapshot_extra_bytes || id == 0 || id > 255) break;
    std::string text(id + raw.name_size.get(), '\0');
    if (!image.file().read(at + sizeof raw + extra, std::as_writable_bytes(std::span(text)))) break;
    if (std::ranges::any_of(text, [](unsigned char c) { return c < 0x20 || c == 0x7f; })) break;
    at = round_up(at + sizeof raw + extra + text.size(), 8);
    ++found;
  }
  return {found, at - start};
}

Result<std::vector<std::uint64_t>> read_words(const File& file, HostOffset at, std::uint64_t count) {
  std::vector<std::uint64_t> words(count);
  if (auto done = file.read(at.value, std::as_writable_bytes(std::span(words))); !done) {
    return tl::unexpected(done.error());
  }
  for (std::uint64_t& word : words) word = from_big_endian(word);
  return words;
}

Result<void> for_words(const File& file, HostOffset at, std::uint64_t count, const WordVisitor& visit) {
  constexpr std::uint64_t most = 8192, each = sizeof(std::uint64_t);
  for (std::uint64_t i = 0; i < count; i += most) {
    const std::uint64_t data = file.next_data(at.value + i * each);
    if (data >= file.size()) break;
    i = std::max(i, (data - at.value) / each / most * most);
    if (i >= count) break;
    const auto words = read_words(file, at + i * each, std::min(most, count - i));
    if (!words) return tl::unexpected(words.error());
    if (!visit(i, *words)) break;
  }
  return {};
}

}  // namespace qd::image
