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
  if (!w.image().geometry || w.image().header_cut_off() || w.image().header.magic != format::magic) {
    return refused("the header is unusable: nothing leads to the tables");
  }
  if (w.image().against_header()) return refused(repair::against_header(w.image()));
  if (w.wanted.force) return {};
  if (const auto doubtful = w.questions_everything()) {
    return refused(fmt::format("{}: what the tables mean depends on this. --force takes the header as it is",
                               check::problem(*doubtful).name));
  }
  const bool others = std::ranges::any_of(
      w.result().states, [&](const image::State& s) { return s.snapshot >= 0 && w.dubious(s.snapshot); });
  if (others || (!active_may_be_ruined && w.dubious(check::active_state))) {
    return refused(
        "an L1 table or the snapshot table lies on other structures, or was overwritten: what it leads to may be "
        "anything. --force goes on");
  }
  return {};
}

Result<void> require_whole_snapshot_table(const Work& w) {
  const image::SnapshotTable& table = w.image().snapshots;
  if (!table.stop && table.missing == 0) return {};
  return refused("the snapshot table can't be read to its end: a new one would lose the rest. -R error first");
}

bool damaged(const Work& w, std::int32_t snapshot) {
  const image::State* state = w.state(snapshot);
  if (!state || w.dubious(snapshot)) return true;
  // A table that has another owner holds somebody else's bytes, perhaps.
  const auto disputed = [&](const check::Owner& o) {
    return o.state == snapshot && check::is_metadata(o.kind) && w.was_disputed(o.cluster);
  };
  return w.result().damaged(static_cast<std::size_t>(state - w.result().states.data())) ||
         std::ranges::any_of(w.result().owners, disputed);
}

void settle_refcounts(Work& w) {
  const HostOffset table = w.refcounts().table_offset();
  w.sum_up();
  repair::mend_counts(w);
  if (w.failed()) return;
  const repair::RefcountSums sums = *w.sums();
  const auto bytes = [&](std::uint64_t clusters) { return short_size(clusters << w.geometry().cluster_bits); };
  if (sums.raised + sums.lowered > 0) {
    const std::string freed = sums.freed == 0
                                  ? ""
                                  : fmt::format("; {} ({}) {} free", counted(sums.freed, "cluster", "clusters"),
                                                bytes(sums.freed), sums.freed == 1 ? "becomes" : "become");
    act(w, table, 0, fmt::format("refcounts: {} rise, {} fall{}", sums.raised, sums.lowered, freed));
  }
  if (sums.lossy > 0) {
    w.act({Code::refcount_leak, true, table, 0,
           fmt::format("{} more ({}) that nothing refers to become free, and may be what a lost table has mapped",
                       counted(sums.lossy, "cluster", "clusters"), bytes(sums.lossy)),
           "", ""});
  }
}

std::string snapshot_text(const Work& w, std::size_t number) {
  const format::Snapshot& s = w.image().snapshots.entries[number];
  return fmt::format("snapshot {} (\"{}\")", beginning(s.id), beginning(s.name));
}

void set_field(Work& w, const format::HeaderField& field, std::uint64_t value) {
  const be64 raw(value);
  w.write(Stage::point, field.at(), std::as_bytes(std::span(&raw, 1)).last(field.bytes));
}

}  // namespace qd::edit
