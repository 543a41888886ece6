// Planning, and the look at what is planned. How it becomes real is in commit.cc.
#include "journal/transaction.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "base/checked.h"
#include "journal/pages.h"

namespace qd {
namespace {

constexpr std::uint64_t longest = std::numeric_limits<std::int64_t>::max();  // length of a file

class View final : public File {
 public:
  explicit View(const PlannedPages& plan) : plan_(plan) {}

  Result<std::size_t> read(std::uint64_t offset, std::span<std::byte> into) const override;
  std::uint64_t size() const override { return plan_.size; }
  std::uint64_t allocated_bytes() const override { return plan_.base.allocated_bytes() + fresh(0, size()); }
  FileTraits traits() const override { return plan_.base.traits(); }
  const std::string& path() const override { return plan_.base.path(); }
  FileIdentity identity() const override { return plan_.base.identity(); }
  std::uint64_t waits() const override { return plan_.base.waits(); }
  void will_need(std::uint64_t offset, std::uint64_t length) const override { plan_.base.will_need(offset, length); }
  std::uint64_t stored_bytes(std::uint64_t offset, std::uint64_t length) const override;
  std::uint64_t next_data(std::uint64_t offset) const override;

 private:
  std::uint64_t within(std::uint64_t offset, std::uint64_t length) const {
    return offset < size() ? std::min(length, size() - offset) : 0;
  }
  // Bytes of the range behind the base's end.
  std::uint64_t fresh(std::uint64_t offset, std::uint64_t length) const {
    const std::uint64_t start = std::max(offset, plan_.base.size());
    return start < offset + length ? offset + length - start : 0;
  }
  Result<void> lay_pages(std::uint64_t offset, std::span<std::byte> into) const;

