// What a walk over the mapping hands over: groups of L2 tables, with the states that refer to them (image/walk.h).
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/units.h"
#include "format/geometry.h"
#include "image/repeats.h"

namespace qd::image {

// One set of tables: the active ones (snapshot == -1) or those of a snapshot.
struct State {
  std::int32_t snapshot = -1;
  HostOffset l1_offset{};
  std::uint32_t l1_size = 0;    // entries
  std::uint64_t disk_size = 0;  // bytes of the guest's disk
  std::uint64_t vm_state = 0;   // bytes of VM state behind the disk's end, at most
};

// An L1 entry as one state has it.
struct L1Entry {
  std::uint32_t state = 0;  // index into the walk's states
  std::uint64_t raw = 0;
  std::uint32_t copies = 1;  // states that are walked as this one
};

// Entries [begin, end) of an L2 table, in the machine's byte order; zeros past the file's end. Empty if they can't be
// read.
class L2Entries {
 public:
  L2Entries() = default;
  L2Entries(std::span<const std::uint64_t> words, std::uint64_t begin, unsigned width)
      : words_(words), begin_(begin), width_(width) {}

  bool empty() const { return words_.empty(); }
  std::uint64_t begin() const { return begin_; }
  std::uint64_t end() const { return begin_ + words_.size() / width_; }
  std::uint64_t raw(std::uint64_t index) const { return words_[(index - begin_) * width_]; }
  // The second half of an extended entry.
  std::uint64_t bitmap(std::uint64_t index) const { return width_ == 2 ? words_[(index - begin_) * 2 + 1] : 0; }
  // From one entry on, with width() words for each.
  const std::uint64_t* at(std::uint64_t index) const { return words_.data() + (index - begin_) * width_; }
  unsigned width() const { return width_; }
  std::span<const std::uint64_t> words() const { return words_; }

 private:
  std::span<const std::uint64_t> words_;
  std::uint64_t begin_ = 0;
  unsigned width_ = 1;
};

// The first index of an L2 table that lies behind the guest's disk in all states that name the table. `entries`: their
// L1 entries. VM state lies behind the disk's end, from the next L1 entry on.
std::uint64_t end_of_disk(const format::Geometry& geometry, std::span<const State> states, std::uint32_t l1_index,
                          std::span<const L1Entry> entries);

// A distinct L2 table of a group. An L1 entry without an offset names the header: QEMU reads it so, and so do we.
struct Table {
  HostOffset offset;
  std::span<const L1Entry> entries;  // who refers to it, by state
  L2Entries l2;
  const std::string* error = nullptr;  // why l2 is empty
  Visit visit = Visit::first;          // skipped: l2 is empty
  std::uint64_t references = 0;        // L1 entries, with those of copies
  RepeatKey key;                       // not set for a first visit
  std::uint64_t skipped = 0;           // of a recorded visit in a second walk: L1 entries whose visits are skipped
};

struct Group {
  std::uint32_t l1_index = 0;
  std::uint64_t begin = 0, end = 0;  // the L2 entries that are here; all of them unless the walk was told to cut
  std::span<const Table> tables;     // in the order of their offset
};

// How many L2 indexes a walk takes at once (WalkOptions::most_entries), if groups may be cut for the memory's sake
// alone.
inline constexpr std::uint64_t as_fits = 1u << 16;

}  // namespace qd::image
