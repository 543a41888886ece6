// How a plan becomes real: keep what was there (keep_log), write stage by stage (apply), and where that fails half way,
// take it back (recover).
//
// The unit is the sector of 512 bytes: one that already holds what it shall hold is neither logged nor written.
#include <fmt/core.h>
#include <libdeflate.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "base/checked.h"
#include "base/uniform.h"
#include "journal/pages.h"
#include "journal/transaction.h"
#include "journal/undo_log.h"

namespace qd {
namespace {

constexpr std::uint64_t piece_bytes = 1 << 20;  // that is read and written at once
constexpr std::uint64_t sectors_of_page = page_bytes / undo_sector;

// Calls each(start, end) for every run of sectors in which the two differ. The last sector may be a part of one.
template <class Each>
Result<void> for_differences(std::span<const std::byte> a, std::span<const std::byte> b, Each&& each) {
  const auto same = [&](std::size_t at) {
    return std::memcmp(a.data() + at, b.data() + at, std::min<std::size_t>(undo_sector, a.size() - at)) == 0;
  };
  for (std::size_t at = 0; at < a.size();) {
    const std::size_t start = at;
    while (at < a.size() && !same(at)) at += undo_sector;
    if (at > start) {
      if (Result<void> done = each(start, std::min(at, a.size())); !done) return done;
    }
    at += undo_sector;  // that one is the same, or the end
  }
  return {};
}

// What a sector holds after each stage that changes it.
struct Versions {
  std::array<std::uint32_t, stages + 1> checksums;  // cutting the file off may change it once more
  std::uint32_t count = 0;
  bool recorded = false;

  bool like(const Versions& other) const { return recorded == other.recorded && count == other.count; }
};

class Commit {
 public:
  Commit(const PlannedPages& plan, MutableFile& image, MutableFile* log, const std::atomic<bool>& interrupted)
      : plan_(plan), image_(image), log_(log), interrupted_(interrupted), old_size_(image.size()) {}

  Result<void> keep_log(UndoWriter& writer, const std::string& image_name);
  Result<void> apply();
  Error recover(Error why) const;

  Transaction::Outcome outcome;

 private:
  Result<void> go_on() const { return interrupted_ ? Result<void>(fail(EINTR, "interrupted")) : Result<void>(); }
  // Before anything that changes the image.
  Result<void> touch() {
    if (auto on = go_on(); !on) return on;
    touched_ = unsynced_ = true;
    return {};
  }

  std::uint64_t next_change(std::uint64_t offset, std::uint64_t limit) const;
  std::uint64_t end_of_changes(std::uint64_t start, std::uint64_t limit) const;
  Result<std::vector<Versions>> versions(std::uint64_t start, std::uint64_t end);
  Result<void> keep(UndoWriter& writer, std::uint64_t start, std::uint64_t end);
  Result<void> keep_grown(UndoWriter& writer, std::uint64_t start, std::uint64_t end);
  Result<void> find_versions(std::uint64_t number, const PageBytes& old, std::span<Versions> sectors) const;

  Result<void> write_stage(Stage stage);
  Result<void> write_pages(PlannedPages::Pages::const_iterator first, std::uint64_t count);
  Result<void> write_differences(std::uint64_t offset, std::span<const std::byte> wanted);
  Result<void> punch();
  Result<void> write_zeros(std::uint64_t start, std::uint64_t end);
  Result<void> resize();
  Result<void> sync();

