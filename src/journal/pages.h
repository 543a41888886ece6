// What a transaction plans: pages of 4 KiB, each in the stage that writes it, and the ranges that become zeros.
//
// A page holds what is there after its stage, so the page of the latest stage is what will be. It is kept in the first
// form that fits: as a row of numbers, as the place that it is a copy of, as its few words that aren't zero, or as its
// bytes.
//
// Pages and punched ranges never overlap: a write into a punched range takes its whole page out of it. A page that
// equals what lies below it (its page of an earlier stage, or the base) isn't kept: a plan has only pages that change
// something.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <shared_mutex>
#include <span>
#include <variant>
#include <vector>

#include "base/ranges.h"
#include "base/result.h"
#include "io/file.h"
#include "journal/transaction.h"

namespace qd {

inline constexpr std::uint64_t page_bytes = 4096;

using PageBytes = std::array<std::byte, page_bytes>;

// Big-endian 64-bit words: first, first + step, first + 2 * step, … A step of 0 covers every uniform page.
struct Progression {
  std::uint64_t first;
  std::uint64_t step;
};

struct SparsePage {
  struct Word {
    std::uint16_t index;  // in the page
    std::uint64_t raw;    // as it lies in the file
  };
  std::vector<Word> words;
};

// The source is read again when the page is logged and when it is written. Both must see what the plan was made for,
// though another file than the image may be anybody's to write to.
struct CopiedPage {
  const File* source;
  std::uint64_t from;
  std::uint32_t checksum = 0;  // CRC-32 of what was there when it was planned
};

using Page = std::variant<Progression, SparsePage, CopiedPage, std::unique_ptr<const PageBytes>>;

// EBUSY if the source of a copy doesn't hold any more what it held.
Result<void> fill(const Page& page, PageBytes& into);

struct PlannedPages {
  explicit PlannedPages(const File& file) : base(file), size(file.size()) {}

  // One map holds all stages: one look tells whether a place has any page, and the stages of a page lie side by side.
  struct Key {
    std::uint64_t number;  // of the page
    Stage stage;
    auto operator<=>(const Key&) const = default;
  };
  using Pages = std::map<Key, Page>;

  // What a page holds after `stage`, without the pages of later ones. Beyond the base's end it is zeros.
  Result<void> after(Stage stage, std::uint64_t number, PageBytes& into) const;

  // Writes into one page: that of this stage, and those of later stages that have it. `copied`: a place elsewhere that
  // holds all bytes of the page. After an error, of this or another function, the plan is good for nothing.
  Result<void> patch(Stage stage, std::uint64_t offset, std::span<const std::byte> bytes,
                     const CopiedPage* copied = nullptr);
  // Makes the range zeros; pages that lie in it are forgotten.
  Result<void> clear(std::uint64_t start, std::uint64_t end);

  const File& base;
  std::uint64_t size;
  Pages pages;
  Ranges punched;  // within the base
  // A copy within the base whose target overlaps its source. If it goes up, the last page is written first.
  enum class SelfCopy { none, down, up } self_copy = SelfCopy::none;
  // A walk over the view may go on while changes to what it has found are planned.
  mutable std::shared_mutex mutex;

 private:
  // Keeps what the page holds after `stage`.
  Result<void> put(Stage stage, std::uint64_t number, const PageBytes& bytes, const CopiedPage* copied);
  Result<void> from(Pages::const_iterator next, std::uint64_t number, PageBytes& into) const;
};

}  // namespace qd
