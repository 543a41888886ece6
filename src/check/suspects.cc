// The second walk, made only if the first met something that doesn't add up: counts all references to suspect clusters
// and names who holds them. Compressed references were counted by the first walk.
#include <algorithm>
#include <atomic>

#include "check/passes.h"
#include "image/runs.h"
#include "image/walk.h"

namespace qd::check {
namespace {

// More owners than anybody reads are not kept. Those of clusters with several owners have room of their own.
constexpr std::size_t owner_limit = 100'000, part_limit = 8'192;

struct Found {
  std::vector<Owner> single, several;  // owners of clusters with one, with several of them
  std::size_t room = part_limit;
  bool complete = true;
  std::uint64_t runs = 0;

  void add(const Claims& claims, Owner owner) {
    auto& list = claims.conflict.test(owner.cluster.value) ? several : single;
    if (list.size() < room) {
      list.push_back(owner);
    } else {
      complete = false;
    }
  }
};

class Counter {
 public:
  Counter(const Context& c, Found& into) : c_(c), g_(c.geometry()), into_(into) {}

  // A claim of `owner` on `count` clusters from `first` on.
  void claim(Claims& claims, ClusterIndex first, std::uint64_t count, std::uint64_t references, Owner owner,
             bool garbage = false) {
    const bool counted_already = owner.kind == OwnerKind::compressed && !garbage;
    if (first.value >= claims.clusters()) return;
    count = std::min(count, claims.clusters() - first.value);
    if (!claims.suspect.any(first.value, count)) return;
    for (auto c = claims.suspect.next(first.value); c && *c < first.value + count; c = claims.suspect.next(*c + 1)) {
      if (!counted_already) claims.tally.add(*c, references);
      // An L1 entry is right, though, if nobody else has the place that it names: then the table there was overwritten.
      const bool baseless = owner.kind != OwnerKind::l2_table || claims.owned.test(*c) || claims.compressed.test(*c);
      if (no_table_ && baseless) claims.baseless.add(*c, references);
      owner.cluster = ClusterIndex(*c);
      if (!garbage) into_.add(claims, owner);
    }
  }

  void count_table(const image::Group& group, const image::Table& table);

 private:
  void count_run(const image::Table& table, Owner owner, std::uint64_t first, std::uint64_t count);
  // L1 entries that name the table, with those whose visits are skipped.
  static std::uint64_t references(const image::Table& table) { return table.references + table.skipped; }

