// Clusters that several owners claim. One of them keeps the place, every other gets a copy of what lies there now, in
// fresh space: from then on none can destroy the other's data any more. Nobody can tell whose data it is, so all copies
// are kept, and the plan names every claimant with its guest offset.
//
// Metadata keeps its place before data. Two structures of one kind (an L2 table of two L1 entries) are both served by a
// copy. Of two structures of different kinds, at most one holds what it should, and both stay as they are. Refcount
// blocks and the refcount table are not copied at all: where somebody else lies on them they are made anew
// (refcounts.cc).
//
// LUKS data can't be copied: what it decrypts to depends on its place in the file. It keeps its place, and the metadata
// on top of it moves; two guest clusters can't be separated there.
//
// If very many claim a cluster, at most one of them is right, and copies for all would be longer than the image.
//
// States that share a cluster at one guest offset make one lawful claim, which moves as one: all their L2 entries are
// changed. Metadata goes first. Data is separated in another round, when no L2 table shares its cluster any more.
#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "check/claims.h"
#include "check/owners.h"
#include "repair/steps.h"

namespace qd::repair {
namespace {

using check::Code;
using check::Owner;
using check::OwnerKind;

constexpr std::size_t most_claims = 64;  // if there are more, none gets a copy unless forced

// The owner with the smallest number keeps the place.
int rank(OwnerKind kind, bool luks) {
  switch (kind) {
    case OwnerKind::header:
      return 0;
    case OwnerKind::crypt_header:
      return 2;
    case OwnerKind::l1_table:
      return 3;
    case OwnerKind::snapshot_table:
      return 4;
    case OwnerKind::l2_table:
      return 5;
    case OwnerKind::bitmap_directory:
      return 6;
    case OwnerKind::bitmap_table:
      return 7;
    case OwnerKind::bitmap_data:
      return 8;
    case OwnerKind::compressed:
      return 9;
    case OwnerKind::data:
      return luks ? 1 : 10;
    case OwnerKind::refcount_table:
    case OwnerKind::refcount_block:
      return 11;
  }
  return 12;
}

// Owners that are one claim: one structure, or one guest cluster in however many states. The first of several stays.
using Claim = std::tuple<int, OwnerKind, std::int32_t, std::uint64_t, std::uint64_t>;
Claim claim_of(const Owner& o, bool luks = false) {
  const int order = rank(o.kind, luks);
  switch (o.kind) {
    case OwnerKind::data:
      return {order, o.kind, check::no_state, o.l1_index, o.l2_index};
    case OwnerKind::compressed:  // states may have different data at one place, packed into one cluster
      return {order, o.kind, check::no_state, std::uint64_t{o.l1_index} << 32 | o.l2_index,
              o.raw & ~format::copied_flag};
    case OwnerKind::l2_table:
      return {order, o.kind, check::no_state, o.l1_index, 0};
    case OwnerKind::l1_table:
      return {order, o.kind, o.state, 0, 0};
    default:
      return {order, o.kind, check::no_state, o.index, 0};
  }
}

class Separator {
 public:
  explicit Separator(Work& w) : w_(w), g_(w.view.geometry()), luks_(w.view.image().header.crypt_method == 2) {}
  void separate(bool metadata);

 private:
  using Owners = std::vector<Owner>;
  std::string name(const Owner& o) const {
    return check::owner_text(g_, w_.view.result(), o, check::SnapshotsBy::place);
  }
  std::string everybody(const std::map<Claim, Owners>& claims) const;
  void move(const Owners& owners, HostOffset cluster, Code reason, const std::string& all);
  std::optional<HostOffset> copy(HostOffset from, std::uint64_t bytes, bool data = false);
  void lead(const std::vector<HostOffset>& entries, HostOffset to, Code reason, const std::string& text);
  void move_data(const Owners& owners, HostOffset cluster, Code reason, const std::string& all);
  void move_compressed(const Owners& owners, Code reason, const std::string& all);
  void move_l2_table(const Owners& owners, HostOffset cluster, Code reason, const std::string& all);
  void move_l1_table(const Owner& owner, Code reason, const std::string& all);
  void move_snapshot_table(Code reason, const std::string& all);
  void move_crypt_header(Code reason, const std::string& all);
  void move_bitmap_part(const Owner& owner, HostOffset cluster, Code reason, const std::string& all);
  std::vector<HostOffset> entries_of(const Owners& owners);
  void refuse_garbage(const Owner& owner);
  const std::map<HostOffset, HostOffset>& bitmap_entries(std::uint64_t index);

