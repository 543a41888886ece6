// A repair as plain data: what was asked for, what will be done and why, and what was refused.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/units.h"
#include "check/check.h"
#include "check/problems.h"

namespace qd::repair {

// What -R asks for. `all` is error, reuse, and leak.
struct Wanted {
  bool leak = false;     // refcounts that are too high
  bool error = false;    // refcounts, flags, refcount structures, snapshot table, bitmaps
  bool reuse = false;    // clusters with several owners
  bool discard = false;  // space that nobody uses
  bool force = false;    // also what is suspicious
};

// One change, in the words of a person. Equal changes in a row are one action.
struct Action {
  std::optional<check::Code> reason;  // nothing: the user asked for it, see Plan::asked
  bool lossy = false;                 // something is dropped that might have been of use
  HostOffset at;                      // of the first byte that changes
  std::uint64_t bytes = 0;            // how many change
  std::string text;
  std::string before, after;  // short ones in hex
};

struct Refusal {
  check::Code reason{};
  std::string text;
};

struct Plan {
  static constexpr std::size_t limit = 10'000;  // actions listed; all are done

  std::string_view title = "Repair", asked = "discard";  // what it is, and what for
  std::vector<Action> actions;
  std::uint64_t unlisted = 0;
  std::vector<Refusal> refusals;

  std::string_view reason(const Action& action) const {
    return action.reason ? check::problem(*action.reason).name : asked;
  }
  void add(Action action) { actions.size() < limit ? actions.push_back(std::move(action)) : void(++unlisted); }
};

}  // namespace qd::repair
