#include "repair/work.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <utility>

#include "base/checked.h"
#include "base/uniform.h"
#include "check/copies.h"

namespace qd::repair {

Work::Work(const File& base, const image::Hints& hints, Transaction& transaction, const Wanted& wanted_,
           const check::Settings& options)
    : wanted(wanted_), base_(base), transaction_(transaction), hints_(hints), options_(options) {}

bool Work::look() {
  if (failed()) return false;
  auto image = image::Image::open(transaction_.view(), hints_);
  if (!image) return fail(image.error()), false;
  image_.emplace(std::move(*image));
  result_ = check::check(*image_, options_);
  changed_ = false;
  l1_looks_.clear();
  l2_looks_.clear();
  contested_.clear();
  find_stray_l1_tables();
  if (first_) return true;
  first_.emplace();
  using enum check::Code;
  first_->refcounts_in_doubt = count(refcount_low) > 0 || refcounts_hidden();
  for (const check::Problem& row : check::problems()) {
    first_->hidden |= count(row.code) > 0 && row.code != cluster_compressed_overlap && row.hides == check::Hidden::data;
  }
  first_->looks_lost = result_.leak_doubt.lost_table || result_.leak_doubt.misplaced;
  // The header's two fields may have each other's place.
  if (const image::State* active = state(check::active_state); active && l1_look(check::active_state).bad > 0) {
    const bool snapshots = image::snapshot_entries_at(*image_, active->l1_offset.value).count > 0;
    if (snapshots) first_->dubious.insert(check::active_state);
  }
  remember_disputes();
  remember_versions();
  remember_blocks();
  return !failed();
}

bool Work::refcounts_hidden() const { return result_.findings.any(check::Doubt::refcounts); }

bool Work::unreadable() const { return result_.findings.any(check::Doubt::disk); }

// An L1 entry can lead to them without a conflict, since they are counted as nobody's: the L1 tables of snapshots that
// say they have none, and, while snapshots can't be read, what reads as such a table. (So may an L2 table, if the guest
// keeps an image in its image: it waits for the snapshots then.)
void Work::find_stray_l1_tables() {
  stray_l1_.clear();
  if (!image_->geometry) return;
  for (const format::Snapshot& s : image_->snapshots.entries) {
    if (s.l1_size == 0) stray_l1_.insert(geometry().cluster(s.l1_offset).value);
  }
  const image::State* active = state(check::active_state);
  if (!active || all_snapshots_known()) return;
  BitSet seen(image_->clusters(), is_vast(image_->clusters(), image_->file().allocated_bytes()));
  auto looked = image::for_words(image_->file(), active->l1_offset, active->l1_size, [&](auto, auto words) {
    for (const std::uint64_t entry : words) {
      const HostOffset table(entry & format::offset_mask);
      const std::uint64_t cluster = geometry().cluster(table).value;
      if (table.value == 0 || !image::possible_l1_entry(*image_, entry) || seen.test(cluster)) continue;
      seen.set(cluster);
      const auto leads = image::leads_to_tables(*image_, table);
      if (!leads) return fail(leads.error()), false;
      if (*leads) stray_l1_.insert(cluster);
    }
    return true;
  });
  if (!looked) fail(looked.error());
}

std::optional<check::Code> Work::questions_everything() const {
  if (const auto code = result_.findings.first(check::Doubt::meaning)) return code;
  // Of refcounts alone; but whether an entry is right, they tell.
  if (count(check::Code::header_refcount_order) > 0) return check::Code::header_refcount_order;
  return std::nullopt;
}

// Refcounts follow from the mapping; whatever lies on them, they are no loss.
bool is_made_anew(check::OwnerKind kind) {
  return kind == check::OwnerKind::refcount_table || kind == check::OwnerKind::refcount_block;
}

// Owners of disputed clusters other than L1 tables, added up by place: any number of snapshots may name one place.
class Work::Others {
 public:
  Others(const check::Report& result, const BitSet& disputed) {
    for (const check::Owner& o : result.owners) {
      if (o.kind == check::OwnerKind::l1_table || !disputed.test(o.cluster.value)) continue;
      Sum sum = sums_.empty() ? Sum{} : sums_.back();
      sum.cluster = o.cluster;
      ++(lasting(o.kind) ? sum.metadata : sum.other);
      sums_.push_back(sum);
    }
  }
  static bool lasting(check::OwnerKind kind) { return check::is_metadata(kind) && !is_made_anew(kind); }

