// Who shares what within a group. Tables of several states that map the same stretch of the disk agree in most entries
// (the cluster is shared, and claimed once) and differ in some (the cluster was copied on write).
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "check/report.h"
#include "image/group.h"

namespace qd::check {

struct Context;

// The states that have the very same clusters in a stretch of entries.
struct Sharing {
  bool claims = true;            // false for all tables but one of those that share: a cluster is claimed once
  bool identical = false;        // the entries of all tables differ in COPIED at most
  std::uint64_t references = 0;  // how many L1 entries name one of the tables
  bool active = false, inactive = false;
  std::uint32_t only_state = ~0u;  // the one state that has these clusters, if no other has

  void add(const image::Table& table) {
    for (const image::L1Entry& e : table.entries) {
      (e.state == 0 ? active : inactive) = true;
      only_state = references == 0 && e.copies == 1 ? e.state : ~0u;
      references += e.copies;
    }
  }
  void count_data(std::uint64_t clusters, Usage& usage, std::vector<StateReport>& reports) const {
    (active && inactive ? usage.shared : active ? usage.active : usage.inactive) += clusters;
    if (only_state != ~0u) reports[only_state].alone += clusters;
  }
};

// By number of a group's tables: the first table whose entries refer to the same clusters in this stretch. Tables that
// can't be read share with nobody.
using Leaders = std::vector<std::size_t>;
inline constexpr std::size_t nobody = ~std::size_t{0};

// What an entry refers to: equal keys, same clusters. 0: nothing. Flags don't matter (a zero flag may be set on a
// cluster that a snapshot still reads).
// A compressed entry with a subcluster bitmap is garbage, and refers to nothing either.
inline std::uint64_t key(std::uint64_t entry, std::uint64_t bitmap) {
  if ((entry & format::compressed_flag) && bitmap != 0) return 0;
  return entry & format::compressed_flag ? entry & ~format::copied_flag : entry & format::offset_mask;
}

// Cuts a group into stretches of entries within which each table shares with the same others.
class SharedStretches {
 public:
  // `none`: by number of the table, what isn't one: left out, shares with nobody. Empty if there are none.
  explicit SharedStretches(const image::Group& group, const std::vector<bool>& none = {});

  // Calls each(table number, begin, end, sharing, leaders) for every table that can be read.
  template <class Each>
  void for_each(Each&& each) {
    if (readable_.empty()) return;
    std::uint64_t begin = group_.begin;
    find_leaders(begin, leaders_);
    while (begin < group_.end) {
      const std::uint64_t end = readable_.size() == 1 ? group_.end : stretch_end(begin);
      find_sharing();
      for (const std::size_t t : readable_) {
        Sharing& sharing = sharing_[leaders_[t]];
        sharing.claims = leaders_[t] == t;
        each(t, begin, end, std::as_const(sharing), leaders_);
      }
      begin = end;
      std::swap(leaders_, next_);
    }
  }

 private:
  std::uint64_t key_at(std::size_t table, std::uint64_t index) const;
  void find_leaders(std::uint64_t index, Leaders& into);
  std::uint64_t stretch_end(std::uint64_t begin);
  void find_sharing();

  const image::Group& group_;
  std::vector<std::size_t> readable_;  // table numbers
  Leaders leaders_, next_;             // of this stretch, of the one behind it
  bool identical_ = true;              // within this stretch
  std::vector<Sharing> sharing_;       // in this stretch, of the leaders
  std::vector<std::pair<std::uint64_t, std::size_t>> sorted_;
};

// Which table each state's predecessor has: the active state (0) comes after the last snapshot, snapshot n after
// snapshot n - 1.
class Predecessors {
 public:
  Predecessors(const image::Group& group, const std::vector<std::uint32_t>& walked_as);

  // The number of the table that the state before has, or nobody.
  std::size_t before(std::uint32_t state) const {
    if (table_of_.size() == 1 || state == 1) return nobody;
    return table_of_[walked_as_[state == 0 ? table_of_.size() - 1 : state - 1]];
  }

 private:
  const std::vector<std::uint32_t>& walked_as_;
  std::vector<std::size_t> table_of_;  // by state
};

// Finds the states that are walked as one (Context::walked_as, copies).
void find_copies(Context& context);

}  // namespace qd::check
