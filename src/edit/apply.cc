// -A: the tables of a snapshot become the active ones.
//
//   1. If the present tables are damaged, the header points to the snapshot's own L1 table first. From then on this
//      plan sees nothing of the damaged tables, and what they seem to name isn't believed.
//   2. The snapshot's L1 table is copied into fresh space: as many entries as its disk needs. The entries behind those
//      map VM state, which belongs to the snapshot alone.
//   3. The header points to the copy, and takes the snapshot's disk size. Bitmaps say that everything has changed.
//   4. Refcounts and COPIED flags follow, in the same transaction.
//
// With `keep_as`, the present L1 table goes into the snapshot table as it is: nothing is copied, nothing lost.
//
// What only the present tables map becomes free. Clusters that were leaked before become free, too, if they are plain
// leaks, or if the ruined present tables have lost them. They stay if they may belong to another snapshot or to the
// applied one. With `keep_as`, all that look like lost data stay.
#include <algorithm>
#include <charconv>
#include <chrono>

#include "base/checked.h"
#include "base/number.h"
#include "base/text.h"
#include "base/uniform.h"
#include "edit/commands.h"
#include "edit/misplaced.h"
#include "image/lookup.h"
#include "image/walk.h"
#include "repair/snapshot_table.h"
#include "repair/steps.h"
#include "words/sizes.h"

namespace qd::edit {
namespace {

using check::Code;
using repair::Work;

struct Voids {
  bool active = false, snapshot = false;
};

class Applying {
 public:
  Applying(Work& w, const Apply& wanted, std::size_t number)
      : w_(w), wanted_(wanted), number_(number), snapshot_(w.view.image().snapshots.entries[number]) {}

  Result<void> run();

 private:
  Result<void> require_undamaged(std::int32_t state) const;
  Result<void> require_possible() const;
  bool l1_lost() const;
  bool active_damaged() const;
  Voids find_voids() const;
  Result<void> keep_present_state();
  std::string new_id() const;
  void make_active();
  void tell_what_goes() const;
  std::string why_kept(const Voids& voids, bool ruined, bool lost_l1) const;
  void free_leaks(const std::string& why_not);

