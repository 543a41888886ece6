// Every repair and edit of an image is cut at each of its operations: each write, resize, punch and sync of the image
// and of the undo log. Once the operation fails. Once the power goes out there: of what wasn't synced, nothing, all, or
// a random part survives. Afterwards,
//
//   1. the image is as it was, or the log that was found takes it back, byte for byte; also if that undo is cut, too;
//   2. without the log, the same repair ends as well as if it had never been cut, and leaves nothing to repair. Space
//      that was taken, or not yet given back, may need -R all, and --force if it holds what looks like a lost table:
//      only the log knows that it isn't one;
//   3. the guest then reads what it could read before; after an edit, either that or what the edit makes it read. (An
//      edit is followed by -R all; if the image was damaged before, only 1 is asked for.)
//
//     crash-tests IMAGE      prints what went wrong, then "repairs N cuts N states N forced N": how many repairs, edits
//                            and cuts, different images found after them, and how many of these needed --force
//
// tests/crash/run.py calls it with the images of tests/images.
#include <fmt/core.h>
#include <malloc.h>
#include <oneapi/tbb/global_control.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "check/check.h"
#include "check/claims.h"
#include "edit/edit.h"
#include "image/compressed.h"
#include "image/walk.h"
#include "journal/transaction.h"
#include "journal/undo_log.h"
#include "repair/repair.h"
#include "simulated_file.h"

namespace qd {
namespace {

using check::Status;
using repair::Wanted;

const check::Settings options{.decompress = false, .backing_chain = false};

struct Kind {
  std::string_view name;
  Wanted wanted;
};
const Kind kinds[] = {{"leak", {.leak = true}},
                      {"error", {.error = true}},
                      {"reuse", {.reuse = true}},
                      {"discard", {.discard = true}},
                      {"all", {.leak = true, .error = true, .reuse = true}}};

struct Edit {
  std::string_view name;
  edit::Command command;
};
const Edit edits[] = {{"apply", edit::Apply{"snapshot[0]", {}}},
                      {"apply --keep-as", edit::Apply{"snapshot[0]", "kept"}},
                      {"delete", edit::Remove{"snapshot[0]", false}},
                      {"delete all", edit::Remove{"all", false}},
                      {"rename", edit::SetValue{"snapshot[0].name", "another name", {}}},
                      {"mark", edit::Mark{format::incompatible::dirty, true}}};
// In several sectors of the header: torn, only the log brings it back.
const Edit rebase{"rebase", edit::Rebase{"somewhere/else", true}};

using Planner = std::function<Result<repair::Planned>(const File&, Transaction&)>;

struct Totals {
  std::uint64_t repairs = 0, cuts = 0, states = 0, forced = 0, failures = 0;
};

struct Survivor {
  Survival how;
  unsigned seed;
};
const Survivor survivors[] = {{Survival::none, 0}, {Survival::all, 0}, {Survival::some, 1}, {Survival::some, 2}};

std::size_t hash(std::string_view bytes) { return std::hash<std::string_view>()(bytes); }

// An image and its log on a disk of their own.
struct Disk {
  Fate fate;
  SimulatedFile image, log;
  std::atomic<bool> interrupted = false;

  explicit Disk(std::string image_bytes, std::string log_bytes = "", std::int64_t modified = 7)
      : image(fate, std::move(image_bytes), "image.qcow2", modified), log(fate, std::move(log_bytes), "LOG") {}

  void reset(const std::string& image_bytes, const std::string& log_bytes, std::int64_t modified) {
    fate = Fate();
    image.reset(image_bytes, modified);
    log.reset(log_bytes, 1);
  }
};

// ---- what the guest reads

// Hashes of its clusters, by state and guest offset.
using Guest = std::map<std::pair<std::string, std::uint64_t>, std::size_t>;

class GuestReader {
 public:
  // `sure`: only what is mapped by sound entries, and lies on no metadata. Guest clusters on one place read the same
  // before they are separated and after.
  GuestReader(const File& file, bool sure)
      : transaction_(file),
        image_(image::Image::open(transaction_.view(), {}).value()),
        result_(check::check(image_, options)),
        sure_(sure) {}

  Guest read();
  Status status() const { return result_.status(); }

