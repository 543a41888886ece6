// -m dump: every entry of every table, in the line shapes that people grep for. Rendered in parallel, written in order,
// without ever holding more than a few batches.
#include "render/dump/mapping.h"
#include "render/dump/refcounts.h"
#include "render/render.h"
#include "render/text/text.h"
#include "words/escape.h"

namespace qd::render {
namespace {

void begin_section(Output& out, std::string_view heading) {
  out.print("{}\n", heading);
  rule(out, '-');
}

void end_section(Output& out) {
  out.write("\n");
  rule(out, '=');
  out.write("\n");
}

void print_state(Output& out, const image::Image& image, const check::Report& result, const image::State& state,
                 const DumpOptions& options) {
  std::uint64_t l1_offset = image.header.l1_table_offset, l1_size = image.header.l1_size;
  if (state.snapshot < 0) {
    begin_section(out, "Active Snapshot:");
  } else {
    const format::Snapshot& snapshot = image.snapshots.entries[static_cast<std::size_t>(state.snapshot)];
    begin_section(out, "Inactive Snapshot:");
    out.print("snapshot[{}]:    ID: {}, NAME: {}\n", state.snapshot, short_name(snapshot.id),
              short_name(snapshot.name));
    l1_offset = snapshot.l1_offset.value;
    l1_size = snapshot.l1_size;
  }
  out.print("{:<16}[offset: 0x{:x}, len: {}]\n\n", "L1 Table:", l1_offset, l1_size);
  dump_mapping(out, image, result, state, options);
  end_section(out);
}

void print_refcounts(Output& out, const image::Image& image, const check::Report& result) {
  begin_section(out, "Refcount Table:");
  out.print("{:<16}[offset: 0x{:x}, len: {}]\n\n", "Refcount Table:", image.header.refcount_table_offset,
            result.disk_refcounts->table_bytes() / sizeof(std::uint64_t));
  if (image.refcounts_readable) dump_refcounts(out, image, result);
  end_section(out);
}

}  // namespace

void print_entries(Output& out, session::Outcome& outcome, const View& view) {
  const image::Image& image = *outcome.image;
  const check::Report& result = *outcome.result;
  const ProfilePart part(&outcome.profile, image.file());
  part.phase("dumping");
  for (const image::State& state : result.states) {
    const bool shown = view.selection.mapping && view.selection.shows(state.snapshot);
    if (shown) print_state(out, image, result, state, {.flags = view.flags, .profile = &outcome.profile});
  }
  if (view.selection.refcounts && result.disk_refcounts) print_refcounts(out, image, result);
}

}  // namespace qd::render
