// COPIED promises that the refcount is 1, so that a write needs no copy. Now that the refcounts are right, the flag can
// be made to agree with them. This step walks the tables instead of reading the findings, which may be millions.
//
// The flag is cleared before a cluster gets another owner (stage claim), and set after it has lost one (stage release):
// at no time may a writer take a shared cluster for its own.
#include <fmt/core.h>

#include <algorithm>

#include "image/walk.h"
#include "repair/steps.h"

namespace qd::repair {
namespace {

using check::Code;

struct MendedTable {
  HostOffset at;
  std::uint32_t l1_index = 0;
  std::uint64_t entries = 0;  // changed
  bool clears = false, sets = false;
  std::vector<std::uint64_t> cleared, words;  // big-endian: with flags cleared only; and with flags set as well
};

struct MendedL1 {
  HostOffset at;
  std::uint32_t l1_index = 0;
  std::uint64_t value = 0;
};

struct Mended {
  std::vector<MendedL1> l1;
  std::vector<MendedTable> tables;
};

class CopiedMender {
 public:
  explicit CopiedMender(const Work& w) : w_(w), g_(w.view.geometry()), refcounts_(w.view.refcounts()) {}

  void mend_group(const image::Group& group, Mended& into) const;

 private:
  void mend_l1(const image::Group& group, const image::Table& table, Mended& into) const;
  void mend_table(const image::Group& group, const image::Table& table, Mended& into) const;
  bool is_table(const image::Table& table) const {
    return image::look_at_l2(w_.view.image(), table.l2.words()).is_table();
  }
  std::uint64_t mended(std::uint64_t entry, ClusterIndex cluster) const;
  std::uint64_t right(std::uint64_t entry) const;

  const Work& w_;
  const format::Geometry& g_;
  const image::Refcounts& refcounts_;
};

// Set only where nobody else refers to the cluster: a refcount that is too low must not make a shared one writable.
std::uint64_t CopiedMender::mended(std::uint64_t entry, ClusterIndex cluster) const {
  if (refcounts_.get(cluster) != 1) return entry & ~format::copied_flag;
  return w_.view.result().references(cluster) <= 1 ? entry | format::copied_flag : entry;
}

// The entry of an active L2 table with COPIED as it should be.
std::uint64_t CopiedMender::right(std::uint64_t entry) const {
  switch (format::cluster_type(g_, entry)) {
    case format::ClusterType::compressed:
      return entry & ~format::copied_flag;
    case format::ClusterType::normal:
    case format::ClusterType::zero_allocated:
      break;
    default:
      return entry;
  }
  const std::uint64_t copied = entry | format::copied_flag;
  if (g_.data_file) return copied;
  const ClusterIndex cluster = g_.cluster(HostOffset(entry & format::offset_mask));
  if (!refcounts_.readable(cluster)) return entry;
  return mended(entry, cluster);
}

void CopiedMender::mend_l1(const image::Group& group, const image::Table& table, Mended& into) const {
  const ClusterIndex cluster = g_.cluster(table.offset);
  if (table.offset.value == 0 || !refcounts_.readable(cluster)) return;
  // Behind the disk's end, a wrong l1_size may have made L1 entries of somebody else's words.
  const bool beyond = group.l1_index >= g_.l1_entries_for(w_.view.image().header.size);
  if (beyond && !w_.doubts.undisputed(table.offset)) return;
  for (const image::L1Entry& e : table.entries) {
    if (e.state != 0) continue;
    if ((e.raw & format::l1_reserved_mask) != 0) continue;
    const std::uint64_t now = mended(e.raw, cluster);
    const auto at = w_.view.l1_entry(check::active_state, group.l1_index);
    if (now != e.raw && at && is_table(table)) into.l1.push_back({*at, group.l1_index, now});
  }
}

void CopiedMender::mend_table(const image::Group& group, const image::Table& table, Mended& into) const {
  const unsigned step = g_.l2_words();
  MendedTable mended;
  const std::span<const std::uint64_t> words = table.l2.words();
  for (std::size_t i = 0; i < words.size(); i += step) {
    const std::uint64_t entry = words[i], now = entry == 0 ? 0 : right(entry);
    if (now == entry) continue;
    if (mended.words.empty()) {
      mended.words.assign(words.begin(), words.end());
      mended.cleared = mended.words;
    }
    mended.words[i] = now;
    mended.cleared[i] = entry & now;
    (now > entry ? mended.sets : mended.clears) = true;
    ++mended.entries;
  }
  if (mended.entries == 0 || !is_table(table)) return;
  for (std::uint64_t& word : mended.words) word = from_big_endian(word);
  for (std::uint64_t& word : mended.cleared) word = from_big_endian(word);
  mended.at = table.offset;
  mended.l1_index = group.l1_index;
  into.tables.push_back(std::move(mended));
}

// What isn't a table isn't written to, nor is the L1 entry that names it. A table that something else lies on isn't
// written to either.
void CopiedMender::mend_group(const image::Group& group, Mended& into) const {
  for (const image::Table& table : group.tables) {
    if (table.l2.empty() || w_.view.result().is_no_table(table.offset)) continue;
    mend_l1(group, table, into);
    const bool active = std::ranges::any_of(table.entries, [](const image::L1Entry& e) { return e.state == 0; });
    const bool whole = table.offset.value != 0 && g_.offset_in_cluster(table.offset.value) == 0 &&
                       table.offset.value + g_.cluster_size() <= w_.view.image().file().size();
    if (active && whole && w_.doubts.undisputed(table.offset)) mend_table(group, table, into);
  }
}

bool l1_undisputed(const Work& w) {
  const image::State* s = w.view.state(check::active_state);
  for (std::uint64_t at = 0; s && at < std::uint64_t{s->l1_size} * 8; at += w.view.geometry().cluster_size()) {
    if (!w.doubts.undisputed(s->l1_offset + at)) return false;
  }
  return s != nullptr;
}

}  // namespace

void mend_copied(Work& w) {
  if (w.view.count(Code::l1_copied) + w.view.count(Code::l2_copied) == 0) return;
  if (!l1_undisputed(w) || w.doubts.dubious(check::active_state) || !w.doubts.l1_look(check::active_state).is_table())
    return;
  const CopiedMender mender(w);
  image::walk<Mended>(
      w.view.image(), std::span(w.view.result().states).first(1),
      [&](const image::Group& group, Mended& into) { mender.mend_group(group, into); },
      [&](Mended&& mended) {
        for (const MendedL1& m : mended.l1) {
          const bool sets = (m.value & format::copied_flag) != 0;
          const Stage stage = sets ? Stage::release : Stage::claim;
          if (w.editor.sums()) {
            w.editor.write64(stage, m.at, m.value);
            continue;
          }
          w.editor.put64(stage, m.at, m.value, Code::l1_copied,
                         fmt::format("L1 entry {}: COPIED {}", m.l1_index, sets ? "set" : "cleared"));
        }
        for (const MendedTable& m : mended.tables) {
          if (m.clears) w.editor.write(Stage::claim, m.at, std::as_bytes(std::span(m.cleared)));
          if (m.sets) w.editor.write(Stage::release, m.at, std::as_bytes(std::span(m.words)));
          if (w.editor.sums()) continue;
          w.editor.act({Code::l2_copied, false, m.at, m.entries * w.view.geometry().l2_entry_bytes(),
                        fmt::format("L2 table of L1 entry {}: COPIED put right in {} entries", m.l1_index, m.entries),
                        "", ""});
        }
      });
}

}  // namespace qd::repair
