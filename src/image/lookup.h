// One entry at a time, for whoever asks about a few of them. Whoever wants them all walks (walk.h).
//
// Nothing here judges: an entry is looked up where it would lie, even if what lies there is no table.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/endian.h"
#include "base/result.h"
#include "base/units.h"
#include "image/group.h"
#include "image/image.h"

namespace qd::image {

// The state of the snapshot with this number, or the active one (-1); null if there is none. `states`: in the order of
// the numbers, as a check has them.
const State* find_state(std::span<const State> states, std::int32_t snapshot);

// The number of the snapshot that `wanted` names: "snapshot[N]", else an exact ID, else a name. EINVAL with the
// candidates if none or several match.
Result<std::size_t> find_snapshot(const Image& image, const std::string& wanted);

// A word of a table; 0 behind the file's end.
Result<std::uint64_t> read_word(const File& file, HostOffset at);

// Where entries lie.
inline HostOffset l1_entry_at(const State& state, std::uint64_t l1_index) {
  return state.l1_offset + l1_index * sizeof(be64);
}
inline HostOffset l2_entry_at(const Image& image, HostOffset l2_table, std::uint64_t l2_index) {
  return l2_table + l2_index * image.geometry->l2_entry_bytes();
}

// The place of the L2 table that an L1 entry names, without the flags and unchecked; 0: it names none.
Result<HostOffset> l2_table_of(const Image& image, const State& state, std::uint64_t l1_index);

struct L2Entry {
  std::uint64_t raw = 0;
  std::uint64_t bitmap = 0;  // the second half of an extended entry
};
Result<L2Entry> read_l2_entry(const Image& image, HostOffset l2_table, std::uint64_t l2_index);

}  // namespace qd::image
