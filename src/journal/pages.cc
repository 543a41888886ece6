#include "journal/pages.h"

#include <fmt/core.h>
#include <libdeflate.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <optional>
#include <utility>
#include <vector>

#include "base/endian.h"

namespace qd {
namespace {

constexpr std::size_t words = page_bytes / sizeof(std::uint64_t);

std::uint64_t word(const PageBytes& bytes, std::size_t index) {
  return load_big_endian<std::uint64_t>(bytes.data() + index * sizeof(std::uint64_t));
}

std::optional<Progression> progression(const PageBytes& bytes) {
  const std::uint64_t first = word(bytes, 0);
  const std::uint64_t step = word(bytes, 1) - first;
  for (std::size_t i = 2; i < words; ++i) {
    if (word(bytes, i) != first + i * step) return std::nullopt;
  }
  return Progression{first, step};
}

std::optional<SparsePage> sparse(const PageBytes& bytes) {
  constexpr std::size_t most = 32;  // words: they take an eighth of the page's room
  SparsePage page;
  for (std::size_t i = 0; i < words; ++i) {
    std::uint64_t raw = 0;
    std::memcpy(&raw, bytes.data() + i * sizeof raw, sizeof raw);
    if (raw == 0) continue;
    if (page.words.size() == most) return std::nullopt;
    page.words.push_back({static_cast<std::uint16_t>(i), raw});
  }
  page.words.shrink_to_fit();
  return page;
}

void zero(PageBytes& page, std::uint64_t page_start, std::uint64_t start, std::uint64_t end) {
  std::memset(page.data() + (start - page_start), 0, end - start);
}

std::uint32_t checksum(const PageBytes& bytes) { return libdeflate_crc32(0, bytes.data(), bytes.size()); }

Page make_page(const PageBytes& bytes, const CopiedPage* copied) {
  if (const auto row = progression(bytes)) return *row;
  if (copied) return CopiedPage{copied->source, copied->from, checksum(bytes)};
  if (auto few = sparse(bytes)) return std::move(*few);
  return std::make_unique<const PageBytes>(bytes);
}

}  // namespace

Result<void> fill(const Page& page, PageBytes& into) {
  if (const auto* row = std::get_if<Progression>(&page)) {
    for (std::size_t i = 0; i < words; ++i) {
      const std::uint64_t raw = from_big_endian(row->first + i * row->step);
      std::memcpy(into.data() + i * sizeof raw, &raw, sizeof raw);
    }
  } else if (const auto* few = std::get_if<SparsePage>(&page)) {
    into.fill(std::byte{0});
    for (const auto& [index, raw] : few->words) std::memcpy(into.data() + index * sizeof raw, &raw, sizeof raw);
  } else if (const auto* copied = std::get_if<CopiedPage>(&page)) {
    if (auto done = copied->source->read(copied->from, into); !done) return tl::unexpected(done.error());
    if (checksum(into) != copied->checksum) {
      return fail(EBUSY, fmt::format("{} was changed at 0x{:x} while it was copied from; try again when nobody writes "
                                     "to it",
                                     copied->source->path(), copied->from));
    }
  } else {
    into = *std::get<std::unique_ptr<const PageBytes>>(page);
  }
  return {};
}

// `next`: the first key behind the one that is wanted.
Result<void> PlannedPages::from(Pages::const_iterator next, std::uint64_t number, PageBytes& into) const {
  if (next != pages.begin() && std::prev(next)->first.number == number) return fill(std::prev(next)->second, into);
  if (auto done = base.read(number * page_bytes, into); !done) return tl::unexpected(done.error());
  return {};
}

Result<void> PlannedPages::after(Stage stage, std::uint64_t number, PageBytes& into) const {
  if (auto done = from(pages.upper_bound(Key{number, stage}), number, into); !done) return done;
  const std::uint64_t start = number * page_bytes;
  punched.within(start, start + page_bytes, [&](std::uint64_t a, std::uint64_t b) { zero(into, start, a, b); });
  return {};
}

Result<void> PlannedPages::put(Stage stage, std::uint64_t number, const PageBytes& bytes, const CopiedPage* copied) {
  const Key key{number, stage};
  PageBytes below;
  if (auto done = from(pages.lower_bound(key), number, below); !done) return done;
  punched.remove(number * page_bytes, (number + 1) * page_bytes);
  if (bytes == below) {
    pages.erase(key);
  } else {
    pages.insert_or_assign(key, make_page(bytes, copied));
  }
  return {};
}

Result<void> PlannedPages::patch(Stage stage, std::uint64_t offset, std::span<const std::byte> bytes,
                                 const CopiedPage* copied) {
  const std::uint64_t number = offset / page_bytes;
  const auto place = static_cast<std::ptrdiff_t>(offset % page_bytes);

  // All are made before the first is put: put() takes the page out of the punched ranges, which all of them start from.
  struct Patched {
    Stage stage;
    PageBytes bytes;
  };
  std::vector<Patched> patched;
  const auto add = [&](Stage of) -> Result<void> {
    Patched& page = patched.emplace_back(Patched{of, {}});
    if (bytes.size() < page_bytes) {
      if (auto done = after(of, number, page.bytes); !done) return done;
    }
    std::copy(bytes.begin(), bytes.end(), page.bytes.begin() + place);
    return {};
  };
  if (auto done = add(stage); !done) return done;
  for (auto at = pages.upper_bound(Key{number, stage}); at != pages.end() && at->first.number == number; ++at) {
    if (auto done = add(at->first.stage); !done) return done;
  }
  for (const Patched& page : patched) {
    if (auto done = put(page.stage, number, page.bytes, copied); !done) return done;
  }
  return {};
}

Result<void> PlannedPages::clear(std::uint64_t start, std::uint64_t end) {
  if (start >= end) return {};
  // Where the base has a hole there is nothing to give back.
  const std::uint64_t in_base = std::min(end, base.size());
  if (start < in_base && base.stored_bytes(start, in_base - start) > 0) punched.add(start, in_base);
  auto at = pages.lower_bound(Key{start / page_bytes, Stage::fresh});
  while (at != pages.end() && at->first.number * page_bytes < end) {
    const std::uint64_t page_start = at->first.number * page_bytes;
    const std::uint64_t page_end = page_start + page_bytes;
    if (start <= page_start && page_end <= end) {
      at = pages.erase(at);
      continue;
    }
    punched.remove(page_start, page_end);
    PageBytes bytes;
    if (auto done = fill(at->second, bytes); !done) return done;
    zero(bytes, page_start, std::max(start, page_start), std::min(end, page_end));
    at->second = make_page(bytes, nullptr);
    ++at;
  }
  return {};
}

}  // namespace qd
