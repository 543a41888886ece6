// L1 and L2 lines. The unit is the run of entries that only count up, as in the check: the text of a run is found out
// once, and then only the digits change.
#include "render/dump/mapping.h"

#include <string_view>
#include <utility>

#include "check/claims.h"
#include "image/runs.h"
#include "image/walk.h"
#include "render/dump/digits.h"
#include "render/dump/stream.h"
#include "words/escape.h"

namespace qd::render {
namespace {

using format::ClusterType;

// The words of a raw entry in its bracket. Nothing but these and the entry's own digits ever stands there.
std::string_view flag_words(std::uint64_t raw, bool zero) {
  static constexpr std::string_view words[8] = {
      "]",         ": ZERO]",        ": COMPRESSED]",        ": COMPRESSED ZERO]",
      ": COPIED]", ": COPIED ZERO]", ": COPIED COMPRESSED]", ": COPIED COMPRESSED ZERO]"};
  return words[(raw & format::copied_flag ? 4 : 0) + (raw & format::compressed_flag ? 2 : 0) + (zero ? 1 : 0)];
}

struct Piece {
  Text text;
  std::uint64_t runs = 0;
};

class Renderer {
 public:
  Renderer(const image::Image& image, const check::Report& result, const image::State& state, bool flags)
      : image_(image),
        g_(*image.geometry),
        result_(result),
        flags_(flags),
        judges_copied_(state.snapshot < 0 && image.refcounts_readable) {}

  // The lines of the one table that a group has: it is a walk of a single state. The L1 line goes with entry 0.
  char* render(const image::Group& group, char* at, std::uint64_t& runs) const;

 private:
  char* l1_line(const image::Group& group, char* at) const;
  char* unreadable_line(const image::Group& group, char* at) const;
  char* run(const image::Group& group, std::uint64_t first, std::uint64_t count, char* at) const;
  char* lines(const image::Group& group, std::uint64_t first, std::uint64_t count, std::string_view markers,
              char* at) const;
  bool clean(std::uint64_t raw, std::uint64_t count) const;
  std::string_view markers(std::uint64_t raw, std::uint64_t subclusters) const;
  bool copied_wrong(std::uint64_t raw) const;

