#include "dump/dump.h"

#include "dump/mapping.h"
#include "dump/refcounts.h"
#include "report/text.h"
#include "words/escape.h"

namespace qd::dump {
namespace {

void begin_section(report::Output& out, std::string_view heading) {
  out.print("{}\n", heading);
  report::rule(out, '-');
}

void end_section(report::Output& out) {
  out.write("\n");
  report::rule(out, '=');
  out.write("\n");
}

void print_state(report::Output& out, const image::Image& image, const check::Result& result, const image::State& state,
                 const Options& options) {
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

void print_refcounts(report::Output& out, const image::Image& image, const check::Result& result) {
  begin_section(out, "Refcount Table:");
  out.print("{:<16}[offset: 0x{:x}, len: {}]\n\n", "Refcount Table:", image.header.refcount_table_offset,
            result.disk_refcounts->table_bytes() / sizeof(std::uint64_t));
  if (image.refcounts_readable) dump_refcounts(out, image, result);
  end_section(out);
}

}  // namespace

void print_dump(report::Output& out, const image::Image& image, const check::Result& result,
                const report::Selection& selection, const Options& options, const report::Style& style) {
  if (selection.mapping) {
    for (const image::State& state : result.states) {
      if (selection.shows(state.snapshot)) print_state(out, image, result, state, options);
    }
  }
  if (selection.refcounts && result.disk_refcounts) print_refcounts(out, image, result);
  report::print_check(out, image, result, selection, true, style);
}

}  // namespace qd::dump
