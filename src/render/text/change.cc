#include "render/text/change.h"

#include "render/text/text.h"
#include "words/escape.h"

namespace qd::render {
namespace {

std::string undo_command(const std::string& path, const std::string& log) {
  return fmt::format("qcow2-dump -m undo -F {} {}", shell_quote(log), shell_quote(path));
}

}  // namespace

void print_plan(Output& out, const session::Change& change, const Style& style) {
  const repair::Plan& plan = change.plan;
  if (!change.taken_back_by.empty()) {
    out.write(wrap(fmt::format(
        "An earlier repair was interrupted. Its log, {}, {}.", escape(change.taken_back_by),
        change.dry_run ? "would take the image back first; this is what would follow" : "took the image back first")));
    out.write("\n");
  }
  out.print("{}{}:\n", plan.title, change.dry_run ? " plan (a dry run: nothing is written)" : "");
  if (change.nothing) out.print("  nothing is to be done\n");
  for (const repair::Action& a : plan.actions) {
    const std::string text = escape(a.text), place = fmt::format("{:<14} 0x{:x}", plan.reason(a), a.at.value);
    constexpr std::size_t column = 36;
    const std::string gap(place.size() < column - 8 ? column - 8 - place.size() : 1, ' ');
    const bool fits = 8 + place.size() + gap.size() + text.size() <= text_width;
    out.print("  {} {}{}\n", a.lossy ? paint(style, Color::red, "lossy") : "safe ", place, fits ? gap + text : "");
    if (!fits) out.write(wrap(text, std::string(8, ' ')));
    if (!a.before.empty() && a.before.size() > 2) out.print("        {} -> {}\n", a.before, a.after);
  }
  if (plan.unlisted > 0) out.print("  and {} more, not listed\n", plan.unlisted);
  if (!plan.refusals.empty()) out.print("Not done:\n");
  for (const repair::Refusal& r : plan.refusals) {
    out.write(wrap(escape(r.text), fmt::format("  {}: ", check::problem(r.reason).name)));
  }
  if (change.dry_run && !change.nothing) {
    out.print("The image would be {} then; now it is {}.\n", check::status_name(change.after),
              check::status_name(change.before));
  }
  out.write("\n");
}

void print_done(Output& out, const std::string& path, const session::Change& change) {
  if (change.dry_run || change.nothing) return;
  if (change.bytes_given_back > 0) out.print("{} bytes were given back.\n", change.bytes_given_back);
  if (change.punch_refused) out.write("The file system can't make holes in files: free clusters keep their space.\n");
  if (change.undo_log.empty()) {
    out.write("There is no undo log: this can't be taken back.\n\n");
  } else {
    out.print("To take it back: {}\n\n", undo_command(path, change.undo_log));
  }
}

void print_way_back(Output& out, const std::string& path, const session::Change& change) {
  // Both states are the plan's: the check that follows may look further, with -c.
  if (change.dry_run || change.undo_log.empty() || change.after <= change.before) return;
  out.print("\nBefore this change the image was {}. To take it back:\n  {}\n", check::status_name(change.before),
            undo_command(path, change.undo_log));
}

void print_undo(Output& out, const std::string& path, const session::Undone& undo) {
  const std::string name = escape(path), amiss = escape(undo.amiss);
  if (undo.dry_run) {
    const std::string cut = undo.bytes_cut > 0 ? fmt::format(" ({} bytes are cut off)", undo.bytes_cut) : "";
    out.print("{} would be taken back {}{}; nothing was written\n", name,
              amiss.empty() ? "to what it was" : "by force, though " + amiss, cut);
  } else if (amiss.empty()) {
    out.print("{} is what it was before ({} bytes written back).\n", name, undo.bytes_written);
  } else {
    out.print(
        "{} was taken back by force ({} bytes written back), and may be neither what it was before nor what it was "
        "since: {}. Check it.\n",
        name, undo.bytes_written, amiss);
  }
  if (!undo.undo_log.empty()) out.print("To take that back: {}\n", undo_command(path, undo.undo_log));
}

}  // namespace qd::render
