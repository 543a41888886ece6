// Bitmaps that can't be read keep QEMU from opening the image, and losing them costs no more than a full backup. Only
// these are dropped: the others stay as they are, also those that are marked in use. The clusters of dropped ones are
// freed as far as they are known.
// Specification: "Bitmaps extension", "Bitmap directory".
#include <fmt/core.h>

#include <algorithm>
#include <set>

#include "base/checked.h"
#include "format/bitmap.h"
#include "repair/steps.h"

namespace qd::repair {
namespace {

using check::Code;

// All header extensions but the one of this type, as they will lie in the first cluster; the rest zeros.
void remove_extension(Work& w, std::uint32_t type) {
  const image::Image& image = w.view.image();
  std::vector<std::byte> area;
  for (const format::Extension& e : image.extensions.list) {
    if (e.type == type) continue;
    const be32 head[] = {be32(e.type), be32(static_cast<std::uint32_t>(e.data.size()))};
    const auto bytes = std::as_bytes(std::span(head));
    area.insert(area.end(), bytes.begin(), bytes.end());
    area.insert(area.end(), e.data.begin(), e.data.end());
    area.resize(round_up(area.size(), 8));
  }
  area.resize(image.extensions.end - image.header.header_length);
  w.editor.write(Stage::point, HostOffset(image.header.header_length), area);
}

void release_bitmap(Work& w, const format::Bitmap& b) {
  const std::uint64_t bytes = std::uint64_t{b.table_size} * sizeof(be64), size = w.view.image().size();
  if (w.view.geometry().offset_in_cluster(b.table_offset.value) != 0 || b.table_offset.value == 0 ||
      b.table_size > format::max_bitmap_table_entries || b.table_offset.value >= size ||
      bytes > size - b.table_offset.value) {
    return;
  }
  // If one entry is wrong, the whole table may be something else: then its clusters are judged as leaks.
  std::vector<HostOffset> data;
  bool sound = true;
  const auto read = image::for_words(w.view.image().file(), b.table_offset, b.table_size, [&](auto, auto words) {
    for (const std::uint64_t entry : words) {
      const std::uint64_t offset = entry & format::offset_mask;
      sound &= (entry & format::bitmap_reserved_mask) == 0 && (offset == 0 || (entry & 1) == 0) &&
               w.view.geometry().offset_in_cluster(offset) == 0 && offset < size;
      if (offset != 0) data.push_back(HostOffset(offset));
    }
    return sound;
  });
  if (!read || !sound) return;
  w.leaks.release(b.table_offset, bytes);
  for (const HostOffset at : data) w.leaks.release(at, w.view.geometry().cluster_size());
}

// How many entries the directory has; nothing if they don't end exactly where the directory should.
std::optional<std::uint32_t> entries_of(Work& w, const format::RawBitmapsExtension& extension) {
  const std::uint64_t start = extension.directory_offset.get(), bytes = extension.directory_size.get();
  if (w.view.geometry().offset_in_cluster(start) != 0 || bytes > format::max_bitmap_directory_bytes ||
      start >= w.view.image().size() || bytes > w.view.image().size() - start) {
    return std::nullopt;
  }
  std::uint32_t entries = 0;
  std::uint64_t at = 0;
  for (; at + sizeof(format::RawBitmapEntry) <= bytes; ++entries) {
    format::RawBitmapEntry raw;
    std::ranges::copy(w.view.read(HostOffset(start + at), sizeof raw),
                      std::as_writable_bytes(std::span(&raw, 1)).begin());
    at += round_up(sizeof raw + std::uint64_t{raw.extra_data_size.get()} + raw.name_size.get(), 8);
  }
  return at == bytes && entries > 0 && entries <= format::max_bitmaps ? std::optional(entries) : std::nullopt;
}

class BitmapDropper {
 public:
  explicit BitmapDropper(Work& w);
  void drop();

 private:
  bool bad(const format::Bitmap& b) const {
    return bad_entries_.contains(b.at) || bad_tables_.contains(b.table_offset);
  }
  bool correct_extension();
  void drop_all(Code reason, const std::string& why);
  void rewrite_directory();

