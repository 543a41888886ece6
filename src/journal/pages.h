// What a transaction plans: pages of 4 KiB, each in the stage that writes it, and the ranges that become zeros.
//
// A page holds what is there after its stage, so the page of the latest stage is what will be. It is kept as a row of
// numbers, as the few of its words that aren't zero, or as the place of its bytes in another file where it is such a
// one, and as its bytes only where it is none of these.
//
// Pages and punched ranges never overlap: a write into a punched range takes its whole page out of it. A page that is
// as what lies below it isn't kept: a plan without pages changes nothing.
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

struct CopiedPage {
  const File* source;
  std::uint64_t from;
};

using Page = std::variant<Progression, SparsePage, CopiedPage, std::unique_ptr<const PageBytes>>;

Result<void> fill(const Page& page, PageBytes& into);

struct PlannedPages {
  explicit PlannedPages(const File& file) : base(file), size(file.size()) {}

  // One map for all stages: whether a place has any page is one look, and the stages of a page lie side by side.
  struct Key {
    std::uint64_t number;  // of the page
    Stage stage;
    auto operator<=>(const Key&) const = default;
  };
  using Pages = std::map<Key, Page>;

  // What a page holds after `stage`, without the pages of later ones. Beyond the base's end it is zeros.
  Result<void> after(Stage stage, std::uint64_t number, PageBytes& into) const;

  // Writes into one page, of this stage and of all later ones that have it. `copied`: where else all of the page is
  // found. After an error (so here as elsewhere) the plan is good for nothing.
  Result<void> patch(Stage stage, std::uint64_t offset, std::span<const std::byte> bytes,
                     const CopiedPage* copied = nullptr);
  // Makes the range zeros; pages that lie in it are forgotten.
  Result<void> clear(std::uint64_t start, std::uint64_t end);

  const File& base;
  std::uint64_t size;
  Pages pages;
  Ranges punched;  // within the base
  // A copy within the base that goes into what it reads. If upwards, the last page is written first.
  enum class SelfCopy { none, down, up } self_copy = SelfCopy::none;
  // A walk over the view goes on while what it found is planned.
  mutable std::shared_mutex mutex;

 private:
  // Keeps what the page holds after `stage`.
  Result<void> put(Stage stage, std::uint64_t number, const PageBytes& bytes, const CopiedPage* copied);
  Result<void> from(Pages::const_iterator next, std::uint64_t number, PageBytes& into) const;
};

}  // namespace qd
