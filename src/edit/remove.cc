// -D, -E: a new snapshot table without the removed entries. What only they have used becomes free: each refcount falls
// by the references that are gone, and no further. So leaks stay leaks, and references that damage hides stay counted.
//
// The tables of a damaged entry aren't trusted. With --force the entry is removed without a look at them, and the
// clusters that it used stay behind as leaks.
#include <algorithm>
#include <set>

#include "edit/commands.h"
#include "image/lookup.h"
#include "repair/snapshot_table.h"

namespace qd::edit {
namespace {

using repair::Work;
using Numbers = std::set<std::size_t>;

Result<Numbers> chosen(const image::Image& image, const Remove& wanted) {
  Numbers all;
  for (std::size_t i = 0; i < image.snapshots.entries.size(); ++i) all.insert(i);
  const std::string everything = wanted.all_but ? "0" : "all";
  if (wanted.snapshot == everything) {
    const auto called = [&](const format::Snapshot& s) { return s.id == everything || s.name == everything; };
    if (std::ranges::none_of(image.snapshots.entries, called)) return all;
    return fail(EINVAL, fmt::format("\"{}\" means all snapshots, and one is called so; say which with snapshot[N]",
                                    everything));
  }
  const auto number = image::find_snapshot(image, wanted.snapshot);
  if (!number) return tl::unexpected(number.error());
  if (!wanted.all_but) return Numbers{*number};
  all.erase(*number);
  return all;
}

// Writes the table without the entries of `gone`.
bool write_without(Work& w, const Numbers& gone) {
  std::vector<repair::SnapshotEntry> entries;
  const auto& table = w.view.image().snapshots.entries;
  for (std::size_t i = 0; i < table.size(); ++i) {
    if (!gone.contains(i)) entries.push_back(repair::read_snapshot(w, table[i]));
  }
  return repair::write_snapshots(w, entries).has_value();
}

// Checks the image without its damaged entries. What is referred to here, and isn't at the end, is let go; what the
// damaged entries refer to is not among it. This takes a plan of its own, since the real one needs only one new
// snapshot table.
Result<check::Report> check_without(Work& w, const Numbers& gone) {
  Transaction aside(w.view.image().file());
  Work other(w.view.image().file(), w.view.image().hints(), aside, w.wanted,
             {.decompress = false, .backing_chain = false});
  if (other.look() && write_without(other, gone) && other.look()) return other.view.result();
  return tl::unexpected(other.view.error());
}

void tell(Work& w, const Numbers& gone, const Numbers& broken) {
  for (const std::size_t number : gone) {
    const HostOffset at = w.view.image().snapshots.entries[number].at;
    const std::uint64_t bytes = w.view.image().snapshots.entries[number].bytes;
    if (!broken.contains(number)) {
      act(w, at, bytes, snapshot_text(w, number) + " removed");
      continue;
    }
    w.editor.act({std::nullopt, true, at, bytes,
                  snapshot_text(w, number) +
                      " removed without its damaged tables: the clusters that only it has used stay "
                      "behind as leaks",
                  "", ""});
  }
}

}  // namespace

Result<void> perform(Work& w, const Remove& remove) {
  if (auto sound = require_sound_tables(w, false); !sound) return sound;
  if (auto whole = require_whole_snapshot_table(w); !whole) return whole;
  const auto gone = chosen(w.view.image(), remove);
  if (!gone) return tl::unexpected(gone.error());
  if (gone->empty()) return {};
  Numbers broken;
  std::string names;
  for (const std::size_t number : *gone) {
    if (!damaged(w, static_cast<std::int32_t>(number))) continue;
    broken.insert(number);
    names += (names.empty() ? "" : ", ") + snapshot_text(w, number);
  }
  if (!broken.empty() && !w.wanted.force) {
    return refused(
        fmt::format("the tables of {} are damaged: what they seem to use may be others'. --force removes the "
                    "entry, and leaves its clusters behind as leaks",
                    names));
  }
  if (broken.empty()) {
    w.leaks.let_go_since(w.view.result());
  } else {
    auto before = check_without(w, broken);
    if (!before) return tl::unexpected(before.error());
    w.leaks.let_go_since(std::move(*before));
    w.leaks.release(HostOffset(w.view.image().header.snapshots_offset), w.view.image().snapshots.bytes);
  }
  tell(w, *gone, broken);
  if (write_without(w, *gone) && w.look()) settle_refcounts(w);
  return {};
}

}  // namespace qd::edit