  Work& w_;
  const image::Bitmaps& bitmaps_;
  std::set<HostOffset> bad_entries_, bad_tables_;
};

BitmapDropper::BitmapDropper(Work& w) : w_(w), bitmaps_(w.view.image().bitmaps) {
  for (const check::Finding& f : w_.view.result().findings.list()) {
    if (f.code == Code::bitmap_entry && f.host) bad_entries_.insert(*f.host);
    if ((f.code == Code::bitmap_table || f.code == Code::bitmap_table_entry) && f.host) bad_tables_.insert(*f.host);
  }
}

void BitmapDropper::drop_all(Code reason, const std::string& why) {
  const format::Header& h = w_.view.image().header;
  if (w_.view.image().extensions.truncated) {
    return w_.editor.refuse(reason, "the bitmaps extension stays: the header extensions can't be read to their end");
  }
  if (bitmaps_.extension) {
    const HostOffset directory(bitmaps_.extension->directory_offset.get());
    for (const format::Bitmap& b : bitmaps_.entries) release_bitmap(w_, b);
    if (!bitmaps_.entries.empty()) w_.leaks.release(directory, bitmaps_.extension->directory_size.get());
  }
  w_.leaks.dropped_bitmaps();
  remove_extension(w_, format::extension::bitmaps);
  w_.editor.act({reason, true, HostOffset(h.header_length), w_.view.image().extensions.end - h.header_length,
                 "bitmaps extension removed, with all bitmaps: " + why, "", ""});
  w_.editor.put64(Stage::point, format::field::autoclear_features.at(),
                  h.autoclear_features & ~format::autoclear::bitmaps, reason,
                  "autoclear bit 0 cleared: there are no bitmaps", true);
}

void BitmapDropper::rewrite_directory() {
  const format::Extension* e = w_.view.image().find_extension(format::extension::bitmaps);
  std::vector<std::byte> directory;
  std::uint32_t kept = 0;
  for (const format::Bitmap& b : bitmaps_.entries) {
    const std::uint64_t bytes = round_up(sizeof(format::RawBitmapEntry) + b.extra_data_size + b.name_bytes, 8);
    if (bad(b)) {
      w_.leaks.dropped_bitmaps();
      release_bitmap(w_, b);
      w_.editor.act({Code::bitmap_entry, true, b.at, bytes,
                     fmt::format("bitmap \"{}\" dropped: it can't be read", b.name), "", ""});
      continue;
    }
    const auto entry = w_.view.read(b.at, bytes);
    directory.insert(directory.end(), entry.begin(), entry.end());
    ++kept;
  }
  format::RawBitmapsExtension extension = *bitmaps_.extension;
  w_.leaks.release(HostOffset(extension.directory_offset.get()), extension.directory_size.get());
  extension.count.set(kept);
  extension.directory_size.set(directory.size());
  const std::uint64_t clusters = w_.view.geometry().clusters(directory.size());
  const auto at = w_.editor.allocate(clusters);
  if (!at) return;
  directory.resize(clusters << w_.view.geometry().cluster_bits);
  w_.editor.write(Stage::fresh, *at, directory);
  extension.directory_offset.set(at->value);
  w_.editor.write(Stage::point, e->at + 8, std::as_bytes(std::span(&extension, 1)));
  w_.editor.act({Code::bitmap_entry, false, e->at + 8, sizeof extension,
                 fmt::format("bitmap directory written anew at 0x{:x} with {} bitmaps", at->value, kept), "", ""});
}

// A directory that is sound in itself proves the extension, and tells how many bitmaps there are.
bool BitmapDropper::correct_extension() {
  const format::Extension* e = w_.view.image().find_extension(format::extension::bitmaps);
  if (!e || !bitmaps_.extension) return false;
  const auto entries = entries_of(w_, *bitmaps_.extension);
  if (!entries) return false;
  const std::uint64_t count_and_reserved = std::uint64_t{*entries} << 32;
  if (w_.view.read64(e->at + 8) == count_and_reserved) return false;
  const Code reason = w_.view.count(Code::bitmaps_extension) > 0 ? Code::bitmaps_extension : Code::bitmaps_directory;
  w_.editor.put64(Stage::point, e->at + 8, count_and_reserved, reason,
                  fmt::format("number of bitmaps put right: the directory has {}", *entries));
  return true;
}

void BitmapDropper::drop() {
  if (w_.view.count(Code::bitmaps_missing) > 0) {
    w_.leaks.dropped_bitmaps();
    return w_.editor.put64(Stage::point, format::field::autoclear_features.at(),
                           w_.view.image().header.autoclear_features & ~format::autoclear::bitmaps,
                           Code::bitmaps_missing, "autoclear bit 0 cleared: there are no bitmaps");
  }
  if (w_.view.count(Code::bitmaps_extension) + w_.view.count(Code::bitmaps_directory) > 0 && correct_extension())
    return;
  if (w_.view.count(Code::bitmaps_extension) > 0) return drop_all(Code::bitmaps_extension, "the extension is damaged");
  if (w_.view.count(Code::bitmaps_directory) > 0)
    return drop_all(Code::bitmaps_directory, "their directory can't be read");
  const auto is_bad = [&](const format::Bitmap& b) { return bad(b); };
  if (std::ranges::all_of(bitmaps_.entries, is_bad)) return drop_all(Code::bitmap_entry, "none of them can be read");
  if (std::ranges::any_of(bitmaps_.entries, is_bad)) rewrite_directory();
}

}  // namespace

void drop_bad_bitmaps(Work& w) {
  if (!w.view.result().findings.any(check::Hidden::bitmaps)) return;
  // A bitmap is judged by the disk's size.
  const bool size_in_doubt =
      w.view.result().findings.any(check::Doubt::virtual_size) || w.view.image().header.size == 0;
  if (size_in_doubt && !w.wanted.force) {
    return w.editor.refuse(Code::bitmap_entry,
                           "bitmaps stay as they are: the virtual size may be what is wrong, and they be right. "
                           "--force drops those that don't fit it");
  }
  BitmapDropper(w).drop();
}

}  // namespace qd::repair