 private:
  const format::Geometry& g() const { return *image_.geometry; }
  bool undisputed(HostOffset at, std::uint64_t bytes, bool data = false) const;
  bool sound(const image::Table& table) const;
  std::vector<std::string> names() const;
  std::optional<std::size_t> content(std::uint64_t entry, std::uint64_t bitmap) const;
  std::optional<std::size_t> compressed(std::uint64_t entry) const;

  Transaction transaction_;  // an empty one: its view is the file
  image::Image image_;
  check::Report result_;
  bool sure_;
};

// `data`: nobody but other data may claim it, too.
bool GuestReader::undisputed(HostOffset at, std::uint64_t bytes, bool data) const {
  for (std::uint64_t c = g().cluster(at).value; c < g().clusters(at.value + bytes); ++c) {
    if (c >= image_.clusters()) return false;
    if (!result_.claims->conflict.test(c)) continue;
    const auto owners = result_.owners_of(ClusterIndex(c));
    const auto is_data = [](const check::Owner& owner) { return !check::is_metadata(owner.kind); };
    if (!data || owners.empty() || !std::ranges::all_of(owners, is_data)) return false;
  }
  return true;
}

bool GuestReader::sound(const image::Table& table) const {
  return !sure_ || (table.offset.value != 0 && g().offset_in_cluster(table.offset.value) == 0 &&
                    undisputed(table.offset, g().cluster_size()));
}

// Snapshots by ID and name, since a repair may find some again in between.
std::vector<std::string> GuestReader::names() const {
  std::vector<std::string> names;
  std::map<std::string, int> seen;
  for (const image::State& state : result_.states) {
    std::string name = "active";
    if (state.snapshot >= 0) {
      const format::Snapshot& s = image_.snapshots.entries[static_cast<std::size_t>(state.snapshot)];
      name = "snapshot " + s.id + s.name;  // where the one ends and the other begins may be the damage
      std::erase(name, '\0');
    }
    const int before = seen[name]++;
    names.push_back(before == 0 ? name : fmt::format("{} #{}", name, before));
  }
  return names;
}

std::optional<std::size_t> GuestReader::compressed(std::uint64_t entry) const {
  const auto range = g().compressed(entry);
  const bool there = !image_.past_end(range.offset, range.bytes) && undisputed(range.offset, range.bytes, true);
  if (sure_ && !there) return std::nullopt;
  std::string bytes(g().cluster_size(), '\0');
  if (!image::decompress(image_, entry, std::as_writable_bytes(std::span(bytes)))) return std::nullopt;
  return hash(bytes);
}

std::optional<std::size_t> GuestReader::content(std::uint64_t entry, std::uint64_t bitmap) const {
  const auto type = format::cluster_type(g(), entry);
  if (type == format::ClusterType::compressed) return compressed(entry);
  const bool impossible = (entry & format::l2_reserved_mask) || (bitmap & bitmap >> 32) ||
                          ((entry & format::zero_flag) && (g().extended_l2 || image_.header.version < 3));
  if (type == format::ClusterType::unallocated || (sure_ && impossible)) return std::nullopt;
  std::string bytes(g().cluster_size(), '\0');
  const HostOffset at(entry & format::offset_mask);
  if (g().data_file) return at.value ^ bitmap;
  if (type == format::ClusterType::normal) {
    if (sure_ && (g().offset_in_cluster(at.value) != 0 || !undisputed(at, 1, true))) return std::nullopt;
    if (!image_.file().read(at.value, std::as_writable_bytes(std::span(bytes)))) return std::nullopt;
  }
  return hash(bytes) ^ bitmap;
}

Guest GuestReader::read() {
  Guest guest;
  if (!image_.geometry) return guest;
  const auto name = names();
  const auto& states = result_.states;
  std::set<std::uint32_t> doubtful;
  for (std::uint32_t i = 0; i < states.size(); ++i) {
    const bool nameless = name[i] == "snapshot ";  // a repair may find out how it is called
    if (sure_ && (nameless || !undisputed(states[i].l1_offset, std::uint64_t{states[i].l1_size} * 8))) {
      doubtful.insert(i);
    }
  }
  const auto table = [&](const image::Group& group, const image::Table& t, Guest& into) {
    if (t.l2.empty()) return;
    for (std::uint64_t i = t.l2.begin(); i < t.l2.end(); ++i) {
      if (t.l2.raw(i) == 0) continue;
      const auto found = content(t.l2.raw(i), t.l2.bitmap(i));
      for (const image::L1Entry& e : t.entries) {
        if (doubtful.contains(e.state) || (sure_ && (e.raw & format::l1_reserved_mask)) || !found) continue;
        into[{name[e.state], g().guest(group.l1_index, i).value}] = *found;
      }
    }
  };
  image::walk<Guest>(
      image_, states,
      [&](const image::Group& group, Guest& into) {
        for (const image::Table& t : group.tables) {
          if (sound(t)) table(group, t, into);
        }
      },
      [&](Guest&& part) { guest.merge(part); });
  return guest;
}

// What of `before` isn't so in `after`; nothing if all is.
std::optional<std::string> lost(const Guest& before, const Guest& after) {
  std::uint64_t clusters = 0;
  std::string first;
  for (const auto& [place, content] : before) {
    const auto now = after.find(place);
    if (now != after.end() && now->second == content) continue;
    if (clusters++ == 0) {
      first =
          fmt::format("{} 0x{:x} {}", place.first, place.second, now == after.end() ? "is gone" : "reads differently");
    }
  }
  if (clusters == 0) return std::nullopt;
  return fmt::format("{} guest clusters of {} are not what they were, the first: {}", clusters, before.size(), first);
}

// ---- one repair or edit of one image

struct Found {
  std::string image, log;
  std::int64_t modified;  // the image
};

class Trial {
 public:
  // `wanted`: the repair that comes after a cut.
  Trial(const std::string& before, const Guest& guest, std::string name, Planner planner, const Wanted& wanted,
        Totals& totals)
      : before_(before),
        guest_(guest),
        name_(std::move(name)),
        planner_(std::move(planner)),
        wanted_(wanted),
        disk_(before),
        transaction_(disk_.image),
        totals_(totals) {}

