// What bytes read as. A garbled entry names whatever lies at its new place. Nothing in the entry shows that; the bytes
// at that place do. Nobody writes into a table before its bytes have shown that it is one.
#pragma once

#include <cstdint>
#include <span>

#include "image/image.h"

namespace qd::image {

// Counts the entries of what should be an L1 or L2 table.
struct TableLook {
  std::uint64_t used = 0;  // entries that aren't zero
  std::uint64_t bad = 0;   // of these, entries that no program writes: reserved bits, or an impossible place
  std::uint64_t copied = 0;

  // A single wrong entry, or up to a quarter of them, are just wrong entries. If more is wrong, all of it is somebody
  // else's bytes.
  bool is_table() const { return bad < 2 || bad * 4 <= used; }
  // An empty table doesn't: any zeros read as one.
  bool speaks_for_itself() const { return used > 0 && bad * 4 <= used; }
};

// Could a cluster lie there?
bool possible_place(const Image& image, HostOffset at);

// Could the entry's offset be right, flags aside? Specification: "L1 table entry", "L2 table entry".
bool possible_l1_entry(const Image& image, std::uint64_t entry);
bool possible_l2_entry(const Image& image, std::uint64_t entry);
// Does an L1 entry name a place where a table could lie, without reserved bits?
bool names_table(const Image& image, std::uint64_t l1_entry);

// `words`: in the machine's byte order. An extended L2 entry has two.
TableLook look_at_l1(const Image& image, std::span<const std::uint64_t> words);
TableLook look_at_l2(const Image& image, std::span<const std::uint64_t> words);

// Judges by the content alone, and reads no more of it than it takes to tell. What can't be read is no table.
bool reads_as_l2_table(const Image& image, HostOffset table);

// Does what lies there read as an L1 table? Then at least half of its first entries name L2 tables. False with an
// external data file, where nothing tells.
Result<bool> leads_to_tables(const Image& image, HostOffset table);

}  // namespace qd::image
