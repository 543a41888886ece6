#include "report/repair.h"

#include "report/escape.h"
#include "report/json_writer.h"
#include "report/text.h"

namespace qd::report {
namespace {

std::string undo_command(const std::string& path, const RepairReport& repair) {
  return fmt::format("qcow2-dump -m undo -F {} {}", shell_quote(repair.undo_log), shell_quote(path));
}

std::string_view reason(const repair::Plan& plan, const repair::Action& action) {
  return action.reason ? check::problem(*action.reason).name : plan.asked;
}

}  // namespace

void print_plan(Output& out, const RepairReport& repair, const Style& style) {
  const repair::Plan& plan = repair.plan;
  if (!repair.taken_back_by.empty()) {
    out.write(wrap(fmt::format(
        "An earlier repair was interrupted. Its log, {}, {}.", escape(repair.taken_back_by),
        repair.dry_run ? "would take the image back first; this is what would follow" : "took the image back first")));
    out.write("\n");
  }
  out.print("{}{}:\n", plan.title, repair.dry_run ? " plan (a dry run: nothing is written)" : "");
  if (repair.nothing) out.print("  nothing is to be done\n");
  for (const repair::Action& a : plan.actions) {
    const std::string text = escape(a.text), place = fmt::format("{:<14} 0x{:x}", reason(plan, a), a.at.value);
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
  if (repair.dry_run && !repair.nothing) {
    out.print("The image would be {} then; now it is {}.\n", check::status_name(repair.after),
              check::status_name(repair.before));
  }
  out.write("\n");
}

void print_done(Output& out, const std::string& path, const RepairReport& repair) {
  if (repair.dry_run || repair.nothing) return;
  if (repair.bytes_given_back > 0) out.print("{} bytes were given back.\n", repair.bytes_given_back);
  if (repair.punch_refused) out.write("The file system can't make holes in files: free clusters keep their space.\n");
  if (repair.undo_log.empty()) {
    out.write("There is no undo log: this can't be taken back.\n\n");
  } else {
    out.print("To take it back: {}\n\n", undo_command(path, repair));
  }
}

void print_way_back(Output& out, const std::string& path, const RepairReport& repair) {
  // As planned: the check that follows may look further, with -c.
  if (repair.dry_run || repair.undo_log.empty() || repair.after <= repair.before) return;
  out.print("\nBefore this change the image was {}. To take it back:\n  {}\n", check::status_name(repair.before),
            undo_command(path, repair));
}

void write_repair(Json& json, const RepairReport& repair) {
  json.object("repair", [&] {
    json.value("dry-run", repair.dry_run);
    json.array("actions", [&] {
      for (const repair::Action& a : repair.plan.actions) {
        json.object([&] {
          json.value("code", reason(repair.plan, a));
          json.value("class", a.lossy ? "lossy" : "safe");
          json.value("host-offset", a.at.value);
          json.value("bytes", a.bytes);
          if (!a.before.empty()) json.value("before", a.before);
          if (!a.after.empty()) json.value("after", a.after);
          json.value("text", a.text);
        });
      }
    });
    if (repair.plan.unlisted > 0) json.value("actions-unlisted", repair.plan.unlisted);
    json.array("refused", [&] {
      for (const repair::Refusal& r : repair.plan.refusals) {
        json.object([&] {
          json.value("code", check::problem(r.reason).name);
          json.value("text", r.text);
        });
      }
    });
    if (!repair.taken_back_by.empty()) json.value("taken-back-by", repair.taken_back_by);
    json.value("planned-status", check::status_name(repair.after));
    if (!repair.undo_log.empty()) json.value("undo-log", repair.undo_log);
    if (repair.bytes_given_back > 0) json.value("bytes-given-back", repair.bytes_given_back);
  });
}

}  // namespace qd::report
