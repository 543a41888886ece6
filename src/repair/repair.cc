#include "repair/repair.h"

#include <fmt/format.h>

#include <cerrno>

#include "repair/steps.h"

namespace qd::repair {
namespace {

using check::Code;

// One step: it changes the plan, and the image is looked at again if it did.
bool step(Work& w, void (*mend)(Work&)) {
  mend(w);
  const bool changed = w.changed();
  if (changed) w.look();
  return changed && !w.failed();
}

// A disk that can't be read must not be written to: each access may be its last.
bool unreadable(const Work& w) {
  return w.count(Code::l1_unreadable) + w.count(Code::l2_unreadable) + w.count(Code::reftable_unreadable) +
             w.count(Code::refblock_unreadable) > 0;
}

void explain_kept_leaks(Work& w) {
  const std::uint64_t leaked = w.count(Code::refcount_leak);
  if (!w.wanted.leak || leaked == 0) return;
  const check::LeakDoubt& doubt = w.result().leak_doubt;
  std::string text = fmt::format("{} leaked clusters are not freed: ", leaked);
  text += doubt.hidden ? "damage hides references, they may be the data that belongs there"
          : doubt.lost_table ? doubt.evidence : "they may belong to what couldn't be read";
  if (doubt.guest) {
    text += fmt::format("; probably the guest's bytes 0x{:x} to 0x{:x}", doubt.guest->value,
                        doubt.guest->value + doubt.guest_bytes);
  }
  w.refuse(Code::refcount_leak, text + ". --force frees them.");
}

void repair_in_steps(Work& w) {
  const Wanted& wanted = w.wanted;
  if (wanted.error) {
    step(w, mend_header);       // fields agree with each other
    step(w, mend_snapshots);    // all snapshots that can be found are known
    step(w, drop_bad_bitmaps);  // bitmaps can be read, or are gone
    step(w, mend_entries);      // entries are right, or garbage through and through
  }
  bool separated = false;
  if (wanted.reuse) {
    constexpr int rounds = 1000;  // each settles some; without an end in sight, the rest is for another run
    for (int i = 0; i < rounds && step(w, separate_owners); ++i) separated = true;  // one cluster, one owner
  }
  if (wanted.error || wanted.leak || separated) {
    const bool changed = step(w, mend_refcounts);  // references and refcounts agree
    if (wanted.error || changed || separated) step(w, mend_copied);  // and COPIED agrees with them
  }
  if (wanted.error) step(w, clear_marks);
  if (wanted.discard) discard_free_space(w);
  explain_kept_leaks(w);
}

}  // namespace

Result<Repair> plan_repair(const File& image, Transaction& transaction, const Wanted& wanted,
                           const check::Options& options) {
  Work w(image, transaction, wanted, options);
  if (!w.look()) return tl::unexpected(w.error());
  Repair repair;
  repair.before = w.result();
  if (unreadable(w)) {
    return fail(EIO, fmt::format("{} is not repaired: the disk below can't be read everywhere. Copy it (ddrescue) and repair "
                                 "the copy", image.path()));
  }
  if (!w.image().geometry || w.image().header_cut_off() || w.image().header.magic != format::magic) {
    w.refuse(Code::header_magic, "the header is unusable: only -R recover can bring the image back");
  } else {
    repair_in_steps(w);
  }
  if (w.failed()) return tl::unexpected(w.error());
  repair.plan = std::move(w.plan);
  repair.after = w.result();
  return repair;
}

}  // namespace qd::repair
