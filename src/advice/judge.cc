// The verdict. Two rules stand above all others: never advise to free what may be the only copy of somebody's data, and
// never advise a repair while another process, or a dying disk, changes the image below it.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "advice/advice.h"
#include "advice/evidence.h"
#include "base/number.h"
#include "check/claims.h"
#include "repair/repair.h"

namespace qd::advice {

using check::Code;
using check::Doubt;
using check::Repair;
using check::Severity;
using check::Status;
using check::Subject;

namespace {

// The words for one error and for several. If `many` is empty, the number isn't said.
struct Words {
  std::string_view one, many;
  bool operator==(const Words&) const = default;
};

// Subjects that are one thing for the reader have the same words, and are neighbours in the enum.
Words words(Subject subject) {
  switch (subject) {
    case Subject::end:
      return {"its end cut off", ""};
    case Subject::file:
      return {"error in the file", "errors in the file"};
    case Subject::header:
      return {"error in the header", "errors in the header"};
    case Subject::l1:
    case Subject::l2:
      return {"error in the L1 and L2 tables", "errors in the L1 and L2 tables"};
    case Subject::compressed:
      return {"error in compressed data", "errors in compressed data"};
    case Subject::data_map:
    case Subject::data_file_reused:
      return {"error in the map of the data file", "errors in the map of the data file"};
    case Subject::refcount_table:
      return {"error in the refcount table", "errors in the refcount table"};
    case Subject::snapshots:
      return {"error in the snapshot table", "errors in the snapshot table"};
    case Subject::bitmaps:
      return {"error in the bitmaps", "errors in the bitmaps"};
    case Subject::reused:
      return {"cluster used twice", "clusters used twice"};
    case Subject::refcounts:
      return {"refcount too low", "refcounts too low"};
    case Subject::copied:
      return {"COPIED flag wrong", "COPIED flags wrong"};
    case Subject::corrupt_bit:
      return {"the corrupt bit set", ""};
    case Subject::backing:  // see missing_file()
    case Subject::data_file:
    case Subject::count_:
      break;
  }
  return {};
}

class Judge {
 public:
  Judge(const image::Image& image, const check::Report& result);
  // `end`: no advice leads further.
  std::string sentence(bool end) const;
  Verdict verdict(bool advice) const;

 private:
  std::uint64_t count(Code code) const { return result_.findings.count(code); }
  std::uint64_t count(Severity severity) const;
  std::uint64_t errors(Subject subject) const { return result_.findings.errors(subject); }
  bool wanted(Repair repair) const { return wanted_[static_cast<std::size_t>(repair)]; }
  Status status_without_files() const;
  bool lazy_dirty() const;
  bool only_header() const;

  std::string missing_file() const;
  std::string what() const;
  std::string whether(bool end) const;
  std::string headline() const;
  void advise(std::vector<Advice>& to) const;
  void explain_by_row(std::vector<Advice>& to) const;
  void rescue(std::vector<Advice>& to) const;
  void go_back(std::vector<Advice>& to) const;
  std::string_view repair_text() const;
  bool edit(std::vector<Advice>& to) const;
  bool repair(std::vector<Advice>& to, std::string_view mode, std::string text, bool force = false) const;
  void repair(std::vector<Advice>& to) const;
  void end(std::vector<Advice>& to) const;
  Advice copy(std::string text) const;
  std::string copy_name() const;