  const PlannedPages& plan_;
};

Result<std::size_t> View::read(std::uint64_t offset, std::span<std::byte> into) const {
  const std::shared_lock reading(plan_.mutex);
  const auto wanted = into.first(static_cast<std::size_t>(within(offset, into.size())));
  if (auto done = plan_.base.read(offset, wanted); !done) return done;
  plan_.punched.within(offset, offset + wanted.size(), [&](std::uint64_t from, std::uint64_t to) {
    std::memset(wanted.data() + (from - offset), 0, to - from);
  });
  if (auto done = lay_pages(offset, wanted); !done) return tl::unexpected(done.error());
  std::fill(into.begin() + static_cast<std::ptrdiff_t>(wanted.size()), into.end(), std::byte{0});
  count(wanted.size());
  return wanted.size();
}

// Puts the pages over what the base holds. A whole check reads through here: a read that meets no page costs one look.
Result<void> View::lay_pages(std::uint64_t offset, std::span<std::byte> into) const {
  if (into.empty()) return {};
  const std::uint64_t end = offset + into.size();
  auto at = plan_.pages.lower_bound(PlannedPages::Key{offset / page_bytes, Stage::fresh});
  while (at != plan_.pages.end() && at->first.number * page_bytes < end) {
    const auto page = at++;
    if (at != plan_.pages.end() && at->first.number == page->first.number) continue;  // a later stage has it too
    PageBytes bytes;
    if (auto done = fill(page->second, bytes); !done) return done;
    const std::uint64_t start = page->first.number * page_bytes;
    const std::uint64_t from = std::max(start, offset);
    std::memcpy(into.data() + (from - offset), bytes.data() + (from - start), std::min(start + page_bytes, end) - from);
  }
  return {};
}

std::uint64_t View::next_data(std::uint64_t offset) const {
  const std::shared_lock reading(plan_.mutex);
  const std::uint64_t base_end = plan_.base.size();
  std::uint64_t next = offset < base_end ? plan_.base.next_data(offset) : offset;
  const auto page = plan_.pages.lower_bound(PlannedPages::Key{offset / page_bytes, Stage::fresh});
  if (page != plan_.pages.end()) next = std::min(next, std::max(offset, page->first.number * page_bytes));
  return std::min(next, size());
}

// A page that is planned in a hole of the base counts as stored.
std::uint64_t View::stored_bytes(std::uint64_t offset, std::uint64_t length) const {
  const std::shared_lock reading(plan_.mutex);
  length = within(offset, length);
  std::uint64_t stored = plan_.base.stored_bytes(offset, length) + fresh(offset, length);
  auto at = plan_.pages.lower_bound(PlannedPages::Key{offset / page_bytes, Stage::fresh});
  const std::uint64_t end = std::min(offset + length, plan_.base.size());
  for (; stored < length && at != plan_.pages.end() && at->first.number * page_bytes < end; ++at) {
    if (std::next(at) != plan_.pages.end() && std::next(at)->first.number == at->first.number) continue;
    const std::uint64_t from = std::max(at->first.number * page_bytes, offset);
    const std::uint64_t bytes = std::min((at->first.number + 1) * page_bytes, end) - from;
    stored += bytes - std::min(bytes, plan_.base.stored_bytes(from, bytes));
  }
  return std::min(stored, length);
}

// each(offset, length) for every page that the range touches.
template <class Each>
Result<void> for_pages(std::uint64_t offset, std::uint64_t length, Each&& each) {
  while (length > 0) {
    const std::uint64_t here = std::min(length, page_bytes - offset % page_bytes);
    if (Result<void> done = each(offset, here); !done) return done;
    offset += here;
    length -= here;
  }
  return {};
}

Result<void> require_room(const PlannedPages& plan, std::uint64_t offset, std::uint64_t length) {
  const std::uint64_t limit = plan.base.traits().resizable ? longest : plan.base.size();
  const auto end = checked_add(offset, length);
  if (end && *end <= limit) return {};
  return fail(limit == longest ? EFBIG : ENOSPC,
              fmt::format("cannot write {} bytes at {:#x} of {}: it {}; enlarge it, or convert the image into a file",
                          length, offset, plan.base.path(),
                          limit == longest ? "would be larger than a file can be" : "ends before that"));
}

}  // namespace

Transaction::Transaction(const File& base) : plan_(std::make_unique<PlannedPages>(base)) {}
Transaction::~Transaction() = default;

Result<void> Transaction::write(Stage stage, std::uint64_t offset, std::span<const std::byte> bytes) {
  const std::lock_guard writing(plan_->mutex);
  if (auto room = require_room(*plan_, offset, bytes.size()); !room || bytes.empty()) return room;
  plan_->size = std::max(plan_->size, offset + bytes.size());
  return for_pages(offset, bytes.size(), [&](std::uint64_t at, std::uint64_t length) {
    return plan_->patch(stage, at, bytes.subspan(at - offset, length));
  });
}

Result<void> Transaction::copy(Stage stage, std::uint64_t offset, const File& source, std::uint64_t from,
                               std::uint64_t length) {
  if (auto room = require_room(*plan_, offset, length); !room || length == 0) return room;
  {
    const std::lock_guard writing(plan_->mutex);
    plan_->size = std::max(plan_->size, offset + length);
    const bool overlapping =
        &source == &plan_->base && from != offset && std::max(from, offset) - std::min(from, offset) < length;
    if (overlapping) plan_->self_copy = from < offset ? PlannedPages::SelfCopy::up : PlannedPages::SelfCopy::down;
  }
  return for_pages(offset, length, [&](std::uint64_t at, std::uint64_t here) -> Result<void> {
    const CopiedPage place{&source, from + (at - offset)};
    PageBytes bytes;
    const auto part = std::span(bytes).first(static_cast<std::size_t>(here));
    if (auto done = source.read(place.from, part); !done) return tl::unexpected(done.error());
    const std::lock_guard writing(plan_->mutex);
    return plan_->patch(stage, at, part, here == page_bytes ? &place : nullptr);
  });
}

void Transaction::punch(std::uint64_t offset, std::uint64_t length) {
  const std::lock_guard writing(plan_->mutex);
  const std::uint64_t end = std::min(checked_add(offset, length).value_or(plan_->size), plan_->size);
  if (auto done = plan_->clear(offset, end); !done && !broken_) broken_ = done.error();
}

void Transaction::resize(std::uint64_t bytes) {
  if (!plan_->base.traits().resizable) return;
  const std::lock_guard writing(plan_->mutex);
  // What is cut off is gone, also when the image is made longer again before any of it is real.
  if (bytes < plan_->size) {
    if (auto done = plan_->clear(bytes, plan_->size); !done && !broken_) broken_ = done.error();
  }
  plan_->size = bytes;
}

std::unique_ptr<File> Transaction::view() const { return std::make_unique<View>(*plan_); }

bool Transaction::empty() const {
  return plan_->pages.empty() && plan_->punched.empty() && plan_->size == plan_->base.size();
}

void Transaction::forget() {
  const std::lock_guard writing(plan_->mutex);
  plan_->pages.clear();
  plan_->punched = {};
  plan_->size = plan_->base.size();
  plan_->self_copy = PlannedPages::SelfCopy::none;
  broken_.reset();
}

std::uint64_t Transaction::size() const { return plan_->size; }

std::uint64_t Transaction::planned_bytes() const { return plan_->pages.size() * page_bytes; }

}  // namespace qd
