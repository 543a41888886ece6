#include "render/json/change.h"

#include "base/number.h"

namespace qd::render {
namespace {

// A value of up to 64 bits becomes a number; the bytes of several fields together stay hex digits.
void write_bytes(Json& json, const std::string& name, const std::string& hex) {
  if (hex.empty()) return;
  const auto number = hex.size() <= 16 ? parse_number("0x" + hex) : std::nullopt;
  number ? json.value(name, *number) : json.value(name + "-hex", hex);
}

}  // namespace

void write_change(Json& json, const session::Change& change) {
  json.object("repair", [&] {
    json.value("dry-run", change.dry_run);
    json.array("actions", [&] {
      for (const repair::Action& a : change.plan.actions) {
        json.object([&] {
          json.value("code", change.plan.reason(a));
          json.value("class", a.lossy ? "lossy" : "safe");
          json.value("host-offset", a.at.value);
          json.value("bytes", a.bytes);
          write_bytes(json, "before", a.before);
          write_bytes(json, "after", a.after);
          json.value("text", a.text);
        });
      }
    });
    if (change.plan.unlisted > 0) json.value("actions-unlisted", change.plan.unlisted);
    json.array("refused", [&] {
      for (const repair::Refusal& r : change.plan.refusals) {
        json.object([&] {
          json.value("code", check::problem(r.reason).name);
          json.value("text", r.text);
        });
      }
    });
    if (!change.taken_back_by.empty()) json.value("taken-back-by", change.taken_back_by);
    json.value("planned-status", check::status_name(change.after));
    if (!change.undo_log.empty()) json.value("undo-log", change.undo_log);
    if (change.bytes_given_back > 0) json.value("bytes-given-back", change.bytes_given_back);
  });
}

void write_undo(Json& json, const session::Undone& undo) {
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
