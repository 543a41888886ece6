// Single fields of the header: the extensions' end and the compression type at the beginning of a repair, the marks at
// its end.
#include "format/header.h"

#include <fmt/core.h>

#include "image/compressed.h"
#include "image/walk.h"
#include "repair/steps.h"

namespace qd::repair {
namespace {

using check::Code;
namespace field = format::field;
namespace incompatible = format::incompatible;

// Some compressed entries of all states, as samples.
std::vector<std::uint64_t> compressed_samples(const Work& w) {
  constexpr std::size_t most = 16;
  std::vector<std::uint64_t> samples;
  using Found = std::vector<std::uint64_t>;
  image::walk<Found>(
      w.view.image(), w.view.result().states,
      [&](const image::Group& group, Found& found) {
        for (const image::Table& table : group.tables) {
          if (table.l2.empty()) continue;
          for (std::uint64_t i = group.begin; i < group.end && found.size() < most; ++i) {
            if (table.l2.raw(i) & format::compressed_flag) found.push_back(table.l2.raw(i));
          }
        }
      },
      [&](Found&& found) {
        for (const std::uint64_t entry : found) {
          if (samples.size() < most) samples.push_back(entry);
        }
      },
      {.most_entries = image::as_fits});
  return samples;
}

// How many of the samples decompress, if the image is of this type?
std::size_t fitting(Work& w, const std::vector<std::uint64_t>& samples, std::uint8_t type) {
  auto image = w.view.image().reopen(w.editor.transaction().view());
  if (!image) return 0;
  image->header.compression_type = type;
  std::vector<std::byte> cluster(w.view.geometry().cluster_size());
  return static_cast<std::size_t>(std::ranges::count_if(
      samples, [&](std::uint64_t entry) { return image::decompress(*image, entry, cluster).has_value(); }));
}

// The type is unknown, or it and its feature bit disagree. The compressed data itself tells what is right. If there is
// none, and damage can't hide any, the default is right.
void mend_compression_type(Work& w) {
  const format::Header& h = w.view.image().header;
  const auto samples = compressed_samples(w);
  const std::size_t zlib = fitting(w, samples, 0), zstd = fitting(w, samples, 1);
  if (!samples.empty() && (zlib > 0) == (zstd > 0)) {
    return w.editor.refuse(Code::header_compression_type,
                           "the compression type stays as it is: the compressed clusters are "
                           "neither zlib's nor zstd's throughout");
  }
  if (samples.empty() && w.view.result().leak_doubt.data_at_risk()) {
    return w.editor.refuse(Code::header_compression_type,
                           "the compression type stays as it is: compressed data, which would tell it, may be "
                           "behind the references that are lost");
  }
  const bool is_zstd = zstd > 0;
  const std::string why = samples.empty() ? "there is no compressed data"
                          : is_zstd       ? "the data is zstd"
                                          : "the data is zlib";
  if (h.header_length > field::compression_type.offset) {
    const auto before = static_cast<unsigned char>(h.compression_type);
    const std::byte type{is_zstd};
    if (before != is_zstd) {
      w.editor.write(Stage::point, field::compression_type.at(), std::span(&type, 1));
      w.editor.act({Code::header_compression_type, false, field::compression_type.at(), field::compression_type.bytes,
                    "compression type: " + why, fmt::format("{:02x}", before),
                    fmt::format("{:02x}", static_cast<unsigned>(type))});
    }
  } else if (is_zstd) {
    return w.editor.refuse(Code::header_compression_type, "the header is too short to say that the data is zstd");
  }
  const std::uint64_t bits = is_zstd ? h.incompatible_features | incompatible::compression
                                     : h.incompatible_features & ~incompatible::compression;
  w.editor.put64(Stage::point, field::incompatible_features.at(), bits, Code::header_compression_type,
                 "feature bit 3 (compression type): " + why);
}

}  // namespace

void mend_header(Work& w) {
  if (const auto end = w.view.image().extensions.bad_end) {
    w.editor.put64(Stage::point, *end, 0, Code::header_extension_end,
                   "length of the header extensions' end marker set to 0");
  }
  if (w.view.count(Code::header_compression_type) > 0 && w.view.image().header.version >= 3) mend_compression_type(w);
}

// They are cleared before anything else changes: a mark must not outlive what it stood for.
void clear_unknown_features(Work& w) {
  if (w.editor.transaction().empty() || w.view.count(Code::header_autoclear) == 0) return;
  w.editor.put64(Stage::claim, field::autoclear_features.at(),
                 w.view.image().header.autoclear_features & format::autoclear::known, Code::header_autoclear,
                 "unknown autoclear bits cleared: what they vouch for may not fit the image any more");
}

// QEMU opens a corrupt image read-only, and repairs a dirty one by itself, leaks included. So the marks go as soon as
// no error is left, even if suspicious leaks are left: QEMU would free these because of the mark.
void clear_marks(Work& w) {
  const format::Header& h = w.view.image().header;
  const std::uint64_t marks = h.incompatible_features & (incompatible::dirty | incompatible::corrupt);
  if (h.version < 3 || marks == 0) return;
  for (const check::Problem& row : check::problems()) {
    if (row.severity != check::Severity::error || row.code == Code::header_corrupt || w.view.count(row.code) == 0)
      continue;
    const Code reason = marks & incompatible::corrupt ? Code::header_corrupt : Code::header_dirty;
    return w.editor.refuse(reason, fmt::format("the {} bit stays set: not everything is in order ({})",
                                               marks & incompatible::corrupt ? "corrupt" : "dirty", row.name));
  }
  std::uint64_t features = h.incompatible_features;
  if (marks & incompatible::corrupt) {
    w.editor.put64(Stage::mark, field::incompatible_features.at(), features &= ~incompatible::corrupt,
                   Code::header_corrupt, "corrupt bit cleared");
  }
  if (marks & incompatible::dirty) {
    w.editor.put64(Stage::mark, field::incompatible_features.at(), features & ~incompatible::dirty, Code::header_dirty,
                   "dirty bit cleared");
  }
}

}  // namespace qd::repair
