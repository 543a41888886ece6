#include "repair/repair.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>

#include "repair/steps.h"

namespace qd::repair {
namespace {

using check::Code;

// One step: it changes the plan, and the image is looked at again if it did.
bool step(Work& w, Editor::Step mend) {
  w.editor.begin(mend);
  mend(w);
  w.editor.begin(nullptr);
  const bool changed = w.view.outdated();
  if (changed) w.look();
  return changed && !w.view.failed();
}

// Names problems that the steps can mend, but could not mend in this image.
void explain_rest(Work& w) {
  if (const auto n = w.view.count(Code::refcount_overflow); n > 0 && (w.wanted.error || w.wanted.reuse)) {
    w.editor.refuse(
        Code::refcount_overflow,
        fmt::format("{} refcounts stay as they are: there are more references than {} bits can count. Convert the "
                    "image to one with wider refcounts",
                    n, 1u << w.view.geometry().refcount_order));
  }
  for (const check::Problem& row : check::problems()) {
    const bool asked = (row.repair == check::Repair::error && w.wanted.error) ||
                       (row.repair == check::Repair::reuse && w.wanted.reuse) ||
                       (row.repair == check::Repair::leak && w.wanted.leak);
    if (!asked || w.view.count(row.code) == 0) continue;
    if (std::ranges::find(w.editor.plan.refusals, row.code, &Refusal::reason) != w.editor.plan.refusals.end()) continue;
    w.editor.refuse(row.code, fmt::format("{} of them can't be put right before the damage around them is",
                                          w.view.count(row.code)));
  }
}

void explain_kept_leaks(Work& w) {
  const std::uint64_t leaked = w.view.count(Code::refcount_leak);
  if (!w.wanted.leak || leaked == 0) return;
  const check::LeakDoubt& doubt = w.view.result().leak_doubt;
  std::string text = fmt::format("{} leaked clusters are not freed: ", leaked);
  text += doubt.hidden           ? "damage hides references, they may be the data that belongs there"
          : doubt.lost_table     ? doubt.evidence
          : doubt.bitmaps_hidden ? "they may belong to bitmaps that can't be read, which -R error puts right"
                                 : "they may belong to what couldn't be read";
  if (doubt.guest) text += "; " + doubt.guest->text();
  w.editor.refuse(Code::refcount_leak, text + ". --force frees them.");
}

// Afterwards the header's fields agree with each other, entries are right or garbage, and each cluster has one owner.
// What one step mends may let another one go on: once a garbage entry is mended, it no longer misleads about how data
// was compressed.
bool mend_mapping(Work& w) {
  constexpr int most = 64;  // without an end in sight, the rest is for another run
  bool any = false;
  for (int i = 0; i < most && !w.view.failed(); ++i) {
    const bool agreed = w.wanted.error && step(w, mend_header);
    const bool mended = w.wanted.error && step(w, mend_entries);
    const bool moved = w.wanted.reuse && step(w, separate_owners);
    if (!agreed && !mended && !moved) break;
    any = true;
  }
  return any;
}

// Afterwards all snapshots that can be found are known, and bitmaps can be read or are gone. Returns whether anything
// changed.
bool mend_lists(Work& w) {
  constexpr int most = 4;  // a right count of bitmaps may show more of them
  if (!w.wanted.error) return false;
  bool changed = step(w, mend_snapshots);
  for (int i = 0; i < most && step(w, drop_bad_bitmaps); ++i) changed = true;
  return changed;
}

// Refcounts that are made anew elsewhere leave their clusters to the other owners, one of which may be the snapshot
// table. And in a file that has become longer, entries that had no meaning get one. So the earlier steps run again.
void mend_all(Work& w) {
  constexpr int most = 8;
  mend_lists(w);
  mend_mapping(w);
  mend_counts(w);
  for (int i = 1; i < most; ++i) {
    const bool listed = mend_lists(w), mapped = mend_mapping(w);
    if (!listed && !mapped) break;
    mend_counts(w);
  }
}

void repair_in_steps(Work& w) {
  const Wanted& wanted = w.wanted;
  if (wanted.error || wanted.leak || wanted.reuse) mend_all(w);
  if (wanted.error) step(w, clear_marks);
  if (wanted.discard) step(w, discard_free_space);
  if (step(w, clear_unknown_features)) mend_counts(w);  // what an unknown feature may have claimed is nobody's any more
  explain_kept_leaks(w);
  explain_rest(w);
}

// A wrong length makes the snapshot table too long, so that it lies on whatever is behind it. Is all well once the
// length is put right?
bool shortens_snapshot_table(Work& w) {
  return w.wanted.error && step(w, mend_snapshot_lengths) && w.look_anew() && !w.doubts.any_dubious();
}

// Nothing at all is done to an image that would have to grow over what was cut off.
void explain_growth(Work& w) {
  w.editor.refuse(
      Code::l2_past_end,
      fmt::format("entries lead past the end of the file (0x{:x}), where their data was before it was cut off, and "
                  "the repair needs room there: behind it they would read as zeros, and nothing would tell that "
                  "there was data. Bring the rest of the file back first; --force repairs without it",
                  w.view.image().file().size()));
  explain_kept_leaks(w);
  explain_rest(w);
}

}  // namespace

// A second round frees what was kept while damage hid references. And a file that has become longer may have reached
// places that entries name: these need refcounts, too.
void mend_counts(Work& w) {
  constexpr int most = 4;
  bool changed = false;
  for (int i = 0; i < most && step(w, mend_refcounts); ++i) changed = true;
  if (w.wanted.error || w.wanted.reuse || changed) step(w, mend_copied);
}

std::string unreadable_disk(const std::string& path) {
  return fmt::format(
      "{} is not written to: the disk below can't be read everywhere. Copy it (ddrescue) and go on with "
      "the copy",
      path);
}

std::string against_header(const image::Image& image) {
  return fmt::format(
      "the header's cluster size is another one, and whoever else opens the image goes by that. -m edit -O "
      "header.cluster_bits -V {} first",
      image.geometry->cluster_bits);
}

Result<Planned> plan_repair(const File& image, const image::Hints& hints, Transaction& transaction,
                            const Wanted& wanted, const check::Settings& options) {
  Work w(image, hints, transaction, wanted, options);
  if (!w.look()) return tl::unexpected(w.view.error());
  Planned repair;
  repair.before = w.view.result().status();
  if (w.view.unreadable()) return fail(EIO, unreadable_disk(image.path()));
  if (!w.view.image().geometry || w.view.image().header_cut_off() || w.view.image().header.magic != format::magic) {
    w.editor.refuse(Code::header_magic, "the header is unusable: what it should say must be put right first");
  } else if (w.view.image().against_header()) {
    w.editor.refuse(Code::header_cluster_bits, against_header(w.view.image()));
  } else if (const auto doubtful = w.view.questions_everything(); doubtful && !wanted.force) {
    w.editor.refuse(*doubtful,
                    "what the tables mean depends on this; nothing is changed before it is settled. --force repairs "
                    "what the header says, as it is");
  } else if (w.doubts.any_dubious() && !wanted.force && !shortens_snapshot_table(w)) {
    w.editor.refuse(
        Code::metadata_overlap,
        "an L1 table or the snapshot table lies on other structures, or was overwritten: what it seems to map may be "
        "anything, so nothing is changed before its place or its size is put right. --force "
        "repairs the rest");
  } else {
    repair_in_steps(w);
  }
  if (w.editor.growth_refused()) {
    transaction.forget();
    Work untouched(image, hints, transaction, wanted, options);
    if (!untouched.look()) return tl::unexpected(untouched.view.error());
    explain_growth(untouched);
    repair.plan = std::move(untouched.editor.plan);
    repair.after = repair.before;
    repair.hints = hints;
    return repair;
  }
  if (w.view.failed()) return tl::unexpected(w.view.error());
  repair.plan = std::move(w.editor.plan);
  repair.after = w.view.result().status();
  repair.hints = w.view.image().hints();
  return repair;
}

}  // namespace qd::repair
