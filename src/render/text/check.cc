// -m check and -m error: a block for each part of the image, a summary, the verdict. Scripts read the result lines, so
// their shape stays as it is, column by column.
#include <algorithm>

#include "image/lookup.h"
#include "render/blocks.h"
#include "render/text/reused.h"
#include "render/text/text.h"
#include "words/escape.h"
#include "words/sentences.h"
#include "words/sizes.h"

namespace qd::render {
namespace {

using check::Code;
using check::Severity;

class CheckReport {
 public:
  CheckReport(Output& out, const session::Outcome& outcome, const View& view)
      : out_(out),
        outcome_(outcome),
        image_(*outcome.image),
        result_(*outcome.result),
        selection_(view.selection),
        style_(view.style),
        problems_(result_.findings.list(), selection_),
        sentence_(image_, result_),
        list_problems_(view.problems) {}

  void print();

 private:
  void heading(std::string_view name);
  void problems_of(Block block, std::int32_t state = check::no_state);
  void header();
  void active();
  void snapshots();
  void snapshot(std::int32_t number, const format::Snapshot& entry);
  void bitmaps();
  void refcounts();
  void copied();
  void clusters();
  void statistics();
  void summary();
  void kinds();

  void state_result(std::int32_t snapshot);
  void l1_line(const check::StateReport& r) { table_line("L1 Table:", r.l1); }
  void l2_lines(const check::StateReport& r);
  void table_line(std::string_view name, const check::TableCounts& counts);
  void refcount_lines();
  void copied_lines();
  void size_line(std::string_view name, std::uint64_t clusters, std::uint64_t bytes);
  std::uint64_t reused() const;
  bool walked() const { return !result_.reports.empty(); }

