// What bytes read as. An entry that was garbled names whatever lies at its new place, and nothing in the entry tells;
// what lies there does. Nobody writes into a table before it is known to be one.
#pragma once

#include <cstdint>
#include <span>

#include "image/image.h"

namespace qd::image {

// The entries of what should be an L1 or L2 table, by whether they could be one's.
struct TableLook {
  std::uint64_t used = 0;  // entries that aren't zero
  std::uint64_t bad = 0;   // of these, such as no program writes: reserved bits, or an impossible place
  std::uint64_t copied = 0;

  // One wrong entry among sound ones is a wrong entry. Where more is wrong, all of it is somebody else's bytes.
  bool is_table() const { return bad < 2 || bad * 4 <= used; }
  // An empty table reads as no more than zeros do.
  bool speaks_for_itself() const { return used > 0 && bad * 4 <= used; }
};

// Could a cluster lie there?
bool possible_place(const Image& image, HostOffset at);

// Could the entry's offset be right, flags aside? Specification: "L1 table entry", "L2 table entry".
bool possible_l1_entry(const Image& image, std::uint64_t entry);
bool possible_l2_entry(const Image& image, std::uint64_t entry);
// Does an L1 entry name a table, with nothing in it that no program writes?
bool names_table(const Image& image, std::uint64_t l1_entry);

// `words`: in the machine's byte order, for L2 tables with as many words an entry as the image has.
TableLook look_at_l1(const Image& image, std::span<const std::uint64_t> words);
TableLook look_at_l2(const Image& image, std::span<const std::uint64_t> words);

// By its content alone, of which no more is read than it takes to tell; what can't be read is none.
bool reads_as_l2_table(const Image& image, HostOffset table);

// Does what lies there read as an L1 table? At least half of its first entries lead to L2 tables then. With an external
// data file nothing tells.
Result<bool> leads_to_tables(const Image& image, HostOffset table);

}  // namespace qd::image
