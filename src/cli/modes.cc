#include "cli/modes.h"

#include <algorithm>
#include <array>

#include "render/text/change.h"

namespace qd::cli {
namespace {

using render::Output;
using render::View;
using session::Outcome;

void show_info(Output& out, const Outcome& outcome, const View&) { render::print_info(out, outcome); }

void show_check(Output& out, const Outcome& outcome, const View& view) { render::print_check(out, outcome, view); }

void show_problems(Output& out, const Outcome& outcome, const View& view) {
  View all = view;
  all.problems = true;
  render::print_check(out, outcome, all);
}

void show_undo(Output& out, const Outcome& outcome, const View&) {
  render::print_undo(out, *outcome.path, *outcome.undone);
}

constexpr std::array rows{
    Mode{.name = "info", .show = show_info},
    Mode{.name = "check", .show = show_check},
    Mode{.name = "error", .show = show_problems},
    Mode{.name = "dump", .entries = true, .show = show_problems},
    Mode{.name = "edit", .operands = "OVw", .writes = true, .one_image = true, .show = show_check},
    Mode{.name = "copy", .operands = "OSwF", .writes = true, .one_image = true, .show = show_check},
    Mode{.name = "rebase", .operands = "F", .writes = true, .show = show_check},
    Mode{.name = "undo", .operands = "F", .writes = true, .one_image = true, .show = show_undo},
};

}  // namespace

std::span<const Mode> modes() { return rows; }

const Mode& mode(std::string_view name) { return *std::ranges::find(rows, name, &Mode::name); }

}  // namespace qd::cli