  Output& out_;
  const session::Outcome& outcome_;
  const image::Image& image_;
  const check::Report& result_;
  const Selection& selection_;
  const Style& style_;
  const Problems problems_;
  const Sentences sentence_;
  const bool list_problems_;
};

void CheckReport::heading(std::string_view name) {
  out_.write("\n");
  rule(out_, '=');
  out_.print("\n{}\n", name);
  rule(out_, '-');
}

void CheckReport::problems_of(Block block, std::int32_t state) {
  // Problems of the header and of other files are few, and no figure shows them: they are always listed.
  if (!list_problems_ && block != Block::header) return;
  for (const check::Finding* finding : problems_.of(block, state)) {
    const check::Problem& row = check::problem(finding->code);
    const std::string_view label = row.severity == Severity::error  ? "ERROR"
                                   : row.severity == Severity::leak ? "LEAK"
                                                                    : "WARNING";
    const std::string text = wrap(escape(sentence_(*finding), 4096), fmt::format("{} [{}] ", label, row.name), 6);
    out_.write(paint(style_, row.severity == Severity::error ? Color::red : Color::yellow, label));
    out_.write(std::string_view(text).substr(label.size()));
    if (block == Block::clusters) print_reused(out_, image_, result_, *finding, style_);
  }
}

void CheckReport::table_line(std::string_view name, const check::TableCounts& c) {
  out_.print("{:<16}unaligned: {}, invalid: {}, unused: {}, used: {}\n", name, c.unaligned, c.invalid, c.unused,
             c.used);
}

void CheckReport::l2_lines(const check::StateReport& r) {
  table_line("L2 Table:", r.l2);
  out_.print("{:16}new/diff: {}, zero_alloc: {}, zero_plain: {}", "", r.new_entries, r.zero_allocated, r.zero_plain);
  if (r.compressed > 0) out_.print(", compressed: {}", r.compressed);
  out_.write("\n");
}

void CheckReport::size_line(std::string_view name, std::uint64_t clusters, std::uint64_t bytes) {
  out_.print("{:<18}{} [{}]\n", name, clusters, size_text(bytes));
}

void CheckReport::state_result(std::int32_t snapshot) {
  const image::State* found = image::find_state(result_.states, snapshot);
  if (!found || !walked()) return out_.write("\nResult:\nnot read: its L1 table can't be reached\n");
  const check::StateReport& r = result_.reports[static_cast<std::size_t>(found - result_.states.data())];
  out_.write("\nResult:\n");
  l1_line(r);
  l2_lines(r);
  if (snapshot >= 0) size_line("Held alone:", r.alone, r.alone << image_.geometry->cluster_bits);
}

void CheckReport::header() {
  out_.print("File: {}\n", escape(image_.file().path()));
  rule(out_, '-');
  print_header_lines(out_, image_);
  if (!problems_.of(Block::header).empty()) out_.write("\n");
  problems_of(Block::header);
}

void CheckReport::active() {
  heading("Active Snapshot:");
  out_.print("{:<16}[offset: 0x{:x}, len: {}]\n", "L1 Table:", image_.header.l1_table_offset, image_.header.l1_size);
  problems_of(Block::active);
  state_result(check::active_state);
}

void CheckReport::snapshot(std::int32_t number, const format::Snapshot& s) {
  out_.print("\nsnapshot[{}]:    ID: {}, NAME: {}\n", number, short_name(s.id), short_name(s.name));
  out_.print("{:16}DATE: {} UTC, VM_STATE: {}, DISK: {}\n", "", date_text(s.date_seconds), short_size(s.vm_state_size),
             short_size(s.disk_size));
  out_.print("{:<16}[offset: 0x{:x}, len: {}]\n", "L1 Table:", s.l1_offset.value, s.l1_size);
  problems_of(Block::snapshots, number);
  state_result(number);
}

void CheckReport::snapshots() {
  const auto& entries = image_.snapshots.entries;
  const auto whole = problems_.of(Block::snapshots);
  if (entries.empty() && whole.empty() && image_.header.nb_snapshots == 0) return;
  heading("Inactive Snapshot:");
  problems_of(Block::snapshots);
  if (entries.empty()) out_.write("none of them can be read\n");
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const auto number = static_cast<std::int32_t>(i);
    if (selection_.shows(number)) snapshot(number, entries[i]);
  }
}

void CheckReport::bitmaps() {
  if (!image_.bitmaps.extension && problems_.of(Block::bitmaps).empty()) return;
  heading("Bitmaps:");
  print_bitmap_lines(out_, image_);
  problems_of(Block::bitmaps);
}

void CheckReport::refcount_lines() {
  if (!image_.refcounts_readable) return out_.write("not read: nobody knows how wide a refcount is\n");
  table_line("Refcount Table:", result_.refcount_table);
  const check::RefcountCounts& r = result_.refcounts;
  out_.print("{:<16}error: {}, leak: {}, unused: {}, used: {}\n", "Refcount:", r.error, r.leak, r.unused, r.used);
}

void CheckReport::refcounts() {
  heading("Refcount Table:");
  const std::uint64_t bytes = std::uint64_t{image_.header.refcount_table_clusters} << image_.geometry->cluster_bits;
  out_.print("{:<16}[offset: 0x{:x}, len: {}]\n", "Refcount Table:", image_.header.refcount_table_offset, bytes / 8);
  problems_of(Block::refcounts);
  out_.write("\nResult:\n");
  refcount_lines();
}

void CheckReport::copied_lines() {
  const check::StateReport& r = result_.reports.front();
  out_.print("L1 Table ERROR OFLAG_COPIED: {}\nL2 Table ERROR OFLAG_COPIED: {}\n", r.l1_copied_errors,
             r.l2_copied_errors + result_.findings.count(Code::compressed_copied));
}

void CheckReport::copied() {
  heading("COPIED OFLAG:");
  problems_of(Block::copied);
  out_.write("\nResult:\n");
  copied_lines();
}

std::uint64_t CheckReport::reused() const {
  const check::Findings& f = result_.findings;
  return f.errors(check::Subject::reused) + f.errors(check::Subject::data_file_reused);
}

void CheckReport::clusters() {
  heading("Active Cluster:");
  problems_of(Block::clusters);
  if (list_problems_ && !result_.owners_complete && !problems_.of(Block::clusters).empty()) {
    out_.write("There are more users of these clusters than are listed.\n");
  }
  out_.write("\nResult:\n");
  out_.print("Active Cluster: reuse: {}\n", reused());
  statistics();
}

void CheckReport::statistics() {
  const check::Usage& u = result_.usage;
  const unsigned bits = image_.geometry->cluster_bits;
  const auto line = [&](std::string_view name, std::uint64_t clusters) { size_line(name, clusters, clusters << bits); };
  out_.write("\n");
  if (image_.geometry->data_file) line("In Data File:", result_.reports.front().data_clusters);
  line("Active Cluster:", u.active + u.shared);
  line("Inactive Cluster:", u.inactive);
  line("Shared Cluster:", u.shared);
  line("All Used Cluster:", u.used);
  if (!image_.refcounts_readable) return;
  line("Free Cluster:", u.free);
  size_line("Discardable:", image_.geometry->clusters(u.discardable_bytes), u.discardable_bytes);
}

// All states together.
void CheckReport::summary() {
  heading("Summary:");
  out_.print("Active Cluster: reuse: {}\n", reused());
  refcount_lines();
  check::StateReport all;
  for (const check::StateReport& r : result_.reports) all += r;
  l1_line(all);
  l2_lines(all);
  copied_lines();
}

// What was found, by kind: -m check lists no places, but says what there is.
void CheckReport::kinds() {
  if (result_.findings.total() == 0) return;
  out_.write("\n");
  for (const check::Problem& row : check::problems()) {
    const std::uint64_t count = result_.findings.count(row.code);
    if (count > 0) out_.print("{:>15} {}\n", count, row.name);
  }
  const auto elsewhere = [](const check::Finding& f) { return block_of(f) != Block::header; };
  if (!list_problems_ && std::ranges::any_of(result_.findings.list(), elsewhere)) {
    out_.print("Where:          qcow2-dump -m error {}\n", shell_quote(image_.file().path()));
  }
  if (list_problems_ && result_.findings.unlisted() > 0) {
    out_.print("{} more problems are counted here than are listed above.\n", result_.findings.unlisted());
  }
}

void CheckReport::print() {
  header();
  if (walked()) {
    if (selection_.mapping && selection_.active) active();
    if (selection_.mapping && selection_.inactive) snapshots();
    if (selection_.mapping) bitmaps();
    if (selection_.refcounts) refcounts();
    if (selection_.mapping && selection_.active) copied();
    if (selection_.mapping) clusters();
    summary();
  }
  kinds();
  out_.write("\n");
  print_verdict(out_, outcome_, style_);
}

}  // namespace

void print_check(Output& out, const session::Outcome& outcome, const View& view) {
  CheckReport(out, outcome, view).print();
}

}  // namespace qd::render
