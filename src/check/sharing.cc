#include "check/sharing.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "base/wide.h"
#include "check/context.h"

namespace qd::check {
namespace {

constexpr std::uint64_t block = 8;  // entries; tables have a multiple of them

// The first block in which the two tables differ by more than the flags to ignore, as a number of words; `count` if
// there is none.
QD_WIDE std::uint64_t first_difference(const std::uint64_t* a, const std::uint64_t* b, std::uint64_t count,
                                       std::uint64_t ignored) {
  std::uint64_t i = 0;
  for (; i < count; i += block) {
    std::uint64_t different = 0;
    for (unsigned k = 0; k < block; ++k) different |= a[i + k] ^ b[i + k];
    if ((different & ~ignored) != 0) break;
  }
  return i;
}

}  // namespace

SharedStretches::SharedStretches(const image::Group& group, const std::vector<bool>& none)
    : group_(group), leaders_(group.tables.size(), nobody), next_(leaders_), sharing_(group.tables.size()) {
  for (std::size_t t = 0; t < group.tables.size(); ++t) {
    if (!group.tables[t].l2.empty() && (none.empty() || !none[t])) readable_.push_back(t);
  }
  sorted_.resize(readable_.size());
}

std::uint64_t SharedStretches::key_at(std::size_t table, std::uint64_t index) const {
  const image::L2Entries& l2 = group_.tables[table].l2;
  return key(l2.raw(index), l2.bitmap(index));
}

void SharedStretches::find_leaders(std::uint64_t index, Leaders& into) {
  for (std::size_t r = 0; r < readable_.size(); ++r) sorted_[r] = {key_at(readable_[r], index), readable_[r]};
  std::sort(sorted_.begin(), sorted_.end());
  for (std::size_t k = 0; k < sorted_.size(); ++k) {
    const bool same = k > 0 && sorted_[k].first == sorted_[k - 1].first;
    into[sorted_[k].second] = same ? into[sorted_[k - 1].second] : sorted_[k].second;
  }
}

// In the usual case all tables say the same: that goes in long strides. Where they don't, it goes entry by entry to the
// end of the block.
std::uint64_t SharedStretches::stretch_end(std::uint64_t begin) {
  const image::L2Entries& first = group_.tables[readable_.front()].l2;
  // COPIED says nothing about what is shared; but in a subcluster bitmap the same bit is no flag.
  const std::uint64_t ignored = first.width() == 1 ? format::copied_flag : 0;
  identical_ = true;
  for (std::uint64_t i = begin; i < group_.end;) {
    if (i % block == 0) {
      std::uint64_t words = (group_.end - i) * first.width();
      for (const std::size_t t : readable_) {
        if (t != readable_.front()) words = first_difference(first.at(i), group_.tables[t].l2.at(i), words, ignored);
      }
      // A block of words holds 8 entries or 4; the keys of the rest are compared one by one.
      const std::uint64_t same = words / first.width() / block * block;
      if (same > 0) {
        for (const std::size_t t : readable_) next_[t] = readable_.front();
        if (next_ != leaders_) return i;
        i += same;
        continue;
      }
    }
    identical_ = false;
    const std::uint64_t stop = std::min(group_.end, (i / block + 1) * block);
    for (; i < stop; ++i) {
      find_leaders(i, next_);
      if (next_ != leaders_) return i;
    }
  }
  return group_.end;
}

void SharedStretches::find_sharing() {
  for (const std::size_t t : readable_) {  // a leader comes before those it leads
    Sharing& sharing = sharing_[leaders_[t]];
    if (leaders_[t] == t) sharing = {.identical = identical_};
    sharing.add(group_.tables[t]);
  }
}

Predecessors::Predecessors(const image::Group& group, const std::vector<std::uint32_t>& walked_as)
    : walked_as_(walked_as), table_of_(walked_as.size(), nobody) {
  for (std::size_t t = 0; t < group.tables.size(); ++t) {
    for (const image::L1Entry& e : group.tables[t].entries) table_of_[e.state] = t;
  }
}

// Programs never give snapshots a common L1 table, but a file can be made so: thousands of them are then walked as one.
void find_copies(Context& c) {
  std::map<std::tuple<HostOffset, std::uint32_t, std::uint64_t, std::uint64_t>, std::uint32_t> first;
  c.copies.assign(c.result.states.size(), 0);
  for (std::uint32_t s = 0; s < c.copies.size(); ++s) {
    const image::State& state = c.result.states[s];
    const std::tuple l1(state.l1_offset, state.l1_size, state.disk_size, state.vm_state);
    c.walked_as.push_back(s == 0 ? 0 : first.try_emplace(l1, s).first->second);
    ++c.copies[c.walked_as.back()];
  }
}

}  // namespace qd::check