  void without_holes() { disk_.image.refuse_punch(); }
  // It changes what the guest reads; `with_log_only`: and nothing but the log takes it back.
  void changes_guest(bool with_log_only) { edit_ = true, with_log_only_ = with_log_only; }

  // Returns whether anything was refused.
  bool run();
  bool punched() const { return punched_; }

 private:
  void error_at(std::uint64_t k);
  void cut_at(std::uint64_t k);
  void judge(const Found& found);
  void undo(const Found& found);
  void cut_undo(const Found& found);
  void undo_again(const Found& found);
  void repair_again(const std::string& image);
  Status free_leaks(Disk& disk, Status status);
  Status repair_uncut(Disk& disk, const Wanted& wanted, bool nothing_to_do = false);
  Result<Transaction::Outcome> commit() {
    return transaction_.commit(disk_.image, &disk_.log, "image.qcow2", disk_.interrupted);
  }
  void fail(const std::string& what);

  const std::string& before_;
  const Guest& guest_;
  const std::string name_;
  const Planner planner_;
  const Wanted wanted_;
  bool edit_ = false, with_log_only_ = false;
  Guest after_;  // what the guest reads after an uncut edit
  Disk disk_;
  Transaction transaction_;
  Totals& totals_;
  Status status_{};                   // after the uncut repair
  std::vector<std::string> journal_;  // of the uncut repair
  bool punched_ = false;
  std::set<std::size_t> repaired_, undone_;  // what was looked at already
  std::string where_;
  std::uint64_t failures_ = 0;
};

void Trial::fail(const std::string& what) {
  constexpr std::uint64_t shown = 4;
  ++totals_.failures;
  if (++failures_ <= shown) fmt::print("FAILED {}, {}: {}\n", name_, where_, what);
}

bool Trial::run() {
  where_ = "uncut";
  const auto planned = planner_(disk_.image, transaction_);
  if (!planned) return false;
  const bool refused = !planned->plan.refusals.empty();
  if (transaction_.empty()) return refused;
  ++totals_.repairs;
  if (const auto done = commit(); !done) return fail(done.error().message), refused;
  journal_ = disk_.fate.journal();
  punched_ = std::ranges::any_of(journal_, [](const std::string& what) { return what.starts_with("punch"); });
  GuestReader reader(disk_.image, true);
  status_ = reader.status();
  if (edit_) after_ = reader.read();
  if (status_ != planned->after) {
    fail(fmt::format("status {}, but {} was planned", check::status_name(status_), check::status_name(planned->after)));
  }
  for (std::uint64_t k = 0; k < journal_.size(); ++k) error_at(k);
  for (std::uint64_t k = 0; k <= journal_.size(); ++k) cut_at(k);
  totals_.states += repaired_.size();
  return refused;
}

void Trial::error_at(std::uint64_t k) {
  ++totals_.cuts;
  where_ = fmt::format("error at {} ({})", k, journal_[k]);
  disk_.reset(before_, "", 7);
  disk_.fate.fail_at(k, EIO);
  if (commit()) return fail("is not noticed");
  for (const auto& [how, seed] : survivors) {
    const bool back = disk_.image.contents() == before_ && disk_.image.surviving(how, seed) == before_;
    if (!back) return fail("is not taken back");
  }
}

void Trial::cut_at(std::uint64_t k) {
  disk_.reset(before_, "", 7);
  disk_.fate.cut_at(k);
  try {
    if (const auto done = commit(); !done) return fail(done.error().message);
  } catch (const PowerCut&) {
  }
  for (const auto& [how, luck] : survivors) {
    ++totals_.cuts;
    const unsigned seed = luck + 1000 * static_cast<unsigned>(k);
    where_ = fmt::format("power cut at {} ({}), {} survives", k, k < journal_.size() ? journal_[k] : "the end",
                         how == Survival::none  ? "nothing"
                         : how == Survival::all ? "all"
                                                : fmt::format("part {}", luck));
    const std::string image = disk_.image.surviving(how, seed);
    const Survivor logs[] = {{how, seed + 100}, {Survival::none, 0}, {Survival::all, 0}};
    for (const Survivor& of_log : logs) {
      undo({image, disk_.log.surviving(of_log.how, of_log.seed), disk_.image.modified()});
    }
    repair_again(image);
  }
}

// 1. The log that was found takes the image back.
void Trial::undo(const Found& found) {
  if (!undone_.insert(hash(found.image) ^ hash(found.log) * 31).second) return;
  Disk disk(found.image, found.log, found.modified);
  if (const auto log = UndoLog::read(disk.log); !log) {
    if (found.image != before_) fail("the image has changed, and: " + log.error().message);
    return;
  }
  undo_again(found);
  const bool whole = where_.find("the end") != std::string::npos;
  if (found.image != before_ && (whole || undone_.size() % 7 == 0)) cut_undo(found);
}

void Trial::undo_again(const Found& found) {
  Disk disk(found.image, found.log, found.modified);
  SimulatedFile own(disk.fate, "", "OWN");
  const auto done = qd::undo(disk.image, disk.log, &own, "image.qcow2", false, disk.interrupted);
  if (disk.image.contents() == before_) return;
  fail(done ? "undo restores something else" : "undo fails: " + done.error().message);
}

void Trial::cut_undo(const Found& found) {
  const std::string where = where_;
  for (std::uint64_t k = 0;; ++k) {
    bool cut = false;
    for (const bool power : {true, false}) {
      where_ = fmt::format("{}, then the undo's operation {} {}", where, k, power ? "cut" : "failed");
      Disk disk(found.image, found.log, found.modified);
      SimulatedFile own(disk.fate, "", "OWN");
      power ? disk.fate.cut_at(k) : disk.fate.fail_at(k, EIO);
      try {
        const auto done = qd::undo(disk.image, disk.log, &own, "image.qcow2", false, disk.interrupted);
        cut = cut || disk.fate.operations() > k;
        if (done && disk.fate.operations() > k) fail("is not noticed");
      } catch (const PowerCut&) {
        cut = true;
      }
      for (const auto& [how, seed] : survivors) {
        ++totals_.cuts;
        undo_again({disk.image.surviving(how, seed), disk.log.surviving(how, seed + 100), disk.image.modified()});
      }
    }
    if (!cut) break;
  }
  where_ = where;
}

// 2. and 3. Without the log the same repair does what is left to do.
void Trial::repair_again(const std::string& image) {
  if (image == before_ || with_log_only_ || !repaired_.insert(hash(image)).second) return;
  Disk disk(image);
  Status status = repair_uncut(disk, wanted_);
  if (status == Status::leak || status == Status::copied || status == Status::corrupt)
    status = free_leaks(disk, status);
  if (status > status_) {
    fail(fmt::format("repaired again it is {}, uncut it would be {}", check::status_name(status),
                     check::status_name(status_)));
  }
  if (status == Status::good && repair_uncut(disk, wanted_, true) != status) fail("a third repair makes it worse");
}

// What a repair that lost power has left of its own structures, or of those that they replace. An L2 table with its
// data among them is a lost one (l2.lost) for all that the file tells.
Status Trial::free_leaks(Disk& disk, Status status) {
  Wanted all{.leak = true, .error = true, .reuse = true, .force = wanted_.force};
  if (status > status_) status = repair_uncut(disk, all);
  if ((status != Status::leak && status != Status::corrupt) || status <= status_) return status;
  ++totals_.forced;
  all.force = true;
  return repair_uncut(disk, all);
}

// Returns the status that it leaves.
Status Trial::repair_uncut(Disk& disk, const Wanted& wanted, bool nothing_to_do) {
  Transaction transaction(disk.image);
  const auto planned = repair::plan_repair(disk.image, {}, transaction, wanted, options);
  if (!planned) return fail("a second repair fails: " + planned.error().message), Status::corrupt;
  if (nothing_to_do && !transaction.empty()) fail("a third repair still finds something to do");
  const auto done = transaction.commit(disk.image, nullptr, "", disk.interrupted);
  if (!done) return fail("a second repair fails: " + done.error().message), Status::corrupt;
  GuestReader reader(disk.image, false);
  const Guest guest = reader.read();
  const auto damage = lost(guest_, guest);
  if (damage && !(edit_ && !lost(after_, guest))) fail("after a second repair " + *damage);
  return reader.status();
}

// ---- all of them

std::string contents(const char* path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

Totals try_all(const std::string& before) {
  Totals totals;
  Fate fate;
  const SimulatedFile file(fate, before, "image.qcow2");
  const Guest guest = GuestReader(file, true).read();
  for (const Kind& kind : kinds) {
    for (const bool force : {false, true}) {
      Wanted wanted = kind.wanted;
      wanted.force = force;
      const std::string name = fmt::format("{}{}", kind.name, force ? " --force" : "");
      const Planner plan = [&](const File& image, Transaction& transaction) {
        return repair::plan_repair(image, {}, transaction, wanted, options);
      };
      Trial trial(before, guest, name, plan, wanted, totals);
      const bool refused = trial.run();
      if (trial.punched()) {
        Trial solid(before, guest, name + ", no holes", plan, wanted, totals);
        solid.without_holes();
        solid.run();
      }
      if (!refused) break;
    }
  }
  const bool healthy = GuestReader(file, true).status() <= Status::copied;
  const auto try_edit = [&](const Edit& edit, bool with_log_only) {
    const Planner plan = [&](const File& image, Transaction& transaction) {
      return edit::plan_edit(image, {}, transaction, edit.command, false, nullptr, options);
    };
    const Wanted all{.leak = true, .error = true, .reuse = true};
    Trial trial(before, guest, std::string(edit.name), plan, all, totals);
    trial.changes_guest(with_log_only);
    trial.run();
  };
  for (const Edit& edit : edits) try_edit(edit, !healthy);
  try_edit(rebase, true);
  return totals;
}

}  // namespace
}  // namespace qd

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  // Images are copied all the time: keep their memory instead of giving it back.
  mallopt(M_MMAP_THRESHOLD, 256 << 20);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  const tbb::global_control one_thread(tbb::global_control::max_allowed_parallelism, 1);
  const qd::Totals totals = qd::try_all(qd::contents(argv[1]));
  fmt::print("repairs {} cuts {} states {} forced {}\n", totals.repairs, totals.cuts, totals.states, totals.forced);
  return totals.failures == 0 ? 0 : 1;
}
