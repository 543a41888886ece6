// The JSON document, schema 2: docs/json.md describes every key, and tests hold the documents to it. The same image
// gives the same bytes, so nothing of time or of this run goes in.
#include "render/blocks.h"
#include "render/json/change.h"
#include "render/json/image.h"
#include "render/json/writer.h"
#include "render/text/text.h"
#include "words/escape.h"
#include "words/names.h"
#include "words/sentences.h"

namespace qd::render {
namespace {

constexpr unsigned schema = 2;

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

void write_tables(Json& json, const image::Image& image, const check::Report& result) {
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

void write_states(Json& json, const check::Report& result, const Selection& selection) {
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
    json.optional("found", f.found);
    json.optional("expected", f.expected);
    json.value("count", f.count);
    if (!f.detail.empty()) json.value("detail", f.detail);
    json.value("text", sentence(f));
  });
}

void write_problems(Json& json, const image::Image& image, const check::Report& result, const Selection& selection) {
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

void write_profile(Json& json, const Profile& profile) {
  json.array("profile", [&] {
    for (const Phase& phase : profile.phases()) {
      json.object([&] {
        json.value("phase", phase.name);
        json.value("seconds", phase.seconds);
        json.value("threads-busy", phase.threads());
        json.value("bytes-read", phase.bytes);
        json.value("reads", phase.reads);
        json.value("tables", phase.tables);
        json.value("runs", phase.runs);
        json.value("peak-memory", phase.peak);
      });
    }
  });
}

void write_outcome(Json& json, const session::Outcome& outcome, bool info, const View& view) {
  const image::Image& image = *outcome.image;
  const check::Report& result = *outcome.result;
  if (image.foreign) {
    json.value("format", image.foreign->format);
  } else if (image.ours()) {
    json.value("format", "qcow2");
  }
  json.value("verdict", outcome.verdict->whole_text());
  if (const std::uint64_t n = result.undecompressed(); n > 0) json.value("not-decompressed", n);
  if (const check::LeakDoubt& doubt = result.leak_doubt;
      doubt.lost_table && result.findings.count(check::Code::l2_lost) == 0) {
    json.value("lost-data-suspected", doubt.evidence);
  }
  write_totals(json, result.totals);
  write_image(json, image, result, info);
  if (!result.reports.empty()) {
    write_tables(json, image, result);
    write_usage(json, result.usage);
    if (view.selection.mapping) write_states(json, result, view.selection);
  }
  write_problems(json, image, result, view.selection);
  write_advice(json, *outcome.verdict);
  if (outcome.change) write_change(json, *outcome.change);
  if (outcome.undone) write_undo(json, *outcome.undone);
  if (view.profile) write_profile(json, outcome.profile);
}

}  // namespace

void print_json(Output& out, const session::Outcome& outcome, std::string_view mode, const View& view) {
  const bool failed = outcome.error.has_value();
  {
    Json json(out);
    json.object([&] {
      json.value("schema", schema);
      json.value("tool", "qcow2-dump " QCOW2DUMP_VERSION);
      if (outcome.path) json.value("image", *outcome.path);
      json.value("mode", mode);
      json.value("status", failed ? "failed" : check::status_name(outcome.result->status()));
      json.value("exit-code", static_cast<unsigned>(outcome.exit_code()));
      failed ? json.value("error", outcome.error->message) : write_outcome(json, outcome, mode == "info", view);
    });
  }
  out.write("\n");
}

}  // namespace qd::render