  const PlannedPages& plan_;
  MutableFile& image_;
  MutableFile* const log_;
  const std::atomic<bool>& interrupted_;
  const std::uint64_t old_size_;
  bool touched_ = false;   // the image may differ from what it was
  bool unsynced_ = false;  // something was changed after the last sync
  std::vector<std::byte> old_, new_;
};

// ---- what was there

// The first page at or after `offset` (the start of one) in which anything may change. What is cut off counts as
// punched. Holes in what is punched need no keeping, since they are zeros: terabytes of them cost a few looks.
std::uint64_t Commit::next_change(std::uint64_t offset, std::uint64_t limit) const {
  std::uint64_t next = limit;
  if (const auto page = plan_.pages.lower_bound(PlannedPages::Key{offset / page_bytes, Stage::fresh});
      page != plan_.pages.end()) {
    next = std::min(next, page->first.number * page_bytes);
  }
  std::uint64_t punched = plan_.punched.next(offset, next);
  while (punched < next) {
    const std::uint64_t data = image_.next_data(punched);
    if (data == punched) return punched / page_bytes * page_bytes;
    punched = plan_.punched.next(data, next);
  }
  return next;
}

// The end of the pages in a row, from `start` on, that may change: a piece at most.
std::uint64_t Commit::end_of_changes(std::uint64_t start, std::uint64_t limit) const {
  limit = std::min(start + piece_bytes, limit);
  auto page = plan_.pages.lower_bound(PlannedPages::Key{start / page_bytes, Stage::fresh});
  std::uint64_t end = start;
  while (end < limit) {
    while (page != plan_.pages.end() && page->first.number * page_bytes < end) ++page;
    if (page != plan_.pages.end() && page->first.number * page_bytes == end) {
      end += page_bytes;
    } else if (plan_.punched.overlaps(end, end + page_bytes)) {
      const std::uint64_t punched = plan_.punched.next(end, end);
      end = round_up(plan_.punched.end_of(punched), page_bytes);
    } else {
      break;
    }
  }
  return std::min(end, limit);
}

Result<void> Commit::find_versions(std::uint64_t number, const PageBytes& old, std::span<Versions> sectors) const {
  const std::uint64_t start = number * page_bytes;
  const std::uint64_t end = start + page_bytes;
  const auto zero = [start](PageBytes& page, std::uint64_t from, std::uint64_t to) {
    if (from < to) std::memset(page.data() + (from - start), 0, to - from);
  };
  PageBytes before = old;
  const auto add = [&](const PageBytes& now) {
    for (std::size_t i = 0; i < sectors.size() && start + i * undo_sector < plan_.size; ++i) {
      const std::byte* const sector = now.data() + i * undo_sector;
      if (std::memcmp(sector, before.data() + i * undo_sector, undo_sector) == 0) continue;
      sectors[i].checksums[sectors[i].count++] = libdeflate_crc32(0, sector, undo_sector);
      sectors[i].recorded = true;
    }
    before = now;
  };

  PageBytes now = old;
  const auto first = plan_.pages.lower_bound(PlannedPages::Key{number, Stage::fresh});
  for (auto page = first; page != plan_.pages.end() && page->first.number == number; ++page) {
    if (auto done = fill(page->second, now); !done) return done;
    add(now);
  }
  plan_.punched.within(start, std::min(end, plan_.size), [&](auto from, auto to) { zero(now, from, to); });
  add(now);
  zero(now, std::max(start, plan_.size), end);
  add(now);

  // A sector that is cut off has no version: it holds the old bytes, or zeros, or the file ends before it.
  for (std::size_t i = 0; i < sectors.size(); ++i) {
    if (start + i * undo_sector < plan_.size) continue;
    const auto sector = std::span(old).subspan(i * undo_sector, undo_sector);
    sectors[i].recorded = !all_zero(sector);
  }
  return {};
}

// What the sectors from `start` (of a page) to `end` will be.
Result<std::vector<Versions>> Commit::versions(std::uint64_t start, std::uint64_t end) {
  const std::uint64_t pages = divide_up(end - start, page_bytes);
  old_.resize(pages * page_bytes);
  if (auto done = image_.read(start, old_); !done) return tl::unexpected(done.error());

  std::vector<Versions> sectors(divide_up(end - start, undo_sector));
  for (std::uint64_t i = 0; i < pages; ++i) {
    PageBytes page;
    std::memcpy(page.data(), old_.data() + i * page_bytes, page_bytes);
    const std::size_t first = i * sectors_of_page;
    const auto here = std::span(sectors).subspan(first, std::min<std::size_t>(sectors_of_page, sectors.size() - first));
    if (auto done = find_versions(start / page_bytes + i, page, here); !done) return tl::unexpected(done.error());
  }
  return sectors;
}

// each(first, last, checksums) for each row of sectors with the same number of versions, from `first` on.
template <class Each>
Result<void> for_alike(std::span<const Versions> sectors, std::size_t first, Each&& each) {
  std::vector<std::uint32_t> checksums;
  while (first < sectors.size()) {
    std::size_t last = first + 1;
    while (last < sectors.size() && sectors[last].like(sectors[first])) ++last;
    if (sectors[first].recorded) {
      checksums.clear();
      for (std::uint32_t version = 0; version < sectors[first].count; ++version) {
        for (std::size_t i = first; i < last; ++i) checksums.push_back(sectors[i].checksums[version]);
      }
      if (Result<void> done = each(first, last, checksums); !done) return done;
    }
    first = last;
  }
  return {};
}

Result<void> Commit::keep(UndoWriter& writer, std::uint64_t start, std::uint64_t end) {
  const auto sectors = versions(start, end);
  if (!sectors) return tl::unexpected(sectors.error());
  return for_alike(*sectors, 0, [&](std::size_t first, std::size_t last, std::span<const std::uint32_t> checksums) {
    const std::uint64_t from = first * undo_sector;
    const std::uint64_t length = std::min<std::uint64_t>(last * undo_sector, end - start) - from;
    return writer.add(start + from, std::span(old_).subspan(from, length), checksums);
  });
}

// The first page may begin before the old end.
Result<void> Commit::keep_grown(UndoWriter& writer, std::uint64_t start, std::uint64_t end) {
  const auto sectors = versions(start, end);
  if (!sectors) return tl::unexpected(sectors.error());
  const std::uint64_t skipped = round_up(old_size_, undo_sector) - std::min(round_up(old_size_, undo_sector), start);
  return for_alike(*sectors, skipped / undo_sector,
                   [&](std::size_t first, std::size_t last, std::span<const std::uint32_t> checksums) {
                     return writer.add_grown(start + first * undo_sector, (last - first) * undo_sector, checksums);
                   });
}

Result<void> Commit::keep_log(UndoWriter& writer, const std::string& image_name) {
  for (std::uint64_t at = next_change(0, old_size_); at < old_size_;) {
    if (auto on = go_on(); !on) return on;
    const std::uint64_t end = end_of_changes(at, old_size_);
    if (auto done = keep(writer, at, end); !done) return done;
    at = next_change(round_up(end, page_bytes), old_size_);
  }
  for (std::uint64_t at = next_change(old_size_ / page_bytes * page_bytes, plan_.size); at < plan_.size;) {
    if (auto on = go_on(); !on) return on;
    const std::uint64_t end = end_of_changes(at, plan_.size);
    if (auto done = keep_grown(writer, at, end); !done) return done;
    at = next_change(round_up(end, page_bytes), plan_.size);
  }
  UndoHeader header;
  header.old_size = old_size_;
  header.new_size = plan_.size;
  header.image = image_name;
  header.image_id = image_.identity();
  header.old_modified = image_.modified();
  const auto sum = fingerprint(image_);
  if (!sum) return tl::unexpected(sum.error());
  header.fingerprint = *sum;
  if (auto on = go_on(); !on) return on;
  auto sealed = writer.seal(std::move(header));
  outcome.log_bytes = writer.bytes();
  return sealed;
}

// ---- what shall be there

Result<void> Commit::apply() {
  if (plan_.size > image_.size()) {
    if (auto done = resize(); !done) return done;
  }
  for (std::size_t stage = 0; stage < stages; ++stage) {
    if (auto done = write_stage(static_cast<Stage>(stage)); !done) return done;
    if (static_cast<Stage>(stage) == Stage::release) {
      if (auto done = punch(); !done) return done;
    }
    if (auto done = sync(); !done) return done;
  }
  if (plan_.size < image_.size()) {
    if (auto done = resize(); !done) return done;
  }
  return sync();
}

Result<void> Commit::write_stage(Stage stage) {
  struct Run {
    PlannedPages::Pages::const_iterator first;
    std::uint64_t pages;
  };
  std::vector<Run> runs;
  for (auto page = plan_.pages.begin(); page != plan_.pages.end(); ++page) {
    if (page->first.stage != stage) continue;
    const bool goes_on = !runs.empty() && runs.back().pages < piece_bytes / page_bytes &&
                         page->first.number == runs.back().first->first.number + runs.back().pages;
    goes_on ? void(++runs.back().pages) : runs.push_back({page, 1});
  }
  if (plan_.self_copy == PlannedPages::SelfCopy::up) std::ranges::reverse(runs);
  for (const auto& [first, pages] : runs) {
    if (auto done = write_pages(first, pages); !done) return done;
  }
  return {};
}

// `count` pages in a row, all of the stage of the first one.
Result<void> Commit::write_pages(PlannedPages::Pages::const_iterator first, std::uint64_t count) {
  const auto [number, stage] = first->first;
  new_.resize(count * page_bytes);
  auto page = first;
  for (std::uint64_t i = 0; i < count; ++page) {
    if (page->first.stage != stage) continue;
    PageBytes bytes;
    if (auto done = fill(page->second, bytes); !done) return done;
    std::memcpy(new_.data() + i++ * page_bytes, bytes.data(), page_bytes);
  }
  // What will be cut off stays as it is until then.
  const std::uint64_t start = number * page_bytes;
  const std::uint64_t end = std::min(round_up(plan_.size, undo_sector), image_.size());
  return write_differences(start, std::span(new_).first(std::min<std::uint64_t>(new_.size(), end - start)));
}

Result<void> Commit::write_differences(std::uint64_t offset, std::span<const std::byte> wanted) {
  old_.resize(wanted.size());
  if (auto done = image_.read(offset, old_); !done) return tl::unexpected(done.error());
  return for_differences(old_, wanted, [&](std::size_t start, std::size_t end) -> Result<void> {
    if (auto on = touch(); !on) return on;
    outcome.bytes_written += end - start;
    return image_.write(offset + start, wanted.subspan(start, end - start));
  });
}

Result<void> Commit::punch() {
  Result<void> result;
  plan_.punched.within(0, plan_.size, [&](std::uint64_t start, std::uint64_t end) {
    if (result) result = touch();
    if (!result) return;
    const auto done = image_.punch(start, end - start);
    if (!done) {
      result = tl::unexpected(done.error());
    } else if (*done) {
      outcome.bytes_punched += end - start;
    } else {
      outcome.punch_refused = true;
      result = write_zeros(start, end);
    }
  });
  return result;
}

Result<void> Commit::write_zeros(std::uint64_t start, std::uint64_t end) {
  new_.assign(piece_bytes, std::byte{0});
  for (std::uint64_t at = image_.next_data(start); at < end;) {
    const std::uint64_t length = std::min(end - at, piece_bytes - at % undo_sector);  // whole sectors after the first
    if (auto done = write_differences(at, std::span(new_).first(length)); !done) return done;
    at = image_.next_data(at + length);
  }
  return {};
}

Result<void> Commit::resize() {
  if (auto on = touch(); !on) return on;
  return image_.resize(plan_.size);
}

Result<void> Commit::sync() {
  if (!unsynced_) return {};
  if (auto on = go_on(); !on) return on;
  auto done = image_.sync();
  if (done) unsynced_ = false;
  return done;
}

// ---- the way back

Error Commit::recover(Error why) const {
  if (!touched_) {
    why.message += "; nothing was changed";
    return why;
  }
  if (!log_) {
    why.message += fmt::format("; {} is half changed, and no undo log was kept: {}", image_.path(),
                               plan_.self_copy != PlannedPages::SelfCopy::none
                                   ? "part of what it copies is overwritten, so don't repeat the command"
                                   : "repeat the command");
    return why;
  }
  const auto taken_back = UndoLog::read(*log_).and_then([&](const UndoLog& log) { return log.take_back(image_); });
  if (taken_back) {
    why.message += "; the image was taken back to what it was";
  } else {
    why.message += fmt::format(
        "; {} is half changed, since taking it back failed as well ({}): when the cause is gone, take it back with "
        "\"qcow2-dump -m undo -F {} {}\"",
        image_.path(), taken_back.error().message, log_->path(), image_.path());
  }
  return why;
}

}  // namespace

Result<Transaction::Outcome> Transaction::commit(MutableFile& image, MutableFile* log, const std::string& image_name,
                                                 const std::atomic<bool>& interrupted, std::int64_t modified) {
  const auto unchanged = [](Error error) {
    error.message += "; nothing was changed";
    return tl::unexpected(std::move(error));
  };
  if (broken_) return unchanged(*broken_);
  if (empty()) return Outcome{};
  if (image.size() != plan_->base.size()) {
    return unchanged({EAGAIN, fmt::format("{} has {} bytes, and had {} when the changes were planned: another process "
                                          "changes it; stop that process first",
                                          image.path(), image.size(), plan_->base.size())});
  }

  Commit commit(*plan_, image, log, interrupted);
  std::optional<UndoWriter> writer;
  if (log) {
    if (auto kept = commit.keep_log(writer.emplace(*log), image_name); !kept) return unchanged(kept.error());
  }
  auto done = commit.apply();
  if (done && modified != 0) {
    image.set_modified(modified);
    done = image.sync();  // before the log records this time: that must not survive a loss of power alone
  }
  if (done && writer) done = writer->done(image.modified());
  if (!done) return tl::unexpected(commit.recover(done.error()));
  return commit.outcome;
}

Result<Transaction::Outcome> undo(MutableFile& image, MutableFile& log, MutableFile* own_log,
                                  const std::string& image_name, bool forced, const std::atomic<bool>& interrupted) {
  const auto read = UndoLog::read(log, forced);
  if (!read) return tl::unexpected(read.error());
  const UndoHeader& header = read->header();
  if (!forced) {
    if (auto fit = read->fits(image, image.modified()); !fit) return tl::unexpected(fit.error());
  }
  Transaction transaction(image);
  if (auto planned = read->plan(transaction); !planned) return tl::unexpected(planned.error());

  if (header.state == UndoState::done) {
    if (auto said = set_state(log, header, UndoState::sealed); !said) return tl::unexpected(said.error());
  }
  auto outcome = transaction.commit(image, own_log, image_name, interrupted, header.old_modified);
  // As long as the image is half taken back, the log goes on saying so.
  const bool whole = outcome || read->fits(image, image.modified());
  if (whole && header.state == UndoState::done) {
    if (auto said = set_state(log, header, UndoState::done); !said && outcome) return tl::unexpected(said.error());
  }
  return outcome;
}

}  // namespace qd
