// -M, -C: the marks of the header. QEMU opens a corrupt image read-only, and repairs a dirty one by itself.
// Specification: "Header", incompatible_features.
#include <algorithm>

#include "edit/commands.h"

namespace qd::edit {
namespace {

using check::Code;

// An error that isn't a mark itself.
const check::Problem* error_left(const repair::Work& w) {
  const auto rows = check::problems();
  const auto found = std::ranges::find_if(rows, [&](const check::Problem& row) {
    return row.severity == check::Severity::error && row.code != Code::header_corrupt && w.view.count(row.code) > 0;
  });
  return found == rows.end() ? nullptr : &*found;
}

}  // namespace

Result<void> perform(repair::Work& w, const Mark& mark) {
  const format::Header& h = w.view.image().header;
  const std::string_view name = mark.bit == format::incompatible::corrupt ? "corrupt" : "dirty";
  if (h.magic != format::magic || h.version < 3 || w.view.image().header_cut_off()) {
    return fail(EINVAL, fmt::format("{} has no {} bit: {}; nothing was changed", w.view.image().file().path(), name,
                                    h.magic != format::magic || h.version >= 3 ? "it is no qcow2 image"
                                                                               : "version 2 knows no feature bits"));
  }
  const check::Problem* error = error_left(w);
  if (!mark.set && error && !w.wanted.force) {
    return refused(
        fmt::format("the {} bit stays set: not everything is in order ({}, for one). -R all mends what can "
                    "be mended; --force clears the bit all the same",
                    name, error->name));
  }
  const std::uint64_t before = h.incompatible_features, after = mark.set ? before | mark.bit : before & ~mark.bit;
  if (before == after) return {};
  constexpr HostOffset place = format::field::incompatible_features.at();
  w.editor.write64(Stage::mark, place, after);
  act(w, place, sizeof after, fmt::format("{} bit {}", name, mark.set ? "set" : "cleared"),
      fmt::format("{:016x}", before), fmt::format("{:016x}", after));
  return {};
}

}  // namespace qd::edit
