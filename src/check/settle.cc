// The reckoning: every cluster's references against its refcount on disk. After the first walk nearly all clusters are
// known to agree. What is left to look at is the suspects, the compressed ones, and clusters that have a refcount but
// no reference: leaks.
//
// It goes by refcount block, 64 clusters a step, in parallel; findings are put together in the order of the file.
#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/parallel.h"
#include "check/owners.h"
#include "check/passes.h"

namespace qd::check {
namespace {

// What the clusters of some refcount blocks come to.
struct Part {
  Findings findings{Findings::part_limit};
  Totals totals;
  RefcountCounts refcounts;
  std::uint64_t used = 0;  // clusters referred to
  std::uint64_t end = 0;   // behind the last cluster with a reference or a refcount
  std::optional<std::ptrdiff_t> next_owner;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> free;  // first and count of clusters with neither

  void add_free(std::uint64_t first, std::uint64_t count) {
    if (!free.empty() && free.back().first + free.back().second == first) {
      free.back().second += count;
    } else if (count > 0) {
      free.emplace_back(first, count);
    }
  }
};

// Gathers the free clusters, in the order of the file, and asks the file system how much of them it still stores. That
// costs a system call or two for each stretch, so after very many of them the rest is taken to be stored.
class FreeSpace {
 public:
  explicit FreeSpace(const Context& c) : c_(c) {}

  void add(std::uint64_t first, std::uint64_t count) {
    if (first != first_ + count_) finish();
    if (count_ == 0) first_ = first;
    count_ += count;
  }
  std::uint64_t stored_bytes() { return finish(), stored_; }

 private:
  void finish() {
    constexpr std::uint64_t stretches_worth_asking = 65536;
    const std::uint64_t begin = first_ << c_.geometry().cluster_bits;
    const std::uint64_t end = std::min((first_ + count_) << c_.geometry().cluster_bits, c_.image.file().size());
    if (begin < end) {
      stored_ += ++stretches_ > stretches_worth_asking ? end - begin : c_.image.file().stored_bytes(begin, end - begin);
    }
    count_ = 0;
  }

  const Context& c_;
  std::uint64_t first_ = 0, count_ = 0, stretches_ = 0, stored_ = 0;
};

// Some of the blocks to look at, by their number in the list.
struct Slice {
  std::size_t first, end;
};

class Settler {
 public:
  explicit Settler(const Context& c) : c_(c), claims_(*c.claims), refcounts_(*c.refcounts), end_(c.image.clusters()) {
    // A reference may reach into one cluster behind the file's end; then QEMU looks at that one, too.
    if (claims_.owned.test(end_) || claims_.counted(end_)) ++end_;
  }

  std::uint64_t end() const { return end_; }
  std::vector<std::uint64_t> blocks_to_look_at() const;
  void settle_block(std::uint64_t block, Part& part) const;
  // The clusters between two blocks to look at are free: they have neither references nor refcounts. (nullopt: the
  // begin or the end of the file.)
  void free_between(std::optional<std::uint64_t> before, std::optional<std::uint64_t> behind, Part& part) const {
    const std::uint64_t per_block = refcounts_.block_entries();
    const std::uint64_t first = before ? (*before + 1) * per_block : 0;
    const std::uint64_t end = std::min(end_, behind ? *behind * per_block : end_);
    if (first < end) part.add_free(first, end - first);
  }

 private:
  // The usual case: 64 clusters that are used, and as often as their refcounts say.
  bool all_in_order(std::uint64_t word, std::uint64_t nonzero) const {
    return nonzero == ~std::uint64_t{0} && claims_.owned.word(word) == ~std::uint64_t{0} &&
           (claims_.suspect.word(word) | claims_.compressed.word(word)) == 0;
  }
  // The next cluster that anything refers to.
  std::uint64_t next_claimed(std::uint64_t from) const {
    std::uint64_t next = ~std::uint64_t{0};
    for (const BitSet* set : {&claims_.owned, &claims_.suspect, &claims_.compressed}) {
      next = std::min(next, set->next(from).value_or(next));
    }
    return next;
  }
  const Owner* owner_of(std::uint64_t cluster, Part& part) const;
  void settle_unclaimed(std::uint64_t first, std::uint64_t count, std::uint64_t refcount, Part& part) const;
  void settle_cluster(std::uint64_t cluster, Part& part) const;
  std::uint64_t settle_overflow(std::uint64_t cluster, Part& part) const;
  Finding at(Code code, std::uint64_t cluster, std::uint64_t found, std::uint64_t expected) const;
  void report(Part& part, Finding f, std::uint64_t times = 1) const {
    Context::count(part.totals, f, times);
    part.findings.add(std::move(f));
  }

