// Findings are data: what is wrong and where, ready for any renderer. Equal problems in a row are one finding with a
// count, so that a lost table of a terabyte image is one line and not ten million.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/units.h"
#include "check/problems.h"

namespace qd::check {

// Which tables an index belongs to: the active ones, or those of snapshot number N of the snapshot table.
inline constexpr std::int32_t active_state = -1;
inline constexpr std::int32_t no_state = -2;

struct Finding {
  Code code{};
  std::int32_t state = no_state;            // active_state, snapshot number, or no_state where it doesn't matter
  std::uint64_t count = 1;                  // equal problems in a row, beginning with the place named here
  std::optional<std::uint32_t> l1_index{};
  std::optional<std::uint32_t> l2_index{};
  std::optional<std::uint64_t> index{};       // entry of another table (refcount table, bitmap table, cluster number)
  std::optional<HostOffset> host{};           // the cluster or structure concerned
  std::optional<GuestOffset> guest{};         // the guest data concerned
  std::optional<std::uint64_t> found{};       // the value read
  std::optional<std::uint64_t> expected{};    // the value that would be right
  std::string detail{};                       // words that only this place knows (a name, a system error)
};

// Keeps the first findings word for word, as many as there is room for, and counts all of them. Without a limit, an
// image full of garbage would cost more memory than it is long.
class Findings {
 public:
  static constexpr std::size_t limit = 50'000;      // of a whole image
  static constexpr std::size_t part_limit = 8'192;  // of a part of it, while others are at work

  explicit Findings(std::size_t room = limit) : room_(room) {}

  // Adds one; joins it to the one before when that is the same problem at the place just before.
  void add(Finding finding);
  // The same for the commonest kind, the refcount of a cluster. Adds it only if it can be joined to the one before.
  bool extend(Code code, std::int32_t state, std::uint64_t index, std::uint64_t found, std::uint64_t expected);
  // Counts `n` of a kind that are not worth a place in the list.
  void add_unlisted(Code code, std::uint64_t n) {
    counts_[static_cast<std::size_t>(code)] += n;
    unlisted_ += n;
  }
  // Appends what another collector has gathered, in order.
  void append(Findings&& other);

  const std::vector<Finding>& list() const { return list_; }
  std::uint64_t count(Code code) const { return counts_[static_cast<std::size_t>(code)]; }
  std::uint64_t count(Doubt doubt) const;
  std::uint64_t errors(Subject subject) const;  // without warnings and leaks
  bool any(Doubt doubt) const { return first(doubt).has_value(); }
  bool any(Hidden hidden) const;
  std::optional<Code> first(Doubt doubt) const;  // in the order of the table of problems
  std::uint64_t total() const;
  std::uint64_t unlisted() const { return unlisted_; }  // problems counted but not kept
  Status status() const;                                // the worst of them

 private:
  std::size_t room_;
  std::vector<Finding> list_;
  std::array<std::uint64_t, code_count> counts_{};
  std::uint64_t unlisted_ = 0;
};

}  // namespace qd::check