  struct Sum {
    ClusterIndex cluster;
    std::uint64_t metadata = 0, other = 0;  // owners up to here
  };
  Sum within(ClusterIndex first, std::uint64_t clusters) const {
    const Sum from = before(first), to = before(first + clusters);
    return {first, to.metadata - from.metadata, to.other - from.other};
  }

 private:
  Sum before(ClusterIndex cluster) const {
    const auto next = std::ranges::lower_bound(sums_, cluster, {}, &Sum::cluster);
    return next == sums_.begin() ? Sum{} : *std::prev(next);
  }
  std::vector<Sum> sums_;
};

// An L1 table on top of other metadata is one of the two at most, and one on top of data or refcounts that reads like
// no table was overwritten. What such a table names as L2 tables may be anything: the guest's data, for example.
void Work::remember_disputes() {
  if (!result_.claims || claims().conflict.empty()) return;
  first_->claims = result_.claims;
  const BitSet& disputed = first_->claims->conflict;
  // The same goes for the snapshot table, and then for all that it leads to.
  const ClusterIndex table = geometry().cluster(HostOffset(image_->header.snapshots_offset));
  bool lost_table = false;
  for (std::uint64_t i = 0; i < geometry().clusters(image_->snapshots.bytes); ++i) {
    if (!was_disputed(table + i)) continue;
    for (const check::Owner& o : result_.owners_of(table + i)) {
      lost_table |= o.kind != check::OwnerKind::snapshot_table && Others::lasting(o.kind);
    }
  }
  const Others others(result_, disputed);
  std::map<std::pair<HostOffset, std::uint32_t>, bool> doubtful;  // by place and size: snapshots may share a table
  for (const image::State& s : result_.states) {
    const auto [known, fresh] = doubtful.emplace(std::pair(s.l1_offset, s.l1_size), false);
    if (fresh) {
      const ClusterIndex first = geometry().cluster(s.l1_offset);
      const std::uint64_t clusters = geometry().clusters(std::uint64_t{s.l1_size} * sizeof(be64));
      const Others::Sum here = others.within(first, clusters);
      const auto next = disputed.next(first.value);
      const bool unknown = !result_.owners_complete && next && *next < first.value + clusters;
      known->second = here.metadata > 0 || ((here.other > 0 || unknown) && l1_look(s.snapshot).bad > 0);
    }
    if (known->second || (lost_table && s.snapshot >= 0)) first_->dubious.insert(s.snapshot);
  }
}

// L2 tables of different L1 entries name a cluster at the same place within them, and its refcount, if it is known,
// counts them all: they are states' versions of one, and a garbled or exchanged L1 entry names one of them. Which one,
// nothing tells.
void Work::remember_versions() {
  const bool others = result_.states.size() > 1 || !all_snapshots_known(), hidden = refcounts_hidden();
  if (!others || wanted.force || !result_.disk_refcounts) return;
  std::map<std::pair<std::int32_t, std::uint32_t>, std::optional<HostOffset>> tables;  // by state and L1 index
  const auto table_of = [&](const check::Owner& o) {
    const auto [known, fresh] = tables.try_emplace({o.state, o.l1_index});
    if (fresh) known->second = l2_table(o.state, o.l1_index);
    return known->second;
  };
  struct Place {  // in L2 tables
    std::set<std::uint32_t> l1_indices;
    std::set<HostOffset> tables;
  };
  for (auto next = result_.owners.begin(); next != result_.owners.end();) {
    const ClusterIndex cluster = next->cluster;
    const bool known = refcounts().readable(cluster) && !hidden;
    const bool too_low = known && refcounts().get(cluster) < result_.references(cluster);
    std::unordered_map<std::uint32_t, Place> places;
    for (; next != result_.owners.end() && next->cluster == cluster; ++next) {
      if (too_low || next->kind != check::OwnerKind::data) continue;
      const auto table = table_of(*next);
      if (!table) continue;
      Place& place = places[next->l2_index];
      place.l1_indices.insert(next->l1_index);
      place.tables.insert(*table);
    }
    for (const auto& [index, place] : places) {
      if (place.l1_indices.size() < 2 || place.tables.size() < 2) continue;
      for (const HostOffset table : place.tables) first_->versions.insert(geometry().cluster(table).value);
    }
  }
}

// What the plan moves changes what a block should say. Where nobody doubts the table, content isn't asked for.
void Work::remember_blocks() {
  const bool doubted = first_->refcounts_in_doubt || first_->hidden;
  if (!result_.claims || (!doubted && claims().conflict.empty())) return;
  std::size_t left = 1024;  // entries, that a small file can't make for nothing
  const auto& entries = refcounts().entries();
  for (std::uint64_t b = 0; b < entries.size() && left > 0; ++b) {
    if (!entries[b].block) continue;
    --left;
    if (reads_as_block(b)) first_->blocks.insert(b);
  }
}

bool Work::all_snapshots_known() const {
  const bool counted = image_->header.nb_snapshots > 0 || image_->header.snapshots_offset == 0;
  return counted && !check::snapshots_unread(result_);
}

// Each state may have lost one; snapshots that the header doesn't count, or that can't be read, as well.
std::uint64_t Work::references_lost_at_most() const {
  constexpr std::uint64_t uncounted = 64;
  return result_.states.size() + (all_snapshots_known() ? 0 : uncounted);
}

bool Work::reads_as_block(std::uint64_t b) const {
  if (first_->blocks.contains(b)) return true;
  const auto& entries = refcounts().entries();
  return b < entries.size() && entries[b].block &&
         check::reads_as_refcount_block(*image_, result_, b, *entries[b].block, references_lost_at_most());
}

bool Work::reads_as_none(std::uint64_t b) const {
  return !first_->blocks.contains(b) &&
         check::reads_as_none(*image_, result_, b, *refcounts().entries()[b].block, references_lost_at_most());
}

bool Work::was_disputed(ClusterIndex cluster) const {
  return first_->claims && cluster.value < first_->claims->clusters() && first_->claims->conflict.test(cluster.value);
}

void Work::fail(Error error) {
  if (!error_) error_ = std::move(error);
}

std::optional<HostOffset> Work::l1_entry(std::int32_t snapshot, std::uint32_t l1_index) const {
  const image::State* s = state(snapshot);
  if (!s || l1_index >= s->l1_size) return std::nullopt;
  return image::l1_entry_at(*s, l1_index);
}

std::optional<HostOffset> Work::l2_table(std::int32_t snapshot, std::uint32_t l1_index) {
  if (dubious(snapshot)) return std::nullopt;
  const auto at = l1_entry(snapshot, l1_index);
  if (!at) return std::nullopt;
  const HostOffset table(read64(*at) & format::offset_mask);
  return image::possible_place(*image_, table) ? std::optional(table) : std::nullopt;
}

std::vector<std::byte> Work::read(HostOffset at, std::uint64_t bytes) {
  std::vector<std::byte> buffer(bytes);
  if (auto done = image_->file().read(at.value, buffer); !done) fail(done.error());
  return buffer;
}

std::uint64_t Work::read64(HostOffset at) {
  const auto word = image::read_word(image_->file(), at);
  if (!word) fail(word.error());
  return word.value_or(0);
}

std::vector<std::uint64_t> Work::read_words(HostOffset at, std::uint64_t bytes) {
  bytes = std::min(bytes, image_->size() - std::min(image_->size(), at.value));
  auto words = image::read_words(image_->file(), at, bytes / sizeof(be64));
  if (!words) fail(words.error());
  return words ? std::move(*words) : std::vector<std::uint64_t>();
}

const image::TableLook& Work::l1_look(std::int32_t snapshot) {
  const auto [known, fresh] = l1_looks_.try_emplace(snapshot);
  if (const image::State* s = state(snapshot); fresh && s) {
    known->second = image::look_at_l1(*image_, read_words(s->l1_offset, std::uint64_t{s->l1_size} * sizeof(be64)));
  }
  return known->second;
}

const image::TableLook& Work::l2_look(HostOffset table) {
  const auto [known, fresh] = l2_looks_.try_emplace(table);
  if (fresh) known->second = image::look_at_l2(*image_, read_words(table, geometry().cluster_size()));
  return known->second;
}

bool Work::credible(const check::Owner& o) {
  if (o.kind == check::OwnerKind::l2_table) {
    const image::TableLook& look = l2_look(geometry().offset(o.cluster));
    // A refcount table reads as an L2 table without COPIED, and so does a block of the widest refcounts.
    const bool refcounts = std::ranges::any_of(result_.owners_of(o.cluster),
                                               [](const check::Owner& other) { return is_made_anew(other.kind); });
    if ((o.raw & format::l1_reserved_mask) != 0 || !look.speaks_for_itself()) return false;
    return (look.copied > 0 || !refcounts) && !named_elsewhere(o);
  }
  if (check::is_metadata(o.kind)) return true;
  if (!(o.raw & format::compressed_flag) && (o.raw & format::l2_reserved_mask) != 0) return false;
  const auto table = l2_table(o.state, o.l1_index);
  return table && undisputed(*table) && l2_look(*table).is_table();
}

bool Work::named_elsewhere(const check::Owner& table) const {
  return may_be_anothers(geometry().offset(table.cluster)) &&
         std::ranges::any_of(result_.owners_of(table.cluster), [&](const check::Owner& other) {
           return other.kind == table.kind && other.l1_index != table.l1_index;
         });
}

bool Work::contested(HostOffset cluster) {
  if (undisputed(cluster)) return false;
  const auto [known, fresh] = contested_.try_emplace(geometry().cluster(cluster).value);
  if (!fresh) return known->second;
  std::size_t credible_ones = 0;
  const auto owners = result_.owners_of(geometry().cluster(cluster));
  for (const check::Owner& o : owners) credible_ones += credible(o);
  return known->second = credible_ones > 1 || owners.empty();
}

bool Work::undisputed(HostOffset offset) const {
  const std::uint64_t cluster = geometry().cluster(offset).value;
  return offset.value < image_->size() && !claims().conflict.test(cluster) && !stray_l1_.contains(cluster) &&
         !may_be_anothers(offset);
}

// Referred to by nothing, and with no refcount that says otherwise. Behind the end of the file, that of a block which
// is none, or which something else lies on, says nothing: it would let the file grow far beyond its end.
bool Work::unused(std::uint64_t cluster) const {
  const check::Claims& c = claims();
  if (c.dangles(ClusterIndex(cluster), image_->clusters())) return false;
  if (refcounts().get(ClusterIndex(cluster)) != 0) {
    const auto& entry = refcounts().entries()[cluster / refcounts().block_entries()];
    const bool believed = !entry.garbage && undisputed(HostOffset(entry.raw & format::reftable_offset_mask));
    if (believed || cluster < image_->clusters()) return false;
  }
  if (cluster >= c.clusters()) return true;
  if (c.owned.test(cluster) || c.counted(cluster)) return false;
  // On a device. Where refcounts were found too low, others may be as well, and only zeros are proof.
  if (!first_->refcounts_in_doubt || wanted.force) return true;
  std::vector<std::byte> bytes(geometry().cluster_size());
  return base_.read(cluster << geometry().cluster_bits, bytes) && all_zero(bytes);
}

// Entries that lead past the end of a truncated file read as zeros, before as after. But when the file has grown beyond
// them, nothing tells any more that there was data once: a check would call the image good.
void Work::grow_over_lost_data() {
  if (wanted.force || !result_.findings.any(check::Doubt::end)) return;
  growth_refused_ = true;
  fail({EFBIG, "the file must not grow beyond what was cut off"});
}

std::optional<HostOffset> Work::allocate(std::uint64_t clusters) {
  const bool grows = base_.traits().resizable;
  const std::uint64_t last_use = result_.totals.image_end_offset >> geometry().cluster_bits;
  next_ = std::max(next_, grows ? image_->clusters() : last_use);
  const std::uint64_t end = grows ? std::min(image_->clusters() + claims().dangling.size(),
                                             format::max_host_offset >> geometry().cluster_bits)
                                  : base_.size() >> geometry().cluster_bits;
  for (std::uint64_t run = 0; next_ < end;) {
    if (claims().dangles(ClusterIndex(next_), image_->clusters())) grow_over_lost_data();
    if (failed()) return std::nullopt;
    run = unused(next_++) ? run + 1 : 0;
    if (run == clusters) return HostOffset((next_ - clusters) << geometry().cluster_bits);
  }
  fail({ENOSPC,
        fmt::format(
            "there is no room for {} new clusters behind the last one in use (0x{:x}){}{}; nothing was changed",
            clusters, last_use << geometry().cluster_bits,
            !grows && first_->refcounts_in_doubt ? " that hold nothing but zeros, where refcounts are wrong" : "",
            grows ? "" : ": make the device larger, or copy the image to a file")});
  return std::nullopt;
}

void Work::write(Stage stage, HostOffset at, std::span<const std::byte> bytes) {
  if (failed()) return;
  changed_ = true;
  if (auto done = transaction_.write(stage, at.value, bytes); !done) fail(done.error());
}

void Work::copy(HostOffset to, HostOffset from, std::uint64_t bytes) {
  if (failed()) return;
  const bool in_base = from.value + bytes <= round_up(base_.size(), geometry().cluster_size());
  if (!in_base) return write(Stage::fresh, to, read(from, bytes));
  copy_from(Stage::fresh, to, base_, from, bytes);
}

void Work::copy_from(Stage stage, HostOffset to, const File& source, HostOffset from, std::uint64_t bytes) {
  if (failed()) return;
  changed_ = true;
  if (auto done = transaction_.copy(stage, to.value, source, from.value, bytes); !done) fail(done.error());
}

void Work::copy_planned(HostOffset to, HostOffset from, std::uint64_t bytes) {
  write(Stage::fresh, to, read(from, bytes));
}

void Work::punch(HostOffset at, std::uint64_t bytes) {
  changed_ = true;
  transaction_.punch(at.value, bytes);
}

void Work::resize(std::uint64_t bytes) {
  changed_ = true;
  transaction_.resize(bytes);
}

void Work::write64(Stage stage, HostOffset at, std::uint64_t value) {
  const be64 raw(value);
  write(stage, at, std::as_bytes(std::span(&raw, 1)));
}

void Work::put64(Stage stage, HostOffset at, std::uint64_t value, check::Code reason, std::string text, bool lossy) {
  const std::uint64_t before = read64(at);
  if (before == value) return;
  write64(stage, at, value);
  act({reason, lossy, at, sizeof(be64), std::move(text), fmt::format("{:016x}", before),
       fmt::format("{:016x}", value)});
}

void Work::act(Action action) { plan.add(std::move(action)); }

void Work::begin(Step step) {
  step_ = step;
  if (!step) return;
  std::vector<Refusal> kept;
  std::vector<Step> kept_by;
  for (std::size_t i = 0; i < refused_by_.size(); ++i) {
    if (refused_by_[i] == step) continue;
    kept.push_back(std::move(plan.refusals[i]));
    kept_by.push_back(refused_by_[i]);
  }
  plan.refusals = std::move(kept);
  refused_by_ = std::move(kept_by);
}

void Work::refuse(check::Code reason, std::string text) {
  constexpr std::size_t most = 1000;  // more than anybody reads
  const bool said = std::ranges::find(plan.refusals, text, &Refusal::text) != plan.refusals.end();
  if (said || plan.refusals.size() >= most) return;
  plan.refusals.push_back({reason, std::move(text)});
  refused_by_.push_back(step_);
}

void Work::release(HostOffset at, std::uint64_t bytes) {
  if (bytes == 0 || at.value >= image_->size()) return;
  const std::uint64_t end = std::min(at.value + bytes, image_->size());
  std::uint64_t data = 0;  // up to here the file stores nothing
  for (std::uint64_t c = geometry().cluster(at).value; c < geometry().clusters(end); ++c) {
    if (refcounts().get(ClusterIndex(c)) == 0) {  // nothing can fall
      const std::uint64_t from = c << geometry().cluster_bits;
      if (data <= from) data = image_->file().next_data(from);
      if (data >= from + geometry().cluster_size()) continue;
    }
    ++released_[c];
  }
}

bool Work::may_free_leaks() const {
  if (free_leaks_) return true;
  const check::LeakDoubt& doubt = result_.leak_doubt;
  const bool explained = !doubt.forbids_freeing() || (bitmaps_dropped_ && doubt.maybe_bitmap && !doubt.hidden);
  return wanted.leak && (wanted.force || (explained && !lost_));
}

}  // namespace qd::repair