  Work& w_;
  const Apply& wanted_;
  const std::size_t number_;
  const format::Snapshot snapshot_;  // a copy: the next look replaces the image
  bool misplaced_ = false;           // entries that stay may have named clusters of others
};

bool Applying::l1_lost() const { return w_.view.result().findings.any(check::Doubt::l1_table); }

// Two uses of a cluster count as damage to both.
bool Applying::active_damaged() const {
  const auto disputed = [&](const check::Owner& o) {
    return o.state == check::active_state && w_.doubts.was_disputed(o.cluster);
  };
  return damaged(w_, check::active_state) || l1_lost() || !w_.view.result().owners_complete ||
         std::ranges::any_of(w_.view.result().owners, disputed);
}

// Where active tables or snapshots map nothing though they might: an L2 table is empty, or the active state has none
// where a snapshot has one. That may be right, or the entries were lost.
Voids Applying::find_voids() const {
  Voids found;
  image::walk<Voids>(
      w_.view.image(), w_.view.result().states,
      [&](const image::Group& group, Voids& into) {
        bool active = false, snapshot = false;
        for (const image::Table& table : group.tables) {
          const bool full = !all_zero(table.l2.words());
          for (const image::L1Entry& e : table.entries) {
            if (full) (e.state == 0 ? active : snapshot) = true;
            if (!full && table.offset.value != 0) (e.state == 0 ? into.active : into.snapshot) = true;
          }
        }
        into.active |= snapshot && !active;
      },
      [&](Voids&& part) {
        found.active |= part.active;
        found.snapshot |= part.snapshot;
      });
  return found;
}

Result<void> Applying::require_undamaged(std::int32_t state) const {
  if (w_.wanted.force || !damaged(w_, state)) return {};
  return refused(
      fmt::format("the tables of {} are damaged (-m error -s snapshot[{}] tells where). --force makes them active as "
                  "they are",
                  snapshot_text(w_, number_), number_));
}

Result<void> Applying::require_possible() const {
  if (w_.view.geometry().data_file) {
    return refused("an image with an external data file can't go back: the data there is that of the active disk");
  }
  if (snapshot_.disk_size == 0 && !w_.wanted.force) {
    return refused(fmt::format("{} says that its disk has no bytes. --force believes it", snapshot_text(w_, number_)));
  }
  return require_undamaged(static_cast<std::int32_t>(number_));
}

// As QEMU does: one more than the largest ID. If a snapshot has that as its ID or name, the next one.
std::string Applying::new_id() const {
  const auto& entries = w_.view.image().snapshots.entries;
  std::uint32_t largest = 0;
  for (const format::Snapshot& s : entries) {
    std::uint32_t id = 0;
    std::from_chars(s.id.data(), s.id.data() + s.id.size(), id);
    largest = std::max(largest, id);
  }
  for (std::uint64_t next = std::uint64_t{largest} + 1;; ++next) {
    const std::string id = fmt::format("{}", next);
    if (std::ranges::none_of(entries, [&](const format::Snapshot& s) { return s.id == id || s.name == id; })) return id;
  }
}

Result<void> Applying::keep_present_state() {
  const std::string& name = *wanted_.keep_as;
  const image::SnapshotTable& table = w_.view.image().snapshots;
  constexpr std::size_t longest = 255;  // that QEMU shows
  if (name.empty() || name.size() > longest) {
    return fail(EINVAL, fmt::format("--keep-as wants a name of 1 to {} bytes", longest));
  }
  if (std::ranges::any_of(table.entries, [&](const auto& s) { return s.id == name || s.name == name; })) {
    return fail(EINVAL, fmt::format("--keep-as: there is a snapshot called \"{}\" already", name));
  }
  if (active_damaged()) {
    return refused(
        "--keep-as: the present tables are damaged, and a snapshot of them would be, too. Repair them first, "
        "or copy the image");
  }
  if (table.stop || table.missing > 0 || table.entries.size() >= format::max_snapshots) {
    return refused("--keep-as: the snapshot table has no room, or can't be read to its end (-R error)");
  }
  if (w_.view.count(Code::compressed_copied) > 0) {
    return refused("--keep-as: compressed entries have COPIED, which only -R error takes from the present tables");
  }
  std::vector<repair::SnapshotEntry> entries;
  for (const format::Snapshot& s : table.entries) entries.push_back(repair::read_snapshot(w_, s));

  const format::Header& h = w_.view.image().header;
  using namespace std::chrono;
  const auto now = system_clock::now().time_since_epoch();
  repair::SnapshotEntry kept{};
  kept.raw.l1_table_offset.set(h.l1_table_offset);
  kept.raw.l1_size.set(h.l1_size);
  kept.raw.date_seconds.set(static_cast<std::uint32_t>(duration_cast<seconds>(now).count()));
  kept.raw.date_nanoseconds.set(static_cast<std::uint32_t>(duration_cast<nanoseconds>(now % seconds(1)).count()));
  const format::RawSnapshotExtra extra{be64(0), be64(h.size), be64(~std::uint64_t{0})};  // no instruction count
  const auto bytes = std::as_bytes(std::span(&extra, 1));
  kept.extra.assign(bytes.begin(), bytes.end());
  kept.id = new_id();
  kept.name = name;
  entries.push_back(kept);
  if (!repair::write_snapshots(w_, entries)) return {};
  act(w_, repair::snapshot_field, repair::snapshot_field_bytes,
      fmt::format("the present state is kept as snapshot {} (\"{}\")", kept.id, beginning(name)));
  return {};
}

void Applying::make_active() {
  const format::Header h = w_.view.image().header;
  const std::uint64_t entries = std::max<std::uint64_t>(1, w_.view.geometry().l1_entries_for(snapshot_.disk_size));
  const std::uint64_t bytes = entries * sizeof(be64), clusters = w_.view.geometry().clusters(bytes);
  if (bytes > format::max_l1_bytes) {
    return w_.view.fail(
        {EINVAL, fmt::format("{} wants an L1 table of {} bytes, more than is possible; nothing was changed",
                             snapshot_text(w_, number_), bytes)});
  }
  std::vector<be64> table((clusters << w_.view.geometry().cluster_bits) / sizeof(be64));
  const std::uint64_t known = std::min<std::uint64_t>(entries, snapshot_.l1_size);
  const auto old = w_.view.read(snapshot_.l1_offset, known * sizeof(be64));
  std::ranges::copy(old, std::as_writable_bytes(std::span(table)).begin());
  for (be64& entry : table) entry.set(entry.get() & ~format::copied_flag);
  const auto at = w_.editor.allocate(clusters);
  if (!at) return;
  w_.editor.write(Stage::fresh, *at, std::as_bytes(std::span(table)));
  set_field(w_, format::field::l1_table_offset, at->value);
  set_field(w_, format::field::l1_size, entries);
  set_field(w_, format::field::size, snapshot_.disk_size);
  act(w_, format::field::size.at(), format::field::l1_table_offset.end() - format::field::size.at(),
      fmt::format("{} is made active: L1 table of {} at 0x{:x}, disk of {}{}", snapshot_text(w_, number_),
                  counted(entries, "entry", "entries"), at->value, short_size(snapshot_.disk_size),
                  snapshot_.disk_size == h.size ? "" : fmt::format(" (now {})", short_size(h.size))));
}

// Says which clusters no table leads to afterwards, as far as the damaged tables can be read.
void Applying::tell_what_goes() const {
  const check::StateReport r = w_.view.result().reports.empty() ? check::StateReport{} : w_.view.result().reports[0];
  w_.editor.act(
      {std::nullopt, true, HostOffset(w_.view.image().header.l1_table_offset), 0,
       fmt::format("the present tables are damaged; what they map, {} as far as can be read, and what they have "
                   "mapped becomes unreachable where no snapshot has it, too",
                   counted(r.data_clusters + r.compressed, "cluster", "clusters")),
       "", ""});
}

// Once refcounts have followed the tables: why the leaks that are left must stay; empty if they needn't. `lost_l1`: the
// header has lost the present L1 table.
std::string Applying::why_kept(const Voids& voids, bool ruined, bool lost_l1) const {
  const check::LeakDoubt& doubt = w_.view.result().leak_doubt;
  constexpr std::string_view later = "-R leak frees them, with --force if they look like lost data";
  if (misplaced_) {
    return fmt::format("entries that stay have named clusters of others, so these may be theirs. {}", later);
  }
  if (doubt.hidden || doubt.bitmaps_hidden) {
    return fmt::format("other damage, that stays, may hide whose they are. {}", later);
  }
  if (w_.wanted.force || !doubt.forbids_freeing()) return {};
  const bool of_the_present = (ruined || voids.active) && !voids.snapshot && (lost_l1 || !doubt.lost_snapshot);
  if (of_the_present && !wanted_.keep_as) return {};
  return doubt.evidence + ". --force frees them";
}

void Applying::free_leaks(const std::string& why_not) {
  const std::uint64_t left = w_.view.count(Code::refcount_leak);
  if (left == 0) return;
  if (!why_not.empty()) {
    const std::string count = counted(left, "leaked cluster is", "leaked clusters are");
    return w_.editor.refuse(Code::refcount_leak, fmt::format("{} not freed: {}", count, why_not));
  }
  w_.leaks.free_all();
  settle_refcounts(w_);
}

Result<void> Applying::run() {
  if (auto possible = require_possible(); !possible) return possible;
  const bool ruined = active_damaged(), lost_l1 = l1_lost();
  const Misplaced misplaced = find_misplaced(w_, static_cast<std::int32_t>(number_), wanted_.keep_as.has_value());
  if (misplaced.applied && !w_.wanted.force) {
    return refused(
        fmt::format("the tables of {} name clusters that are others' (-m error tells which). --force makes "
                    "them active as they are",
                    snapshot_text(w_, number_)));
  }
  misplaced_ = misplaced.any;
  const Voids voids = w_.view.count(Code::refcount_leak) > 0 ? find_voids() : Voids();
  if (wanted_.keep_as) {
    if (auto kept = keep_present_state(); !kept) return kept;
  }
  if (!w_.doubts.dubious(check::active_state)) w_.leaks.let_go_since(w_.view.result());
  if (ruined) {
    tell_what_goes();
    set_field(w_, format::field::l1_table_offset, snapshot_.l1_offset.value);
    set_field(w_, format::field::l1_size, snapshot_.l1_size);
    w_.doubts.trust(check::active_state);
    if (!w_.look()) return {};
    // The active state has the snapshot's tables now, so a check says of the active ones what is wrong with both.
    if (auto sound = require_undamaged(check::active_state); !sound) return sound;
  }
  if (w_.view.failed()) return {};
  make_active();
  if (auto done = mark_bitmaps_dirty(w_, snapshot_.disk_size); !done) return done;
  if (!w_.look()) return {};
  // Once refcounts are mended, nothing shows any more that entries have named clusters of others.
  misplaced_ |= w_.view.result().leak_doubt.misplaced;
  settle_refcounts(w_);
  free_leaks(why_kept(voids, ruined, lost_l1));
  repair::clear_marks(w_);
  return {};
}

}  // namespace

Result<void> perform(Work& w, const Apply& apply) {
  if (auto sound = require_sound_tables(w, true); !sound) return sound;
  const auto number = image::find_snapshot(w.view.image(), apply.snapshot);
  if (!number) return tl::unexpected(number.error());
  return Applying(w, apply, *number).run();
}

}  // namespace qd::edit