  const image::Image& image_;
  const check::Report& result_;
  const check::LeakDoubt& doubt_;
  const std::string path_;
  std::array<bool, 6> wanted_{};
  Status status_;
  bool foreign_ = false;     // nothing of a qcow2 image can be seen
  bool unreadable_ = false;  // the disk below fails
  bool in_use_ = false;
  bool leaks_suspect_ = false;  // what is leaked may be in use
};

// A path that is never mistaken for an option.
std::string argument(const std::string& path) { return (path.starts_with('-') ? "./" : "") + path; }

Judge::Judge(const image::Image& image, const check::Report& result)
    : image_(image),
      result_(result),
      doubt_(result.leak_doubt),
      path_(argument(image.file().path())),
      status_(status_without_files()) {
  foreign_ = image.foreign || count(Code::header_short) > 0 || (!image.geometry && count(Code::header_magic) > 0);
  unreadable_ = result.findings.any(Doubt::disk);
  in_use_ = count(Code::image_in_use) > 0;
  for (const check::Problem& row : check::problems()) {
    if (count(row.code) == 0) continue;
    const bool damage = row.severity != Severity::warning && !is_other_file(row.subject);
    if (damage) wanted_[static_cast<std::size_t>(row.repair)] = true;
  }
  leaks_suspect_ = count(Code::refcount_leak) > 0 && doubt_.data_at_risk();
}

std::uint64_t Judge::count(Severity severity) const {
  std::uint64_t sum = 0;
  for (const check::Problem& row : check::problems()) sum += row.severity == severity ? count(row.code) : 0;
  return sum;
}

// The state of the image, whatever other files it needs.
Status Judge::status_without_files() const {
  Status worst = Status::good;
  for (const check::Problem& row : check::problems()) {
    if (!is_other_file(row.subject) && count(row.code) > 0) worst = std::max(worst, row.status);
  }
  return worst;
}

bool Judge::lazy_dirty() const {
  return count(Code::header_dirty) > 0 && (image_.header.compatible_features & format::compatible::lazy_refcounts) != 0;
}

// Has only the header lost values?
bool Judge::only_header() const {
  return wanted(Repair::edit) && errors(Subject::l1) + errors(Subject::l2) == 0 && count(Code::header_l1_offset) == 0;
}

// In words: the missing file without which QEMU doesn't open the image.
std::string Judge::missing_file() const {
  if (count(Code::backing_loop) > 0) return "while its backing chain comes back to itself";
  if (errors(Subject::backing) > 0) return "without its backing file";
  return errors(Subject::data_file) > 0 ? "without its data file" : "";
}

// The image's state in figures, the worst first.
std::string Judge::what() const {
  std::vector<std::string> parts;
  const auto add = [&](std::uint64_t n, const Words& w) {
    if (n > 0 && !w.one.empty()) parts.push_back(w.many.empty() ? std::string(w.one) : counted(n, w.one, w.many));
  };
  std::uint64_t n = 0;
  for (std::size_t i = 0; i < static_cast<std::size_t>(Subject::count_); ++i) {
    const auto subject = static_cast<Subject>(i), next = static_cast<Subject>(i + 1);
    n += errors(subject);
    if (words(next) == words(subject)) continue;
    add(std::exchange(n, 0), words(subject));
  }
  add(count(Severity::leak), {"cluster leaked", "clusters leaked"});
  add(count(Severity::warning), {"warning", "warnings"});
  std::string text;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    text += (i == 0 ? "" : i + 1 == parts.size() ? " and " : ", ") + parts[i];
  }
  return text;
}

std::string Judge::whether(bool end) const {
  if (unreadable_) return "the disk below fails, so it must be copied before anything else";
  if (in_use_) return "but another process is writing to it, so part of this may be passing";
  if (leaks_suspect_) return "what looks leaked may be the only copy of lost data";
  const bool mendable = !end && (wanted(Repair::leak) || wanted(Repair::error) || wanted(Repair::reuse));
  const bool person = wanted(Repair::user), lost = wanted(Repair::none);
  if (wanted(Repair::edit)) {
    return only_header() ? "the tables behind it are usually intact" : "what was lost may still be found in the file";
  }
  if (lost && person)
    return mendable ? "part of it can be repaired, part only by hand, part not at all"
                    : "part of it can be mended by hand, part not at all";
  if (lost) return mendable ? "part of it can be repaired" : "it can't be repaired";
  if (person) return mendable ? "part of it can be repaired, part only by hand" : "it takes a decision of yours";
  return end ? "it can't be repaired" : "it can be repaired";
}

// What only a person can mend, or nobody: the advice of the problem's row, once for each kind.
void Judge::explain_by_row(std::vector<Advice>& to) const {
  for (const check::Problem& row : check::problems()) {
    if (count(row.code) == 0 || row.code == Code::image_in_use) continue;
    if (row.repair == Repair::user || row.repair == Repair::none) {
      to.push_back({Kind::note, fmt::format("{}: {}", row.name, row.advice)});
    }
  }
}

std::string Judge::copy_name() const { return argument(image_.file().companion(".copy")); }

Advice Judge::copy(std::string text) const {
  return {Kind::copy, std::move(text), {"cp", "--sparse=always", path_, copy_name()}};
}

void Judge::rescue(std::vector<Advice>& to) const {
  if (!leaks_suspect_ && !wanted(Repair::edit)) return;
  if (leaks_suspect_) {
    std::string why =
        doubt_.hidden
            ? "While damage hides references, leaked clusters may be the data that belongs there."
            : fmt::format("They may be no leaks, but what a lost L1 entry, L2 table or snapshot has mapped: {}.",
                          doubt_.evidence);
    if (doubt_.guest) {
      why += fmt::format(" They were {}.", doubt_.guest->text());
    }
    why += " Don't free them: no --force, no qemu-img check -r.";
    if (count(Code::header_dirty) > 0) why += " QEMU frees them, too, when it opens this image for writing.";
    to.push_back({Kind::note, std::move(why)});
  }
  if (doubt_.hidden) to.push_back(copy("Copy the image first, and keep the copy."));
}

// If the active tables are damaged, the newest snapshot whose tables aren't. If clusters are used twice, or the header
// may give entries another meaning, nobody knows which tables are damaged.
void Judge::go_back(std::vector<Advice>& to) const {
  if (result_.reports.empty() || (image_.geometry && image_.geometry->data_file)) return;
  if (count(Code::image_truncated) > 0) return;  // what was cut off may be brought back, and most can be read
  const std::uint64_t lost_l1 = result_.findings.count(Doubt::l1_table);
  const bool disputed = result_.claims && !result_.claims->conflict.empty();
  if (disputed || errors(Subject::header) > lost_l1 || (lost_l1 == 0 && !result_.damaged(0))) return;
  for (std::size_t state = result_.reports.size(); --state > 0;) {
    const auto number = static_cast<std::size_t>(result_.states[state].snapshot);
    if (result_.damaged(state) || image_.snapshots.entries[number].disk_size == 0) continue;
    if (std::ranges::find(to, Kind::copy, &Advice::kind) == to.end()) {
      to.push_back(copy("Copy the image first, and keep the copy."));
    }
    to.push_back(
        {Kind::apply,
         fmt::format("If nothing else helps, go back: the tables of snapshot {} are whole. This drops what was "
                     "written since; with --dry-run it shows the plan.",
                     result_.snapshot_names[number]),
         {"qcow2-dump", "-A", fmt::format("snapshot[{}]", number), path_},
         fmt::format("what was written since snapshot {}", result_.snapshot_names[number])});
    return;
  }
}

std::string_view Judge::repair_text() const {
  const std::uint64_t overlaps = errors(Subject::reused) + errors(Subject::data_file_reused);
  if (lazy_dirty()) {
    return "With lazy refcounts this is what an interrupted guest leaves behind. Refcounts are set right, no data "
           "moves.";
  }
  if (status_ == Status::good) {
    return "The next program that opens the image for writing sets this right; so does this.";
  }
  if (overlaps > 0 && overlaps == count(Code::cluster_compressed_overlap) && count(Code::refcount_low) == 0) {
    return "Don't write to the image before: a write to the one use of a cluster destroys the other. Each gets a copy "
           "of its own. But what isn't compressed was there first, and has lost the bytes that -m error names, unless "
           "-c finds the compressed data broken. Check the guest's file systems; a VM state that lies there can't be "
           "resumed.";
  }
  if (overlaps > 0) {
    return "Don't write to the image before: a write to the one use of a cluster destroys the other. Each gets a copy "
           "of its own. One of them holds wrong data all the same: check the guest's file systems.";
  }
  if (count(Code::refcount_low) > 0) return "Don't write to the image before: clusters in use may be handed out again.";
  if (doubt_.bitmaps_hidden && count(Code::refcount_leak) > 0) {
    return "What looks leaked is probably the bitmaps': set these right first, then check again. The guest's data is "
           "not concerned.";
  }
  if (status_ == Status::leak && count(Code::bitmaps_stale) > 0) {
    return "The stale bitmaps have left them behind. Nothing that the tables map is concerned.";
  }
  if (status_ == Status::leak) {
    return "An interrupted write leaves such clusters behind. Nothing that the tables map is concerned.";
  }
  return {};
}

// A value that the file itself tells loses nothing. No other advice goes with it: after it, the next check knows
// better.
bool Judge::edit(std::vector<Advice>& to) const {
  const auto evidence = find_evidence(image_, result_);
  if (!evidence) return false;
  Advice advice{Kind::edit, evidence->why + " Nothing is lost by writing it back. Then check again.", {"qcow2-dump"}};
  std::vector<std::string>& command = advice.command;
  // Places other than the header's fields are found by the cluster size.
  if (image_.against_header() && !evidence->place.starts_with("header.")) {
    command.insert(command.end(), {"--cluster-size", fmt::format("{}", image_.geometry->cluster_size())});
  }
  command.insert(command.end(),
                 {"-m", "edit", "-O", evidence->place, "-V", fmt::format("0x{:x}", evidence->value), path_});
  to.push_back(std::move(advice));
  return true;
}

std::string lossy_text(const repair::Plan& plan) {
  constexpr std::size_t most = 3;
  std::string text;
  std::size_t lossy = 0;
  for (const repair::Action& action : plan.actions) {
    if (!action.lossy || ++lossy > most) continue;
    text += (text.empty() ? "" : "; ") + action.text;
  }
  return lossy > most ? fmt::format("{}; and {} more", text, lossy - most) : text;
}

// A repair is planned before it is advised: it must do something, and the advice says what it drops.
bool Judge::repair(std::vector<Advice>& to, std::string_view mode, std::string text, bool force) const {
  Advice advice{Kind::repair, std::move(text), {"qcow2-dump", "-R", std::string(mode)}};
  if (force) advice.command.push_back("--force");
  advice.command.push_back(path_);
  constexpr std::uint64_t most_work = 1 << 24;  // the tables of 1 TiB; a plan costs some checks
  if (result_.claims && status_ != Status::good && work(result_) <= most_work) {
    const bool all = mode == "all";
    Transaction transaction(image_.file());
    const auto planned = repair::plan_repair(image_.file(), image_.hints(), transaction,
                                             {.leak = all || mode == "leak",
                                              .error = all || mode == "error",
                                              .reuse = all || mode == "reuse",
                                              .force = force},
                                             {.backing_chain = false});
    if (!planned || transaction.empty()) return false;
    advice.loses = lossy_text(planned->plan);
    if (!advice.loses.empty()) {
      advice.text += fmt::format("{}This drops: {}.", advice.text.empty() ? "" : " ", advice.loses);
    }
  }
  to.push_back(std::move(advice));
  return true;
}

void Judge::repair(std::vector<Advice>& to) const {
  const bool error = wanted(Repair::error) || (status_ == Status::good && count(Code::header_dirty) > 0);
  const bool reuse = wanted(Repair::reuse), leak = wanted(Repair::leak) && !doubt_.bitmaps_hidden && !leaks_suspect_;
  if (error + reuse + leak == 0) return;
  // A snapshot table that is misread claims clusters of others.
  const bool wrong_claims = error && result_.findings.any(Doubt::snapshot_table);
  const std::string_view rest = "This mends the rest, leaks excepted.";
  const std::string text(leaks_suspect_ ? rest : repair_text());
  const std::string_view mode = error + reuse + leak > 1 && !leaks_suspect_ ? "all"
                                : reuse && !wrong_claims                    ? "reuse"
                                : error                                     ? "error"
                                                                            : "leak";
  if (repair(to, mode, text) || (mode == "reuse" && error && repair(to, "error", text))) return;
  // What was cut off may be brought back, and the snapshots with it.
  const bool cut_off = result_.findings.any(Doubt::end);
  const bool found = image::snapshot_entries_at(image_, image_.header.snapshots_offset).count > 0;
  if (count(Code::snapshot_table) > 0 && !cut_off && !found) {
    repair(to, "error",
           fmt::format("Nothing in the file leads to the snapshots any more.{}",
                       result_.damaged(0) ? "" : " The image can be used without them."),
           true);
  }
}

// Does it do more than keep what there is?
bool changes(const Advice& a) { return a.kind != Kind::note && a.kind != Kind::copy; }

// If no advice leads further, the reader must know that there is no more to come.
void Judge::end(std::vector<Advice>& to) const {
  if (status_ == Status::good || std::ranges::any_of(to, changes)) return;
  const std::string_view why =
      status_ == Status::leak && leaks_suspect_
          ? ". If the guest misses something, these clusters may be all that is left of it: keep them. If it doesn't, "
            "they only take space, and the image can be used as it is."
      : status_ == Status::leak  ? ". The image can be used as it is: these clusters take space and do no harm."
      : count(Code::l2_lost) > 0 ? ": what was lost is in the file, but nothing tells where it belongs. Keep the copy."
      : leaks_suspect_ ? ": what was lost may be in the file, but nothing tells where it belongs. Keep the copy."
                       : ": nothing in the file tells what is right. What is missing can only come from a "
                         "backup.";
  to.push_back({Kind::note, fmt::format("This is all that can be done here{}", why)});
}

std::string Judge::sentence(bool end) const {
  if (image_.foreign) return fmt::format("This is {}.", image_.foreign->what);
  if (foreign_) {
    return count(Code::header_short) > 0 ? "This is no qcow2 image: the file is shorter than a header."
                                         : "This is no qcow2 image, or its beginning was overwritten.";
  }
  const std::string found = what(), needs = missing_file();
  if (status_ != Status::good) {
    return fmt::format("The image has {}; {}.{}", found, whether(end),
                       needs.empty() ? "" : fmt::format(" QEMU can't open it {}.", needs));
  }
  if (!needs.empty()) return fmt::format("The image itself is sound; QEMU can't open it {}.", needs);
  if (found.empty()) return "Nothing is wrong with this image.";
  return fmt::format("Nothing is damaged, but there {} {}.", found.starts_with("1 ") ? "is" : "are", found);
}

// Where the status says too little, or the wrong thing.
std::string Judge::headline() const {
  if (image_.foreign) return "NO QCOW2 IMAGE";
  return status_ == Status::good && !missing_file().empty() ? "FILE MISSING" : "";
}

Verdict Judge::verdict(bool advice) const {
  Verdict v;
  v.headline = headline();
  if (advice) advise(v.advice);
  v.text = sentence(advice && std::ranges::none_of(v.advice, changes));
  if (const std::uint64_t compressed = result_.undecompressed(); compressed > 0 && !foreign_) {
    v.note = fmt::format("{} not decompressed: -c does that.",
                         counted(compressed, "compressed cluster was", "compressed clusters were"));
  }
  return v;
}

void Judge::advise(std::vector<Advice>& to) const {
  if (image_.foreign && image_.foreign->image) {
    to.push_back({Kind::copy,
                  "qemu-img makes a qcow2 image of it.",
                  {"qemu-img", "convert", "-O", "qcow2", path_, path_ + ".qcow2"}});
  }
  if (foreign_) {
    if (count(Code::header_magic) > 0 && !image_.foreign) {
      if (edit(to)) return;
      to.push_back(
          copy("If it was one, its tables and data are usually intact behind the first cluster. Copy the "
               "file before anything else."));
      end(to);
    }
    return;
  }
  if (unreadable_) {
    to.push_back({Kind::copy,
                  "Reading fails. Copy what can still be read, and go on with the copy.",
                  {"ddrescue", path_, copy_name(), "rescue.map"}});
    return;
  }
  if (in_use_) {
    to.push_back({Kind::look,
                  "Another process has the image open for writing. Check again when it is closed.",
                  {"qcow2-dump", path_}});
    return;
  }
  if (edit(to)) return;
  explain_by_row(to);
  rescue(to);
  repair(to);
  go_back(to);
  end(to);
}

}  // namespace

Verdict judge(const image::Image& image, const check::Report& result, bool advice) {
  return Judge(image, result).verdict(advice);
}

}  // namespace qd::advice
