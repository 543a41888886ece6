// What -A and -D share: when tables can be changed at all, and how refcounts follow them.
#include <algorithm>

#include "base/checked.h"
#include "base/number.h"
#include "base/text.h"
#include "edit/commands.h"
#include "repair/steps.h"
#include "words/sizes.h"

namespace qd::edit {

using check::Code;
using repair::Work;

Result<void> require_sound_tables(const Work& w, bool active_may_be_ruined) {
  if (!w.view.image().geometry || w.view.image().header_cut_off() || w.view.image().header.magic != format::magic) {
    return refused("the header is unusable: nothing leads to the tables");
  }
  if (w.view.image().against_header()) return refused(repair::against_header(w.view.image()));
  if (w.wanted.force) return {};
  if (const auto doubtful = w.view.questions_everything()) {
    return refused(fmt::format("{}: what the tables mean depends on this. --force takes the header as it is",
                               check::problem(*doubtful).name));
  }
  const bool others = std::ranges::any_of(
      w.view.result().states, [&](const image::State& s) { return s.snapshot >= 0 && w.doubts.dubious(s.snapshot); });
  if (others || (!active_may_be_ruined && w.doubts.dubious(check::active_state))) {
    return refused(
        "an L1 table or the snapshot table lies on other structures, or was overwritten: what it leads to may be "
        "anything. --force goes on");
  }
  return {};
}

Result<void> require_whole_snapshot_table(const Work& w) {
  const image::SnapshotTable& table = w.view.image().snapshots;
  if (!table.stop && table.missing == 0) return {};
  return refused("the snapshot table can't be read to its end: a new one would lose the rest. -R error first");
}

bool damaged(const Work& w, std::int32_t snapshot) {
  const image::State* state = w.view.state(snapshot);
  if (!state || w.doubts.dubious(snapshot)) return true;
  // If the table's cluster has another owner, it may hold that owner's bytes.
  const auto disputed = [&](const check::Owner& o) {
    return o.state == snapshot && check::is_metadata(o.kind) && w.doubts.was_disputed(o.cluster);
  };
  return w.view.result().damaged(static_cast<std::size_t>(state - w.view.result().states.data())) ||
         std::ranges::any_of(w.view.result().owners, disputed);
}

void settle_refcounts(Work& w) {
  const HostOffset table = w.view.refcounts().table_offset();
  w.editor.sum_up();
  repair::mend_counts(w);
  if (w.view.failed()) return;
  const repair::RefcountSums sums = *w.editor.sums();
  const auto bytes = [&](std::uint64_t clusters) { return short_size(clusters << w.view.geometry().cluster_bits); };
  if (sums.raised + sums.lowered > 0) {
    const std::string freed = sums.freed == 0
                                  ? ""
                                  : fmt::format("; {} ({}) {} free", counted(sums.freed, "cluster", "clusters"),
                                                bytes(sums.freed), sums.freed == 1 ? "becomes" : "become");
    act(w, table, 0, fmt::format("refcounts: {} rise, {} fall{}", sums.raised, sums.lowered, freed));
  }
  if (sums.lossy > 0) {
    w.editor.act(
        {Code::refcount_leak, true, table, 0,
         fmt::format("{} more ({}) that nothing refers to become free, and may be what a lost table has mapped",
                     counted(sums.lossy, "cluster", "clusters"), bytes(sums.lossy)),
         "", ""});
  }
}

std::string snapshot_text(const Work& w, std::size_t number) {
  const format::Snapshot& s = w.view.image().snapshots.entries[number];
  return fmt::format("snapshot {} (\"{}\")", beginning(s.id), beginning(s.name));
}

void set_field(Work& w, const format::HeaderField& field, std::uint64_t value) {
  const be64 raw(value);
  w.editor.write(Stage::point, field.at(), std::as_bytes(std::span(&raw, 1)).last(field.bytes));
}

}  // namespace qd::edit
