#include "render/text/change.h"

#include "base/number.h"
#include "render/json/writer.h"
#include "render/text/text.h"
#include "words/escape.h"

namespace qd::render {
namespace {

std::string undo_command(const std::string& path, const std::string& log) {
  return fmt::format("qcow2-dump -m undo -F {} {}", shell_quote(log), shell_quote(path));
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
    out.print("To take it back: {}\n\n", undo_command(path, repair.undo_log));
  }
}

void print_way_back(Output& out, const std::string& path, const RepairReport& repair) {
  // As planned: the check that follows may look further, with -c.
  if (repair.dry_run || repair.undo_log.empty() || repair.after <= repair.before) return;
  out.print("\nBefore this change the image was {}. To take it back:\n  {}\n", check::status_name(repair.before),
            undo_command(path, repair.undo_log));
}

void print_undo(Output& out, const std::string& path, const UndoReport& undo) {
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

namespace {

// What fits into a number is one; the bytes of several fields together stay digits.
void write_bytes(Json& json, const std::string& name, const std::string& hex) {
  if (hex.empty()) return;
  const auto number = hex.size() <= 16 ? parse_number("0x" + hex) : std::nullopt;
  number ? json.value(name, *number) : json.value(name + "-hex", hex);
}

}  // namespace

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
          write_bytes(json, "before", a.before);
          write_bytes(json, "after", a.after);
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

void write_undo(Json& json, const UndoReport& undo) {
  json.object("undo", [&] {
    json.value("dry-run", undo.dry_run);
    json.value("log", undo.log);
    if (!undo.dry_run) json.value("bytes-written", undo.bytes_written);
    if (undo.bytes_cut > 0) json.value("bytes-cut", undo.bytes_cut);
    if (!undo.undo_log.empty()) json.value("undo-log", undo.undo_log);
    if (!undo.amiss.empty()) json.value("amiss", undo.amiss);
  });
}

}  // namespace qd::render