  Work& w_;
  const format::Geometry& g_;
  const bool luks_;
  std::uint64_t of_versions_ = 0, first_of_versions_ = 0;  // clusters that stay since a table may be another state's
  std::set<Claim> moved_;                                  // a structure of several clusters is moved once
  std::map<std::uint64_t, std::map<HostOffset, HostOffset>> bitmap_entries_;  // of bitmaps, as the check has found them
};

// The one who stays comes first. Each of the others has an action of its own, which names it.
std::string Separator::everybody(const std::map<Claim, Owners>& claims) const {
  constexpr std::size_t most = 8;
  std::string text;
  std::size_t named = 0;
  for (const auto& [claim, owners] : claims) {
    if (named++ == most) return fmt::format("{} and {} more", text, claims.size() - most);
    text += (text.empty() ? "" : ", ") + name(owners.front());
  }
  return text;
}

std::optional<HostOffset> Separator::copy(HostOffset from, std::uint64_t bytes, bool data) {
  const auto to = w_.editor.allocate(g_.clusters(bytes));
  const std::uint64_t whole = g_.clusters(bytes) << g_.cluster_bits;
  if (to) data ? w_.editor.copy(*to, from, whole) : w_.editor.copy_planned(*to, from, whole);
  return to;
}

// The L2 entries of one guest cluster in all the states that share it, each once. Left out are those of dubious tables,
// and those that have changed since the check (another round will look at them again).
std::vector<HostOffset> Separator::entries_of(const Owners& owners) {
  std::set<HostOffset> entries;
  for (const Owner& o : owners) {
    const auto table = w_.doubts.l2_table(o.state, o.l1_index);
    if (!table) continue;
    const HostOffset at = w_.view.l2_entry(*table, o.l2_index);
    if (((w_.view.read64(at) ^ o.raw) & ~format::copied_flag) == 0) entries.insert(at);
  }
  return {entries.begin(), entries.end()};
}

// Makes L1 or L2 entries point to a new place.
void Separator::lead(const std::vector<HostOffset>& entries, HostOffset to, Code reason, const std::string& text) {
  for (const HostOffset at : entries) {
    w_.editor.put64(Stage::point, at, (w_.view.read64(at) & ~format::offset_mask) | to.value, reason, text);
  }
}

void Separator::move_data(const Owners& owners, HostOffset cluster, Code reason, const std::string& all) {
  if (luks_) {
    return w_.editor.refuse(
        reason,
        fmt::format("cluster 0x{:x} stays with {}: encrypted data can't be read at another place", cluster.value, all));
  }
  const std::vector<HostOffset> entries = entries_of(owners);
  if (entries.empty()) return;
  const auto to = copy(cluster, g_.cluster_size(), true);
  if (!to) return;
  const std::string text = fmt::format("{} gets a copy of its own at 0x{:x}; cluster 0x{:x} was claimed by {}",
                                       name(owners.front()), to->value, cluster.value, all);
  lead(entries, *to, reason, text);
}

void Separator::move_compressed(const Owners& owners, Code reason, const std::string& all) {
  const std::vector<HostOffset> entries = entries_of(owners);
  if (entries.empty()) return;
  const format::CompressedRange range = g_.compressed(owners.front().raw);
  const std::uint64_t within = g_.offset_in_cluster(range.offset.value);
  const HostOffset first(range.offset.value - within);
  const auto to = w_.editor.allocate(g_.clusters(within + range.bytes));
  if (!to) return;
  const std::uint64_t mask = (1ULL << g_.compressed_size_shift()) - 1, place = to->value + within;
  if (place > mask)
    return w_.editor.refuse(reason,
                            name(owners.front()) + " can't be moved: compressed data can't lie that far behind");
  w_.editor.copy(*to, first, g_.clusters(within + range.bytes) << g_.cluster_bits);
  const std::string text =
      fmt::format("{} gets a copy of its own at 0x{:x}; cluster 0x{:x} was claimed by {}", name(owners.front()), place,
                  owners.front().cluster.value << g_.cluster_bits, all);
  for (const HostOffset at : entries)
    w_.editor.put64(Stage::point, at, (w_.view.read64(at) & ~mask) | place, reason, text);
  // The length may be what is garbled; then the refcounts there may count somebody's lost reference.
  if (!w_.doubts.was_at_risk()) w_.leaks.release(range.offset, range.bytes);
}

void Separator::move_l2_table(const Owners& owners, HostOffset cluster, Code reason, const std::string& all) {
  const std::uint32_t index = owners.front().l1_index;
  std::vector<HostOffset> entries;  // that name it, in tables that can be written to
  for (const image::State& s : w_.view.result().states) {
    const auto at = w_.view.l1_entry(s.snapshot, index);
    if (!w_.doubts.l1_look(s.snapshot).is_table()) continue;
    if (!at || at->value + sizeof(be64) > w_.view.image().size()) continue;
    if ((w_.view.read64(*at) & format::offset_mask) == cluster.value) entries.push_back(*at);
  }
  if (entries.empty()) return;
  const auto to = copy(cluster, g_.cluster_size());
  if (!to) return;
  const std::string text = fmt::format("{} gets a copy of its own at 0x{:x}; cluster 0x{:x} was claimed by {}",
                                       name(owners.front()), to->value, cluster.value, all);
  lead(entries, *to, reason, text);
}

void Separator::move_l1_table(const Owner& owner, Code reason, const std::string& all) {
  const image::State* s = w_.view.state(owner.state);
  if (!s) return;
  const HostOffset field = owner.state < 0
                               ? format::field::l1_table_offset.at()
                               : w_.view.image().snapshots.entries[static_cast<std::size_t>(owner.state)].at;
  if (!w_.doubts.undisputed(field)) return;
  const std::uint64_t bytes = std::uint64_t{s->l1_size} * sizeof(be64);
  const auto to = copy(s->l1_offset, bytes);
  if (!to) return;
  w_.editor.put64(Stage::point, field, to->value, reason,
                  fmt::format("{} moves to 0x{:x}; its place was claimed by {}", name(owner), to->value, all));
  w_.leaks.release(s->l1_offset, bytes);
}

void Separator::move_snapshot_table(Code reason, const std::string& all) {
  const HostOffset from(w_.view.image().header.snapshots_offset);
  const std::uint64_t bytes = w_.view.image().snapshots.bytes;
  const auto to = copy(from, bytes);
  if (!to) return;
  w_.editor.put64(Stage::point, format::field::snapshots_offset.at(), to->value, reason,
                  fmt::format("snapshot table moves to 0x{:x}; its place was claimed by {}", to->value, all));
  w_.leaks.release(from, bytes);
}

// The header extension points to the LUKS header, wherever it lies.
void Separator::move_crypt_header(Code reason, const std::string& all) {
  const format::Extension* e = w_.view.image().find_extension(format::extension::crypt_header);
  if (!e || !w_.view.image().crypt) return;
  const auto [from, bytes] = *w_.view.image().crypt;
  const auto to = copy(from, bytes);
  if (!to) return;
  w_.editor.put64(Stage::point, e->at + 8, to->value, reason,
                  fmt::format("LUKS header moves to 0x{:x}; its place was claimed by {}", to->value, all));
  w_.leaks.release(from, bytes);
}

void Separator::move_bitmap_part(const Owner& owner, HostOffset cluster, Code reason, const std::string& all) {
  const image::Bitmaps& bitmaps = w_.view.image().bitmaps;
  const format::Extension* e = w_.view.image().find_extension(format::extension::bitmaps);
  if (!e || !bitmaps.extension) return;
  const auto moved = [&](HostOffset from, std::uint64_t bytes, HostOffset field) {
    if (!w_.doubts.undisputed(field)) return;
    const auto to = copy(from, bytes);
    if (!to) return;
    w_.editor.put64(Stage::point, field, to->value, reason,
                    fmt::format("{} moves to 0x{:x}; its place was claimed by {}", name(owner), to->value, all));
    w_.leaks.release(from, bytes);
  };
  if (owner.kind == OwnerKind::bitmap_directory) {
    return moved(HostOffset(bitmaps.extension->directory_offset.get()), bitmaps.extension->directory_size.get(),
                 e->at + 24);
  }
  const format::Bitmap& b = bitmaps.entries[owner.index];
  if (owner.kind == OwnerKind::bitmap_table) return moved(b.table_offset, std::uint64_t{b.table_size} * 8, b.at);
  const auto& entries = bitmap_entries(owner.index);
  if (const auto at = entries.find(cluster); at != entries.end()) moved(cluster, g_.cluster_size(), at->second);
}

// Where a bitmap's table names each of its clusters.
const std::map<HostOffset, HostOffset>& Separator::bitmap_entries(std::uint64_t index) {
  const auto [known, fresh] = bitmap_entries_.try_emplace(index);
  if (!fresh) return known->second;
  const format::Bitmap& b = w_.view.image().bitmaps.entries[index];
  const std::uint64_t in_file = w_.view.image().size() - std::min(w_.view.image().size(), b.table_offset.value);
  const std::uint64_t entries = std::min<std::uint64_t>(b.table_size, in_file / sizeof(be64));
  const std::vector<std::byte> table = w_.view.read(b.table_offset, entries * sizeof(be64));
  for (std::uint64_t i = 0; i < entries; ++i) {
    const auto entry = load_big_endian<std::uint64_t>(table.data() + i * sizeof(be64));
    known->second.try_emplace(HostOffset(entry & format::offset_mask), b.table_offset + i * sizeof(be64));
  }
  return known->second;
}

void Separator::move(const Owners& owners, HostOffset cluster, Code reason, const std::string& all) {
  const Owner& owner = owners.front();
  const bool spans =
      owner.kind != OwnerKind::data && owner.kind != OwnerKind::l2_table && owner.kind != OwnerKind::bitmap_data;
  if (spans && !moved_.insert(claim_of(owner)).second) return;
  switch (owner.kind) {
    case OwnerKind::data:
      return move_data(owners, cluster, reason, all);
    case OwnerKind::compressed:
      return move_compressed(owners, reason, all);
    case OwnerKind::l2_table:
      return move_l2_table(owners, cluster, reason, all);
    case OwnerKind::l1_table:
      return move_l1_table(owner, reason, all);
    case OwnerKind::snapshot_table:
      return move_snapshot_table(reason, all);
    case OwnerKind::crypt_header:
      return move_crypt_header(reason, all);
    case OwnerKind::bitmap_directory:
    case OwnerKind::bitmap_table:
    case OwnerKind::bitmap_data:
      return move_bitmap_part(owner, cluster, reason, all);
    default:
      return;  // refcounts are made anew elsewhere, the header never moves
  }
}

Code reason_of(const std::map<Claim, std::vector<Owner>>& claims) {
  bool data = false, compressed = false, metadata = false;
  for (const auto& [claim, owners] : claims) {
    const OwnerKind kind = owners.front().kind;
    (kind == OwnerKind::compressed ? compressed : kind == OwnerKind::data ? data : metadata) = true;
  }
  if (compressed) return Code::cluster_compressed_overlap;
  return !metadata ? Code::cluster_reuse : data ? Code::cluster_on_metadata : Code::metadata_overlap;
}

// Metadata of two kinds, refcounts aside, which can be made anew.
bool different_metadata(const std::map<Claim, std::vector<Owner>>& claims) {
  std::optional<OwnerKind> kind;
  for (const auto& [claim, owners] : claims) {
    const OwnerKind here = owners.front().kind;
    if (!check::is_metadata(here) || is_made_anew(here)) continue;
    if (kind && *kind != here) return true;
    kind = here;
  }
  return false;
}

void Separator::refuse_garbage(const Owner& o) {
  const std::uint64_t at = g_.offset(o.cluster).value;
  const auto has_version = [&](const Owner& other) {
    const auto table = other.kind == OwnerKind::data ? w_.doubts.l2_table(other.state, other.l1_index) : std::nullopt;
    return table && w_.doubts.may_be_anothers(*table);
  };
  if (o.kind == OwnerKind::l2_table && w_.doubts.named_elsewhere(o)) {
    w_.editor.refuse(
        Code::metadata_overlap,
        fmt::format("L2 table 0x{:x} stays as it is: it may be another state's, and then one of the L1 entries that "
                    "name it is wrong. --force gives each a copy",
                    at));
  } else if (o.kind == OwnerKind::l2_table) {
    w_.editor.refuse(
        Code::metadata_overlap,
        fmt::format("cluster 0x{:x} stays as it is: L1 entry {}{} (0x{:016x}) names it as its L2 table, but it "
                    "holds none",
                    at, o.l1_index, o.state >= 0 ? fmt::format(" of snapshot[{}]", o.state) : "", o.raw));
  } else if (std::ranges::any_of(w_.view.result().owners_of(o.cluster), has_version)) {
    if (of_versions_++ == 0) first_of_versions_ = at;
  } else {
    w_.editor.refuse(
        Code::cluster_on_metadata,
        fmt::format("cluster 0x{:x} stays as it is: entries that lead to it are garbage, or lie in an L2 table "
                    "that something else lies on, so they may be anything",
                    at));
  }
}

// `metadata`: in this round only metadata moves; otherwise only data.
void Separator::separate(bool metadata) {
  const BitSet& conflicts = w_.view.claims().conflict;
  for (auto c = conflicts.next(0); c && !w_.view.failed(); c = conflicts.next(*c + 1)) {
    const ClusterIndex cluster(*c);
    std::map<Claim, Owners> claims;
    std::optional<Owner> garbage;
    for (const Owner& o : w_.view.result().owners_of(cluster)) {
      if (w_.doubts.credible(o)) {
        claims[claim_of(o, luks_)].push_back(o);
      } else if (!garbage) {
        garbage = o;
      }
    }
    if (claims.size() < 2) {
      if (garbage && !metadata) refuse_garbage(*garbage);
      continue;
    }
    // Compressed data has several lawful owners: they keep their place together.
    const OwnerKind keeper = claims.begin()->second.front().kind;
    const Code reason = reason_of(claims);
    const std::string all = everybody(claims);
    if (claims.size() > most_claims && !w_.wanted.force) {
      w_.editor.refuse(reason,
                       fmt::format("cluster 0x{:x} stays as it is: {} claim it ({}), and one of them at most is right. "
                                   "--force gives each a copy",
                                   g_.offset(cluster).value, claims.size(), all));
      continue;
    }
    if (different_metadata(claims)) {
      w_.editor.refuse(
          reason,
          fmt::format("cluster 0x{:x} stays as it is: it can't be {} at once, so one of them is lost, and a copy "
                      "would not bring it back",
                      g_.offset(cluster).value, all));
      continue;
    }
    bool first = true, any = false;
    for (const auto& [claim, owners] : claims) {
      const OwnerKind kind = owners.front().kind;
      const bool stays = std::exchange(first, false) || (keeper == OwnerKind::compressed && kind == keeper);
      if (stays || is_made_anew(kind) || check::is_metadata(kind) != metadata) continue;
      move(owners, g_.offset(cluster), reason, all);
      any = true;
    }
    // Data that has moved leaves a refcount that is too high, and which is judged like any other: the moved entry may
    // be the garbled one, and the refcount may count somebody's lost reference. Where compressed data stays, nothing
    // can tell; the refcount falls if nothing else looks lost.
    if (any && keeper == OwnerKind::compressed && !w_.doubts.was_at_risk()) w_.leaks.release(g_.offset(cluster), 1);
  }
  if (of_versions_ == 0) return;
  w_.editor.refuse(
      Code::cluster_reuse,
      fmt::format("{} clusters used twice, the first at 0x{:x}, stay as they are: one of the L2 tables that name them "
                  "may be another state's. --force gives each a copy",
                  of_versions_, first_of_versions_));
}

}  // namespace

void separate_owners(Work& w) {
  if (w.view.failed() || w.view.claims().conflict.empty()) return;
  Separator(w).separate(true);
  if (!w.view.outdated()) Separator(w).separate(false);
}

}  // namespace qd::repair
