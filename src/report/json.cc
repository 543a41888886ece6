// The JSON document, schema 1. The same image gives the same bytes, so nothing of time or of this run goes in.
#include <cerrno>

#include "advice/advice.h"
#include "report/blocks.h"
#include "report/escape.h"
#include "report/json_image.h"
#include "report/json_writer.h"
#include "report/profile.h"
#include "report/repair.h"
#include "report/sentences.h"
#include "report/text.h"

namespace qd::report {
namespace {

constexpr unsigned schema = 1;

void write_totals(Json& json, const check::Totals& t) {
  json.object("totals", [&] {
    json.value("corruptions", t.corruptions);
    json.value("leaks", t.leaks);
    json.value("check-errors", t.check_errors);
    json.value("image-end-offset", t.image_end_offset);
    json.value("total-clusters", t.total_clusters);
    json.value("allocated-clusters", t.allocated_clusters);
    json.value("fragmented-clusters", t.fragmented_clusters);
    json.value("compressed-clusters", t.compressed_clusters);
  });
}

void write_table(Json& json, std::string_view name, const check::TableCounts& c) {
  json.object(name, [&] {
    json.value("unaligned", c.unaligned);
    json.value("invalid", c.invalid);
    json.value("unused", c.unused);
    json.value("used", c.used);
  });
}

void write_tables(Json& json, const image::Image& image, const check::Result& result) {
  check::StateReport all;
  for (const check::StateReport& r : result.reports) all += r;
  json.object("tables", [&] {
    write_table(json, "l1", all.l1);
    write_table(json, "l2", all.l2);
    if (!image.refcounts_readable) return;
    write_table(json, "refcount-table", result.refcount_table);
    json.object("refcount", [&] {
      json.value("error", result.refcounts.error);
      json.value("leak", result.refcounts.leak);
      json.value("unused", result.refcounts.unused);
      json.value("used", result.refcounts.used);
    });
  });
}

void write_usage(Json& json, const check::Usage& u) {
  json.object("usage", [&] {
    json.value("active", u.active);
    json.value("shared", u.shared);
    json.value("inactive", u.inactive);
    json.value("used", u.used);
    json.value("free", u.free);
    json.value("discardable-bytes", u.discardable_bytes);
  });
}

std::string state_name(std::int32_t state) {
  return state < 0 ? std::string("active") : fmt::format("snapshot[{}]", state);
}

void write_states(Json& json, const check::Result& result, const Selection& selection) {
  json.array("states", [&] {
    for (std::size_t i = 0; i < result.reports.size(); ++i) {
      if (!selection.shows(result.states[i].snapshot)) continue;
      const check::StateReport& r = result.reports[i];
      json.object([&] {
        json.value("state", state_name(result.states[i].snapshot));
        write_table(json, "l1", r.l1);
        write_table(json, "l2", r.l2);
        json.value("zero-allocated", r.zero_allocated);
        json.value("zero-plain", r.zero_plain);
        json.value("compressed", r.compressed);
        json.value("new", r.new_entries);
        json.value("l1-copied-errors", r.l1_copied_errors);
        json.value("l2-copied-errors", r.l2_copied_errors);
        json.value("data-clusters", r.data_clusters);
        json.value("alone", r.alone);
      });
    }
  });
}

std::optional<std::string> hex(std::optional<std::uint64_t> value) {
  if (!value) return std::nullopt;
  return fmt::format("0x{:x}", *value);
}

void write_problem(Json& json, const Sentences& sentence, const check::Finding& f) {
  const check::Problem& row = check::problem(f.code);
  json.object([&] {
    json.value("code", row.name);
    json.value("severity", severity_name(row.severity));
    json.value("repair", check::repair_name(row.repair));
    if (f.host) json.value("host-offset", f.host->value);
    if (f.guest) json.value("guest-offset", f.guest->value);
    json.optional("l1-index", f.l1_index);
    json.optional("l2-index", f.l2_index);
    json.optional("index", f.index);
    if (f.state >= 0) json.value("snapshot", state_name(f.state));
    json.optional("found", hex(f.found));
    json.optional("expected", hex(f.expected));
    json.value("count", f.count);
    if (!f.detail.empty()) json.value("detail", f.detail);
    json.value("text", sentence(f));
  });
}

void write_problems(Json& json, const image::Image& image, const check::Result& result, const Selection& selection) {
  const Sentences sentence(image, result);
  json.array("problems", [&] {
    for (const check::Finding& finding : result.findings.list()) {
      if (shows(selection, finding)) write_problem(json, sentence, finding);
    }
  });
  if (result.findings.unlisted() > 0) json.value("problems-unlisted", result.findings.unlisted());
}

void write_advice(Json& json, const advice::Verdict& verdict) {
  json.array("advice", [&] {
    for (const advice::Advice& advice : verdict.advice) {
      json.object([&] {
        json.value("text", advice.text);
        if (!advice.command.empty()) json.value("command", command_line(advice.command));
        if (!advice.loses.empty()) json.value("loses", advice.loses);
      });
    }
  });
}

}  // namespace

void print_json(Output& out, const image::Image& image, const check::Result& result, const Selection& selection,
                const std::string& mode, const RepairReport* repair, const Profile* profile) {
  const advice::Verdict verdict = advice::judge(image, result);
  {
    Json json(out);
    json.object([&] {
      json.value("schema", schema);
      json.value("image", image.file().path());
      json.value("mode", mode);
      json.value("status", check::status_name(result.status()));
      json.value("exit-code", static_cast<unsigned>(result.status()));
      json.value("verdict", verdict.text);
      write_totals(json, result.totals);
      write_image(json, image, result, mode == "info");
      if (!result.reports.empty()) {
        write_tables(json, image, result);
        write_usage(json, result.usage);
        if (selection.mapping) write_states(json, result, selection);
      }
      if (mode != "info") write_problems(json, image, result, selection);
      write_advice(json, verdict);
      if (repair) write_repair(json, *repair);
      if (profile) write_profile(json, *profile);
    });
  }
  out.write("\n");
}

void print_json_note(Output& out, const std::string& path, const std::string& mode, const std::string& text) {
  {
    Json json(out);
    json.object([&] {
      json.value("schema", schema);
      json.value("image", path);
      json.value("mode", mode);
      json.value("exit-code", 0u);
      json.value("text", text);
    });
  }
  out.write("\n");
}

void print_json_failure(Output& out, const std::string& path, const std::string& mode, const Error& error) {
  {
    Json json(out);
    json.object([&] {
      json.value("schema", schema);
      json.value("image", path);
      json.value("mode", mode);
      json.value("status", "failed");
      json.value("exit-code", 256u - static_cast<unsigned>(error.number == 0 ? EIO : error.number));
      json.value("error", error.message);
    });
  }
  out.write("\n");
}

}  // namespace qd::report
