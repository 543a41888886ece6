// An opened image: its header, extensions, snapshots and bitmaps as far as they can be read. Opening is lenient: it
// knows nothing of right and wrong, keeps what it could parse and says in plain data where it had to stop. Whether that
// is damage is the check's business.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "format/bitmap.h"
#include "format/geometry.h"
#include "format/header.h"
#include "format/snapshot.h"
#include "image/foreign.h"
#include "io/file.h"

namespace qd::image {

// A table that could be read only in part: the entry where reading stopped, its place, and why.
struct Stop {
  std::uint64_t index = 0;
  HostOffset at;
  std::string reason;
};

struct SnapshotTable {
  std::vector<format::Snapshot> entries;
  std::uint64_t bytes = 0;    // of the table as far as it was read
  std::uint64_t missing = 0;  // entries that lie wholly past the end of the file
  std::optional<Stop> stop;
};

struct Bitmaps {
  std::optional<format::RawBitmapsExtension> extension;  // also when it isn't valid any more
  bool valid = false;                                    // the autoclear bit vouches for it
  std::vector<format::Bitmap> entries;
  std::optional<Stop> stop;
};

struct CryptHeader {
  HostOffset offset;
  std::uint64_t bytes = 0;
};

// What the user knows better than the image does. It overrides the header wherever the image is looked at. Only an edit
// that says so writes it into the header.
struct Hints {
  std::optional<unsigned> cluster_bits;
};

class Image {
 public:
  // Errors: only what the file itself returns (EIO on the first cluster).
  static Result<Image> open(std::unique_ptr<File> file, const Hints& hints);
  // The same image, as another view of it shows it: as it would be with a change. A hint that stands for a field ends
  // where the view has another value in that field.
  Result<Image> reopen(std::unique_ptr<File> view) const;
  const Hints& hints() const { return hints_; }
  // Is the cluster size another than the header's? Whoever else opens the image goes by the header.
  bool against_header() const { return geometry && geometry->cluster_bits != header.cluster_bits; }

  const File& file() const { return *file_; }
  // As QEMU counts: the file's size in whole sectors.
  std::uint64_t size() const { return size_; }
  // Clusters that the file has, the last one perhaps in part.
  std::uint64_t clusters() const { return geometry->clusters(size_); }

  // What a walk reads at most: the tables as the header describes them, as far as the file stores anything.
  std::uint64_t table_bytes() const;

  // As QEMU judges it: a structure may end less than a cluster behind the end of the file, whose last cluster need not
  // be whole.
  bool past_end(HostOffset offset, std::uint64_t bytes) const {
    return offset.value >= format::max_host_offset || bytes >= format::max_host_offset ||
           offset.value + bytes >= size_ + geometry->cluster_size();
  }

  std::uint64_t header_bytes_present = 0;  // up to 112
  std::uint64_t header_bytes_needed() const {
    return header.version == 3 ? format::header_bytes_v3 : format::header_bytes_v2;
  }
  // The file ends within the header. QEMU opens a version 2 image all the same and takes what is missing for zeros.
  bool header_cut_off() const { return header.version != 2 && header_bytes_present < header_bytes_needed(); }
  format::Header header;
  // It begins as a qcow2 image does.
  bool ours() const { return !foreign && header.magic == format::magic; }
  std::optional<Foreign> foreign;  // the file is something else, and nothing of it is read as a qcow2 image
  // Nothing where the header's cluster size is impossible: then no table can be read.
  std::optional<format::Geometry> geometry;
  bool refcounts_readable = false;  // refcount_order makes sense
  format::Extensions extensions;
  std::vector<format::FeatureName> feature_names;
  std::optional<std::string> backing_file, backing_format, data_file;
  std::optional<CryptHeader> crypt;
  SnapshotTable snapshots;
  Bitmaps bitmaps;

  // The bitmaps that the directory lists although no autoclear bit vouches for it any more.
  Bitmaps stale_bitmaps() const;

  const format::Extension* find_extension(std::uint32_t type) const;
  // The name of a feature bit: from the image's own table, or the one known here, or nothing.
  std::string feature_name(format::FeatureKind kind, unsigned bit) const;

 private:
  void read_extensions(std::span<const std::byte> first_cluster);
  void read_snapshots();
  void read_bitmaps();
  void read_directory(Bitmaps& into) const;

  std::unique_ptr<File> file_;
  Hints hints_;
  std::uint64_t size_ = 0;
};

// Does a snapshot's entry name a place and a size that its L1 table may have?
bool leads_to_l1_table(const Image& image, const format::RawSnapshot& entry);

// The entries in a row, from `at` on, that make sense as those of a snapshot table, whatever the header says of it.
struct SnapshotEntries {
  std::uint64_t count = 0, bytes = 0;
};
SnapshotEntries snapshot_entries_at(const Image& image, std::uint64_t at);

// `count` words at a place, in the machine's byte order; zeros behind the file's end.
Result<std::vector<std::uint64_t>> read_words(const File& file, HostOffset at, std::uint64_t count);

// The same for a table of any length, in pieces. Pieces that lie in a hole, all zeros, are left out. `visit` gets the
// number of a piece's first word, and returns whether to go on.
using WordVisitor = std::function<bool(std::uint64_t first, std::span<const std::uint64_t> words)>;
Result<void> for_words(const File& file, HostOffset at, std::uint64_t count, const WordVisitor& visit);

}  // namespace qd::image