  const Context& c_;
  const Claims& claims_;
  const image::Refcounts& refcounts_;
  std::uint64_t end_;
};

// Blocks that exist on disk, and blocks for suspects and compressed clusters, whether they exist or not.
std::vector<std::uint64_t> Settler::blocks_to_look_at() const {
  const std::uint64_t per_block = refcounts_.block_entries();
  std::set<std::uint64_t> blocks;
  const auto& entries = refcounts_.entries();
  std::set<const image::RefcountBlock*> behind;  // blocks for clusters past the file's end: each is worth one look
  for (std::uint64_t b = 0; b < entries.size(); ++b) {
    const image::RefcountBlock* block = entries[b].block;
    const bool present = block && (b * per_block < end_ || (!block->all_zero() && behind.insert(block).second));
    if (present || !refcounts_.readable(ClusterIndex(b * per_block))) blocks.insert(blocks.end(), b);
  }
  for (const BitSet* set : {&claims_.suspect, &claims_.compressed}) {
    for (auto cluster = set->next(0); cluster; cluster = set->next((*cluster / per_block + 1) * per_block)) {
      blocks.insert(*cluster / per_block);
    }
  }
  return {blocks.begin(), blocks.end()};
}

void Settler::settle_block(std::uint64_t block, Part& part) const {
  const std::uint64_t per_block = refcounts_.block_entries(), first = block * per_block;
  const auto& entries = refcounts_.entries();
  const image::RefcountBlock* on_disk = block < entries.size() ? entries[block].block : nullptr;
  if (!refcounts_.readable(ClusterIndex(first))) {
    if (first < end_) part.totals.check_errors += std::min(end_ - first, per_block);
    for (const BitSet* set : {&claims_.suspect, &claims_.compressed}) {
      for (auto c = set->next(first); c && *c < first + per_block; c = set->next(*c + 1)) {
        if (set == &claims_.suspect || !claims_.suspect.test(*c)) settle_overflow(*c, part);
      }
    }
    return;
  }
  for (std::uint64_t w = 0; w < per_block / 64; ++w) {
    const std::uint64_t cluster = first + w * 64, word = cluster / 64;
    const std::uint64_t nonzero = on_disk ? on_disk->nonzero(w) : 0;
    if (cluster + 64 <= end_ && all_in_order(word, nonzero)) {
      part.used += 64;
      part.refcounts.used += 64;
      part.end = cluster + 64;
      continue;
    }
    const std::uint64_t inside = cluster >= end_        ? 0
                                 : end_ - cluster >= 64 ? ~std::uint64_t{0}
                                                        : (std::uint64_t{1} << (end_ - cluster)) - 1;
    for (std::uint64_t rest = nonzero & ~inside; rest != 0; rest &= rest - 1) {
      const std::uint64_t lost = cluster + static_cast<unsigned>(std::countr_zero(rest));
      if (refcounts_.garbage(ClusterIndex(lost))) continue;
      report(part, at(Code::refcount_past_end, lost, refcounts_.get(ClusterIndex(lost)), c_.size()));
    }
    if (inside == 0) continue;
    const std::uint64_t used = (claims_.owned.word(word) | claims_.compressed.word(word)) & inside;
    const std::uint64_t counted = (claims_.suspect.word(word) | claims_.compressed.word(word)) & inside;
    if ((used | counted) == 0) {  // one step to the next claim, if all refcounts up to it are the same
      const std::uint64_t rest = std::min(first + per_block, end_) - cluster;
      const std::uint64_t free = std::max<std::uint64_t>(next_claimed(cluster) / 64 * 64 - cluster, 64);
      const std::uint64_t count = rest < 64 ? rest : std::min(rest / 64 * 64, free);
      if (const image::RunRefcount same = refcounts_.run(ClusterIndex(cluster), count)) {
        settle_unclaimed(cluster, count, *same, part);
        w += (count - 1) / 64;
        continue;
      }
    }
    const auto bits = [](std::uint64_t set) { return static_cast<std::uint64_t>(std::popcount(set)); };
    part.used += bits(used);
    part.refcounts.used += bits(nonzero & inside);
    for_stretches(inside & ~used & ~counted & ~nonzero,
                  [&](unsigned at, unsigned count) { part.add_free(cluster + at, count); });
    if (const std::uint64_t any = used | counted | (nonzero & inside); any != 0) {
      part.end = cluster + 64 - static_cast<unsigned>(std::countl_zero(any));
    }
    for (std::uint64_t rest = ((nonzero & ~used) | counted) & inside; rest != 0; rest &= rest - 1) {
      settle_cluster(cluster + static_cast<unsigned>(std::countr_zero(rest)), part);
    }
  }
}

Finding Settler::at(Code code, std::uint64_t cluster, std::uint64_t found, std::uint64_t expected) const {
  Finding f;
  f.code = code;
  f.index = cluster;
  f.host = c_.geometry().offset(ClusterIndex(cluster));
  f.found = found;
  f.expected = expected;
  return f;
}

// References that a refcount of this image can't express. QEMU counts each one that didn't fit.
// Returns how many there should be on disk.
std::uint64_t Settler::settle_overflow(std::uint64_t cluster, Part& part) const {
  const std::uint64_t references = claims_.counted(cluster) ? claims_.tally.get(cluster) : 0;
  const std::uint64_t most = c_.geometry().refcount_max();
  if (references <= most) return references;
  Context::count(part.totals, at(Code::refcount_overflow, cluster, 0, 0), references - most);
  part.findings.add(at(Code::refcount_overflow, cluster, references, most));
  return most;
}

// The clusters of a part come in their order, so each is looked for from where the one before was found.
const Owner* Settler::owner_of(std::uint64_t cluster, Part& part) const {
  const std::vector<Owner>& owners = c_.result.owners;
  if (!part.next_owner) {
    part.next_owner = std::ranges::lower_bound(owners, ClusterIndex(cluster), {}, &Owner::cluster) - owners.begin();
  }
  auto& next = *part.next_owner;
  while (next < std::ssize(owners) && owners[static_cast<std::size_t>(next)].cluster.value < cluster) ++next;
  const bool found = next < std::ssize(owners) && owners[static_cast<std::size_t>(next)].cluster.value == cluster;
  return found ? &owners[static_cast<std::size_t>(next)] : nullptr;
}

void Settler::settle_unclaimed(std::uint64_t first, std::uint64_t count, std::uint64_t refcount, Part& part) const {
  if (refcount == 0) return part.add_free(first, count);
  part.refcounts.used += count;
  part.refcounts.leak += count;
  part.end = first + count;
  Finding f = at(Code::refcount_leak, first, refcount, 0);
  f.count = count;
  report(part, std::move(f));
}

void Settler::settle_cluster(std::uint64_t cluster, Part& part) const {
  const std::uint64_t on_disk = refcounts_.get(ClusterIndex(cluster));
  const std::uint64_t expected = settle_overflow(cluster, part);
  if (on_disk == expected) return;
  const bool low = on_disk < expected;
  const Code code = low ? Code::refcount_low : Code::refcount_leak;
  ++(low ? part.refcounts.error : part.refcounts.leak);
  // These have a finding already, which is their cause: here they are only counted, as QEMU counts.
  const bool baseless = low && on_disk >= expected - std::min(expected, claims_.baseless.get(cluster));
  if (baseless || refcounts_.garbage(ClusterIndex(cluster))) {
    ++(low ? part.totals.corruptions : part.totals.leaks);
    return;
  }
  const Owner* owner = owner_of(cluster, part);
  const std::int32_t state = owner && !is_metadata(owner->kind) ? owner->state : no_state;
  if (part.findings.extend(code, state, cluster, on_disk, expected)) {
    ++(low ? part.totals.corruptions : part.totals.leaks);  // as QEMU counts both
    return;
  }
  Finding f = at(code, cluster, on_disk, expected);
  if (owner && is_metadata(owner->kind)) {
    f.detail = fmt::format(" ({})", owner_name(owner->kind));
  } else if (owner) {
    f.l1_index = owner->l1_index;
    f.l2_index = owner->l2_index;
    f.guest = c_.geometry().guest(owner->l1_index, owner->l2_index);
    f.state = state;
  }
  report(part, f);
}

// All owners in words; each place once, however many snapshots share it.
std::string describe_owners(const Context& c, std::span<const Owner> owners) {
  constexpr std::size_t most = 8;
  std::set<std::tuple<OwnerKind, std::uint32_t, std::uint32_t, std::uint64_t>> seen;
  std::string text;
  for (const Owner& o : owners) {
    if (!seen.emplace(o.kind, o.l1_index, o.l2_index, o.index).second && o.kind >= OwnerKind::data) continue;
    if (seen.size() > most) continue;
    text += (text.empty() ? "" : ", ") + owner_text(c.geometry(), c.result, o, SnapshotsBy::name);
  }
  if (seen.size() > most) text += fmt::format(" and {} more", seen.size() - most);
  return text.empty() ? "too many to list" : text;
}

Code conflict_code(std::span<const Owner> owners) {
  bool data = false, compressed = false, metadata = false;
  for (const Owner& o : owners) {
    (o.kind == OwnerKind::compressed ? compressed : o.kind == OwnerKind::data ? data : metadata) = true;
  }
  if (compressed) return Code::cluster_compressed_overlap;
  if (metadata) return data ? Code::cluster_on_metadata : Code::metadata_overlap;
  return Code::cluster_reuse;
}

// The bytes of a cluster that compressed data takes up: any other owner of the cluster has lost what was there, or
// will.
std::string compressed_bytes(const Context& c, std::span<const Owner> owners) {
  const format::Geometry& g = c.geometry();
  std::uint64_t first = ~std::uint64_t{0}, end = 0;
  for (const Owner& o : owners) {
    if (o.kind != OwnerKind::compressed) continue;
    const format::CompressedRange range = g.compressed(o.raw);
    const std::uint64_t cluster = g.offset(o.cluster).value;
    first = std::min(first, std::max(range.offset.value, cluster));
    end = std::max(end, std::min(range.offset.value + range.bytes, cluster + g.cluster_size()));
  }
  return end == 0 ? "" : fmt::format("; compressed data lies from 0x{:x} to 0x{:x}", first, end - 1);
}

// A refcount block must be used once, by its entry of the refcount table. As QEMU counts: each entry that finds its
// block used already is an error.
void report_shared_blocks(Context& c) {
  const auto& entries = c.refcounts->entries();
  struct Block {
    std::uint64_t still = 0;  // entries that name it, from here on
    std::string owners;       // in words
  };
  std::map<std::uint64_t, Block> blocks;  // by cluster, the suspect ones
  const auto suspect = [&](std::uint64_t i) -> std::optional<std::uint64_t> {
    if (!c.refcounts->entry_in_order(i, c.size())) return std::nullopt;
    const std::uint64_t cluster = entries[i].raw >> c.geometry().cluster_bits;
    return c.claims->suspect.test(cluster) ? std::optional(cluster) : std::nullopt;
  };
  for (std::uint64_t i = 0; i < entries.size(); ++i) {
    if (const auto cluster = suspect(i)) ++blocks[*cluster].still;
  }
  for (std::uint64_t i = 0; i < entries.size() && !blocks.empty(); ++i) {
    const auto cluster = suspect(i);
    if (!cluster) continue;
    Block& block = blocks[*cluster];
    const std::uint64_t total = c.claims->tally.get(*cluster);
    const std::uint64_t before = total - block.still--;
    if (std::min(before + 1, c.geometry().refcount_max()) == 1) continue;
    Finding f;
    f.code = Code::reftable_shared;
    f.index = i;
    f.host = c.geometry().offset(ClusterIndex(*cluster));
    f.found = total;
    if (block.owners.empty()) block.owners = describe_owners(c, c.result.owners_of(ClusterIndex(*cluster)));
    f.detail = block.owners;
    c.report(f);
  }
}

void report_conflicts(Context& c) {
  const Claims& claims = *c.claims;
  for (auto cluster = claims.conflict.next(0); cluster; cluster = claims.conflict.next(*cluster + 1)) {
    const auto owners = c.result.owners_of(ClusterIndex(*cluster));
    Finding f;
    f.code = conflict_code(owners);
    f.index = *cluster;
    f.host = c.geometry().offset(ClusterIndex(*cluster));
    f.found = claims.tally.get(*cluster);
    f.detail = describe_owners(c, owners) + compressed_bytes(c, owners);
    for (const Owner& o : owners) {
      if (is_metadata(o.kind)) continue;
      f.guest = c.geometry().guest(o.l1_index, o.l2_index);
      f.l1_index = o.l1_index;
      f.l2_index = o.l2_index;
      f.state = o.state;
      break;
    }
    c.report(f);
  }
}

void report_data_file_conflicts(Context& c) {
  if (!c.data_claims) return;
  const Claims& claims = *c.data_claims;
  for (auto cluster = claims.conflict.next(0); cluster; cluster = claims.conflict.next(*cluster + 1)) {
    Finding f;
    f.code = Code::data_file_reuse;
    f.host = c.geometry().offset(ClusterIndex(*cluster));
    f.index = *cluster;
    f.found = claims.tally.get(*cluster);
    f.detail = describe_owners(c, c.result.data_owners_of(ClusterIndex(*cluster)));
    c.report(f);
  }
}

}  // namespace

void settle_refcounts(Context& c) {
  Report& result = c.result;
  report_conflicts(c);
  report_data_file_conflicts(c);
  report_shared_blocks(c);

  const Settler settler(c);
  const std::vector<std::uint64_t> blocks = settler.blocks_to_look_at();
  constexpr std::size_t blocks_a_part = 16;
  std::size_t next = 0;
  std::uint64_t end = 1, accounted = 0;
  FreeSpace free(c);
  ordered_parallel<Slice, Part>(
      [&]() -> std::unique_ptr<Slice> {
        if (next == blocks.size()) return nullptr;
        const std::size_t first = next;
        next = std::min(next + blocks_a_part, blocks.size());
        return std::make_unique<Slice>(Slice{first, next});
      },
      [&](const Slice& slice, Part& part) {
        for (std::size_t b = slice.first; b < slice.end; ++b) {
          settler.free_between(b == 0 ? std::optional<std::uint64_t>() : blocks[b - 1], blocks[b], part);
          settler.settle_block(blocks[b], part);
        }
      },
      [&](Part&& part) {
        result.findings.append(std::move(part.findings));
        result.totals += part.totals;
        result.refcounts.error += part.refcounts.error;
        result.refcounts.leak += part.refcounts.leak;
        result.refcounts.used += part.refcounts.used;
        result.usage.used += part.used;
        accounted += part.used + part.refcounts.leak;
        end = std::max(end, part.end);
        for (const auto& [first, count] : part.free) free.add(first, count);
      });
  const std::uint64_t clusters = settler.end();
  result.refcounts.unused = clusters - std::min(clusters, result.refcounts.used);
  result.usage.free = clusters - std::min(clusters, accounted);
  Part rest;
  settler.free_between(blocks.empty() ? std::optional<std::uint64_t>() : blocks.back(), std::nullopt, rest);
  for (const auto& [first, count] : rest.free) free.add(first, count);
  result.usage.discardable_bytes = free.stored_bytes();
  result.totals.image_end_offset = end << c.geometry().cluster_bits;
}

}  // namespace qd::check