  const image::Image& image_;
  const format::Geometry& g_;
  const check::Report& result_;
  const bool flags_, judges_copied_;
};

char* Renderer::render(const image::Group& group, char* at, std::uint64_t& runs) const {
  if (group.begin == 0) at = l1_line(group, at);
  const image::L2Entries& l2 = group.tables.front().l2;
  if (l2.empty()) return group.begin == 0 ? at : unreadable_line(group, at);
  image::for_runs(g_, l2, group.begin, group.end, [&](std::uint64_t first, std::uint64_t count) {
    ++runs;
    at = run(group, first, count, at);
  });
  return at;
}

char* Renderer::l1_line(const image::Group& group, char* at) const {
  const image::Table& table = group.tables.front();
  const std::uint64_t raw = table.entries.front().raw, offset = table.offset.value;
  at = put(at, "l1 table[");
  at = put_padded(at, group.l1_index, 4);
  at = put(at, "], l2 offset: 0x");
  at = put_hex(at, offset);
  if (flags_) {
    at = put(at, " [0x");
    at = put_hex(at, raw);
    at = put(at, flag_words(raw & format::copied_flag, false));
  }
  if (g_.offset_in_cluster(offset) != 0) at = put(at, " [unaligned]");
  if ((raw & format::l1_reserved_mask) != 0 || offset == 0 || offset >= image_.size()) at = put(at, " [invalid]");
  if (offset != 0 && copied_wrong(raw)) at = put(at, " [error]");
  if (table.error) at = put(at, " [unreadable]");
  return put(at, "\n");
}

// The table's beginning could be read, so its L1 line has said nothing of this.
char* Renderer::unreadable_line(const image::Group& group, char* at) const {
  at = put(at, "\tl2 table[");
  at = put_padded(at, group.begin, 4);
  return put(at, "] [unreadable]\n");
}

// COPIED promises that the refcount is 1. Only the active tables keep the promise; in snapshots it means nothing.
bool Renderer::copied_wrong(std::uint64_t raw) const {
  const ClusterIndex cluster = g_.cluster(HostOffset(raw & format::offset_mask));
  if (!judges_copied_ || !result_.disk_refcounts->readable(cluster)) return false;
  return (result_.disk_refcounts->get(cluster) == 1) != ((raw & format::copied_flag) != 0);
}

// Is there nothing to say about the whole run? This question nearly always spares a look at each entry.
bool Renderer::clean(std::uint64_t raw, std::uint64_t count) const {
  const std::uint64_t offset = raw & format::offset_mask;
  const bool copied = (raw & format::copied_flag) != 0;
  if (g_.extended_l2 || (raw & (format::compressed_flag | format::l2_reserved_mask)) != 0 ||
      g_.offset_in_cluster(offset) != 0) {
    return false;
  }
  if (g_.data_file) return copied || !judges_copied_;
  if (offset == 0 || offset >= image_.size() || count > g_.clusters(image_.size() - offset)) return false;
  if (!judges_copied_) return true;
  const ClusterIndex cluster = g_.cluster(HostOffset(offset));
  const check::RunRefcount refcount = result_.disk_refcounts->run(cluster, count);
  return refcount && (*refcount == 1) == copied;
}

char* Renderer::run(const image::Group& group, std::uint64_t first, std::uint64_t count, char* at) const {
  const image::L2Entries& l2 = group.tables.front().l2;
  if (clean(l2.raw(first), count)) return lines(group, first, count, {}, at);
  for (std::uint64_t i = first; i < first + count; ++i) {
    const std::uint64_t raw = l2.raw(i);
    at = lines(group, i, 1, markers(raw, l2.bitmap(i)), at);
  }
  return at;
}

// What is wrong with one entry, as the check's table counts have it.
std::string_view Renderer::markers(std::uint64_t raw, std::uint64_t subclusters) const {
  const ClusterType type = format::cluster_type(g_, raw);
  if (type == ClusterType::compressed) {
    const format::CompressedRange range = g_.compressed(raw);
    if (g_.data_file || subclusters != 0 || image_.past_end(range.offset, range.bytes)) return " [invalid]";
    return raw & format::copied_flag ? " [error]" : "";
  }
  const std::uint64_t offset = raw & format::offset_mask;
  const bool has_cluster = type == ClusterType::normal || type == ClusterType::zero_allocated;
  const bool here = has_cluster && !g_.data_file;
  const bool impossible =
      (subclusters >> 32 & subclusters & 0xffffffff) != 0 || (!has_cluster && (subclusters & 0xffffffff) != 0);
  const bool invalid = (raw & format::l2_reserved_mask) != 0 || impossible || (here && offset >= image_.size());
  const bool unaligned = has_cluster && g_.offset_in_cluster(offset) != 0;
  // In an external data file each cluster counts as used once.
  const bool wrong = here ? copied_wrong(raw) : has_cluster && judges_copied_ && !(raw & format::copied_flag);
  static constexpr std::string_view texts[8] = {"",
                                                " [error]",
                                                " [invalid]",
                                                " [invalid] [error]",
                                                " [unaligned]",
                                                " [unaligned] [error]",
                                                " [unaligned] [invalid]",
                                                " [unaligned] [invalid] [error]"};
  return texts[(unaligned ? 4 : 0) + (invalid ? 2 : 0) + (wrong ? 1 : 0)];
}

// The lines of entries that only count up: all but the digits is the same text in each.
char* Renderer::lines(const image::Group& group, std::uint64_t first, std::uint64_t count,
                      std::string_view markers_text, char* at) const {
  const image::L2Entries& l2 = group.tables.front().l2;
  std::uint64_t raw = l2.raw(first), guest = g_.guest(group.l1_index, first).value;
  const bool compressed = (raw & format::compressed_flag) != 0;
  const std::uint64_t mask = compressed ? (std::uint64_t{1} << g_.compressed_size_shift()) - 1 : format::offset_mask;
  const std::string_view flag_text = flag_words(raw, !compressed && !g_.extended_l2 && (raw & format::zero_flag));
  for (std::uint64_t i = first; i < first + count; ++i, raw += g_.cluster_size(), guest += g_.cluster_size()) {
    at = put(at, "\tl2 table[");
    at = put_padded(at, i, 4);
    at = put(at, "], data offset: 0x");
    at = put_hex(at, raw & mask);
    if (flags_) {
      at = put(at, " [0x");
      at = put_hex(at, raw);
      at = put(at, flag_text);
    }
    if (g_.extended_l2) {
      at = put(at, " [bitmap: 0x");
      at = put_hex(at, l2.bitmap(i));
      at = put(at, "]");
    }
    if (!markers_text.empty()) at = put(at, markers_text);
    at = put(at, " | vdisk offset: 0x");
    at = put_hex(at, guest);
    at = put(at, "\n");
  }
  return at;
}

}  // namespace

void dump_mapping(Output& out, const image::Image& image, const check::Report& result, const image::State& state,
                  const DumpOptions& options) {
  const Renderer renderer(image, result, state, options.flags);
  Stream stream(out);
  const auto errors = image::walk<Piece>(
      image, {&state, 1},
      [&](const image::Group& group, Piece& piece) {
        stream.prepare(piece.text);
        piece.text.append([&](char* at) { return renderer.render(group, at, piece.runs); });
      },
      [&](Piece&& piece) {
        stream.write(std::move(piece.text));
        if (options.profile) options.profile->count_runs(piece.runs);
      },
      {.most_entries = lines_per_piece,
       .in_flight = Stream::in_flight(),
       .stop = &stream.stopped(),
       .profile = options.profile});
  for (const auto& error : errors) out.print("l1 table [unreadable]: {}\n", escape(error.second));
}

}  // namespace qd::render