  const Context& c_;
  bool garbage_ = false, no_table_ = false;  // the table at hand isn't one: by its place or content; by its content
  const format::Geometry& g_;
  Found& into_;
};

void Counter::count_table(const image::Group& group, const image::Table& table) {
  no_table_ = c_.result.is_no_table(table.offset);
  garbage_ = no_table_ || c_.is_garbage(table);
  Owner owner;
  owner.kind = OwnerKind::l2_table;
  owner.state = c_.result.states[table.entries.front().state].snapshot;
  owner.l1_index = group.l1_index;
  owner.raw = table.entries.front().raw;
  if (group.begin == 0 && table.offset.value < c_.size()) {
    const bool unaligned = g_.offset_in_cluster(table.offset.value) != 0;
    claim(*c_.claims, g_.cluster(table.offset), unaligned ? 2 : 1, table.references, owner, garbage_);
  }
  if (table.l2.empty()) return;
  image::for_runs(g_, table.l2, group.begin, group.end, [&](std::uint64_t first, std::uint64_t count) {
    ++into_.runs;
    count_run(table, owner, first, count);
  });
}

void Counter::count_run(const image::Table& table, Owner owner, std::uint64_t first, std::uint64_t count) {
  const std::uint64_t raw = table.l2.raw(first);
  const auto type = format::cluster_type(g_, raw);
  owner.kind = OwnerKind::data;
  if (type == format::ClusterType::compressed) {
    const format::CompressedRange range = g_.compressed(raw);
    const bool has_bitmap = table.l2.bitmap(first) != 0;
    if (g_.data_file || has_bitmap || c_.past_end(range.offset, range.bytes)) return;
    owner.kind = OwnerKind::compressed;
    owner.l2_index = static_cast<std::uint32_t>(first);
    owner.raw = raw;
    const ClusterIndex begin = g_.cluster(range.offset), last = g_.cluster(range.offset + (range.bytes - 1));
    if (table.skipped > 0 && !garbage_) {  // the first walk counted those that it looked into
      for (ClusterIndex c = begin; c <= last; c = c + 1) c_.claims->tally.add(c.value, table.skipped);
    }
    return claim(*c_.claims, begin, last - begin + 1, references(table), owner, garbage_);
  }
  if (type != format::ClusterType::normal && type != format::ClusterType::zero_allocated) return;

  const std::uint64_t offset = raw & format::offset_mask;
  const bool unaligned = g_.offset_in_cluster(offset) != 0;
  Claims& claims = g_.data_file ? *c_.data_claims : *c_.claims;
  const ClusterIndex begin = g_.cluster(HostOffset(offset));
  if (begin.value >= claims.clusters() ||
      !claims.suspect.any(begin.value, std::min(count + unaligned, claims.clusters() - begin.value))) {
    return;
  }
  if (!unaligned && !garbage_) {
    // Only the suspects among them, without a look at each of the others.
    const std::uint64_t inside = offset < c_.size() ? g_.clusters(c_.size() - offset) : 0;
    if (!g_.data_file) count = std::min(count, inside);
    const std::uint64_t end = std::min(begin.value + count, claims.clusters());
    for (auto c = claims.suspect.next(begin.value); c && *c < end; c = claims.suspect.next(*c + 1)) {
      const std::uint64_t i = *c - begin.value;
      owner.l2_index = static_cast<std::uint32_t>(first + i);
      owner.raw = raw + (i << g_.cluster_bits);
      owner.cluster = ClusterIndex(*c);
      claims.tally.add(*c, references(table));
      into_.add(claims, owner);
    }
    return;
  }
  for (std::uint64_t i = 0; i < count; ++i) {
    if (!g_.data_file && offset + (i << g_.cluster_bits) >= c_.size()) break;
    owner.l2_index = static_cast<std::uint32_t>(first + i);
    owner.raw = raw + (i << g_.cluster_bits);
    claim(claims, begin + i, unaligned ? 2 : 1, references(table), owner, unaligned || garbage_);
  }
}

}  // namespace

namespace {

// Its clusters [first, end).
std::pair<std::uint64_t, std::uint64_t> extent(const Context& c, const MetadataUse& use) {
  return {c.geometry().cluster(use.offset).value, c.geometry().cluster(use.offset + (use.bytes - 1)).value + 1};
}

// Goes from place to place with the number of structures that lie there, not structure by structure: thousands of L1
// tables may lie on one another.
void count_metadata(const Context& c) {
  std::vector<std::pair<std::uint64_t, std::int64_t>> edges;
  for (const MetadataUse& use : c.metadata) {
    const auto [first, end] = extent(c, use);
    edges.emplace_back(first, 1);
    edges.emplace_back(end, -1);
  }
  std::ranges::sort(edges);
  std::int64_t uses = 0;
  for (std::size_t i = 0; i + 1 < edges.size(); ++i) {
    uses += edges[i].second;
    if (uses == 0) continue;
    const auto next = [&](std::uint64_t from) { return c.claims->suspect.next(from).value_or(edges[i + 1].first); };
    for (auto s = next(edges[i].first); s < edges[i + 1].first; s = next(s + 1)) {
      c.claims->tally.add(s, static_cast<std::uint64_t>(uses));
    }
  }
}

// Names the owners as long as there is room for them.
void name_metadata(const Context& c, Found& all) {
  for (const MetadataUse& use : c.metadata) {
    Owner owner;
    owner.kind = use.kind;
    owner.state = use.state;
    owner.index = use.index;
    const auto [first, end] = extent(c, use);
    for (auto s = c.claims->suspect.next(first); s && *s < end && all.complete; s = c.claims->suspect.next(*s + 1)) {
      owner.cluster = ClusterIndex(*s);
      all.add(*c.claims, owner);
    }
  }
}

// The blocks that check_refcount_table has claimed.
void count_refcount_blocks(const Context& c, Counter& counter) {
  const auto& entries = c.refcounts->entries();
  for (std::uint64_t i = 0; i < entries.size(); ++i) {
    if (!c.refcounts->entry_in_order(i, c.size())) continue;
    Owner owner;
    owner.kind = OwnerKind::refcount_block;
    owner.index = i;
    counter.claim(*c.claims, c.geometry().cluster(HostOffset(entries[i].raw)), 1, 1, owner);
  }
}

}  // namespace

void count_suspects(Context& c) {
  c.claims->cross_check();
  const bool data_suspects = c.data_claims && !c.data_claims->suspect.empty();
  if (c.claims->suspect.empty() && !data_suspects) return;

  c.repeats->begin_again();
  Found all;
  all.room = owner_limit;
  count_metadata(c);
  name_metadata(c, all);
  Counter blocks(c, all);
  count_refcount_blocks(c, blocks);

  const auto keep = [&](std::vector<Owner>& into, std::vector<Owner>&& from) {
    const std::size_t room = owner_limit - std::min(owner_limit, into.size());
    if (from.size() > room) all.complete = false;
    into.insert(into.end(), from.begin(), from.begin() + static_cast<std::ptrdiff_t>(std::min(room, from.size())));
  };
  image::walk<Found>(
      c.image, c.result.states,
      [&](const image::Group& group, Found& found) {
        for (const image::Table& table : group.tables) Counter(c, found).count_table(group, table);
      },
      [&](Found&& found) {
        all.complete &= found.complete;
        c.profile.count_runs(found.runs);
        keep(all.single, std::move(found.single));
        keep(all.several, std::move(found.several));
      },
      {.most_entries = c.options.most_entries,
       .profile = c.options.profile,
       .copies = c.copies,
       .repeats = c.repeats.get()});

  c.result.owners_complete = all.complete;
  std::vector<Owner>& owners = c.result.owners;
  owners = std::move(all.several);
  owners.insert(owners.end(), all.single.begin(), all.single.end());
  std::ranges::stable_sort(owners, {}, &Owner::cluster);
  if (!c.geometry().data_file) return;
  const auto data =
      std::stable_partition(owners.begin(), owners.end(), [](const Owner& o) { return o.kind != OwnerKind::data; });
  c.result.data_owners.assign(data, owners.end());
  owners.erase(data, owners.end());
}

}  // namespace qd::check
