#include "render/dump/refcounts.h"

#include <algorithm>
#include <bit>
#include <memory>
#include <utility>
#include <vector>

#include "check/claims.h"
#include "render/dump/digits.h"
#include "render/dump/stream.h"

namespace qd::render {
namespace {

using image::BlockState;
using image::Refcounts;

// Clusters [begin, end) of a block, counted from its first. The table's line goes with cluster 0.
struct Part {
  std::uint64_t block = 0;
  std::uint64_t begin = 0, end = 0;
};

using Piece = std::vector<Part>;

// The blocks with something to show: all that the table names, and those that it lacks though their clusters are used.
std::vector<std::uint64_t> blocks_to_show(const check::Report& result) {
  const Refcounts& refcounts = *result.disk_refcounts;
  std::vector<std::uint64_t> blocks;
  for (std::uint64_t b = 0; b < refcounts.entries().size(); ++b) {
    if (refcounts.entries()[b].raw != 0) blocks.push_back(b);
  }
  const std::uint64_t per_block = refcounts.block_entries();
  // A cluster that is used and has no refcount is a suspect.
  for (const BitSet* set : {&result.claims->suspect, &result.claims->compressed}) {
    for (auto cluster = set->next(0); cluster; cluster = set->next((*cluster / per_block + 1) * per_block)) {
      blocks.push_back(*cluster / per_block);
    }
  }
  std::ranges::sort(blocks);
  blocks.erase(std::unique(blocks.begin(), blocks.end()), blocks.end());
  return blocks;
}

class Cutter {
 public:
  explicit Cutter(const check::Report& result) : refcounts_(*result.disk_refcounts), blocks_(blocks_to_show(result)) {}

  // The next piece; nothing at the end.
  std::unique_ptr<Piece> next() {
    auto piece = std::make_unique<Piece>();
    std::uint64_t room = lines_per_piece;
    while (room > 64 && block_ < blocks_.size()) {
      const std::uint64_t block = blocks_[block_];
      const bool readable = refcounts_.readable(ClusterIndex(block * refcounts_.block_entries()));
      const std::uint64_t end = readable ? refcounts_.block_entries() : 0;
      if (cluster_ == 0) --room;
      const std::uint64_t here = std::min(end - cluster_, room / 64 * 64);  // whole words of the bit sets
      piece->push_back({block, cluster_, cluster_ + here});
      room -= here;
      cluster_ += here;
      if (cluster_ < end) continue;
      cluster_ = 0;
      ++block_;
    }
    return piece->empty() ? nullptr : std::move(piece);
  }

 private:
  const Refcounts& refcounts_;
  const std::vector<std::uint64_t> blocks_;
  std::size_t block_ = 0;
  std::uint64_t cluster_ = 0;
};

// The text between the two indexes of a line. Clusters in a row that have equal numbers share it.
class Middle {
 public:
  bool is(std::uint64_t refcount, std::uint64_t references) const {
    return size_ != 0 && refcount == refcount_ && references == references_;
  }
  void set(std::uint64_t refcount, std::uint64_t references) {
    refcount_ = refcount;
    references_ = references;
    char* at = put(text_, "], refcount: ");
    at = put_decimal(at, refcount);
    at = put(at, " | reference: ");
    at = put_decimal(at, references);
    if (refcount < references) at = put(at, " [error]");
    if (refcount > references) at = put(at, " [leak]");
    at = put(at, " | cluster[");
    size_ = static_cast<std::size_t>(at - text_);
  }
  std::string_view text() const { return {text_, size_}; }

 private:
  std::uint64_t refcount_ = 0, references_ = 0;
  char text_[128];
  std::size_t size_ = 0;
};

class Renderer {
 public:
  Renderer(const image::Image& image, const check::Report& result)
      : g_(*image.geometry), size_(image.size()), result_(result), refcounts_(*result.disk_refcounts) {}

  char* render(const Piece& piece, char* at) const {
    for (const Part& part : piece) {
      if (part.begin == 0) at = table_line(part.block, at);
      at = block_lines(part, at);
    }
    return at;
  }

 private:
  char* table_line(std::uint64_t block, char* at) const;
  char* block_lines(const Part& part, char* at) const;

  const format::Geometry& g_;
  const std::uint64_t size_;
  const check::Report& result_;
  const Refcounts& refcounts_;
};

char* Renderer::table_line(std::uint64_t block, char* at) const {
  const bool named = block < refcounts_.entries().size();
  const std::uint64_t raw = named ? refcounts_.entries()[block].raw : 0;
  const BlockState state = named ? refcounts_.entries()[block].state : BlockState::absent;
  const std::uint64_t offset = raw & format::reftable_offset_mask;
  at = put(at, "refcount table[");
  at = put_padded(at, block, 4);
  at = put(at, "], offset: 0x");
  at = put_hex(at, offset);
  if (state == BlockState::unaligned) at = put(at, " [unaligned]");
  if ((raw & format::reftable_reserved_mask) != 0 || offset >= size_) at = put(at, " [invalid]");
  if (state == BlockState::unreadable) at = put(at, " [unreadable]");
  return put(at, "\n");
}

char* Renderer::block_lines(const Part& part, char* at) const {
  const auto& entries = refcounts_.entries();
  const image::RefcountBlock* on_disk = part.block < entries.size() ? entries[part.block].block : nullptr;
  const check::Claims& claims = *result_.claims;
  const std::uint64_t first = part.block * refcounts_.block_entries();
  Middle middle;
  for (std::uint64_t begin = part.begin; begin < part.end; begin += 64) {
    const std::uint64_t word = (first + begin) / 64;
    std::uint64_t shown = on_disk ? on_disk->nonzero(begin / 64) : 0;
    if (first + begin < claims.clusters()) shown |= claims.owned.word(word) | claims.compressed.word(word);
    for (; shown != 0; shown &= shown - 1) {
      const std::uint64_t index = begin + static_cast<unsigned>(std::countr_zero(shown)), cluster = first + index;
      const std::uint64_t refcount = on_disk ? on_disk->get(index) : 0;
      const std::uint64_t references = result_.references(ClusterIndex(cluster));
      if (!middle.is(refcount, references)) middle.set(refcount, references);
      at = put(at, "\trefcount block[");
      at = put_padded(at, index, 5);
      at = put(at, middle.text());
      at = put_decimal(at, cluster);
      at = put(at, "] offset: 0x");
      at = put_hex(at, cluster << g_.cluster_bits);
      at = put(at, "\n");
    }
  }
  return at;
}

}  // namespace

void dump_refcounts(Output& out, const image::Image& image, const check::Report& result) {
  Cutter cutter(result);
  const Renderer renderer(image, result);
  Stream stream(out);
  ordered_parallel<Piece, Text>([&] { return stream.stopped() ? nullptr : cutter.next(); },
                                [&](const Piece& piece, Text& text) {
                                  stream.prepare(text);
                                  text.append([&](char* at) { return renderer.render(piece, at); });
                                },
                                [&](Text&& text) { stream.write(std::move(text)); }, Stream::in_flight());
}

}  // namespace qd::render
