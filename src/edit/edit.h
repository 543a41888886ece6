// Changes that a person asks for by name: other active tables, fewer snapshots, a bit, a value, some bytes, another
// backing file. Each is planned as a repair is: on a view of the image as it will be. The view is checked before a byte
// is written.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "base/result.h"
#include "journal/transaction.h"
#include "repair/repair.h"

namespace qd::edit {

// -A: the tables of a snapshot become the active ones.
struct Apply {
  std::string snapshot;                // snapshot[N], an ID or a name
  std::optional<std::string> keep_as;  // the present state becomes a snapshot of this name
};

// -D, -E: snapshots are removed, with all that only they use.
struct Remove {
  std::string snapshot;  // as in Apply; with -D also "all", with -E also "0"
  bool all_but = false;  // -E: the others are removed
};

// -M, -C: the header's corrupt or dirty bit.
struct Mark {
  std::uint64_t bit = 0;  // of the incompatible features
  bool set = false;
};

// -m edit: a big-endian value, or a snapshot's name.
struct SetValue {
  std::string place;              // a host offset, or a name such as l2[3,672]: place.h has all of them
  std::string value;              // decimal or 0x…, with ~ in front its inverse; text where the place holds text
  std::optional<unsigned> width;  // bytes: 1, 2, 4 or 8; nothing: the width of the place, or 8
};

// -m copy: bytes from somewhere to the image.
struct CopyBytes {
  std::string to, from;  // places: `to` in the image, `from` in the source
  std::uint64_t bytes = 0;
  std::string file;  // the source; empty: the image
};

// -m rebase: another name for the backing file.
struct Rebase {
  std::string name;        // empty: no backing file any more
  bool unchecked = false;  // -b
};

using Command = std::variant<Apply, Remove, Mark, SetValue, CopyBytes, Rebase>;

// Plans the change. `hints`: what the image is opened with; `source`: the opened file of CopyBytes, which must outlive
// the transaction; else null. Errors: EINVAL for what doesn't exist or makes no sense, EPERM for what only `force`
// does, ERANGE where refcounts are too narrow, EIO where the disk can't be read, ENOSPC where there is no room.
Result<repair::Planned> plan_edit(const File& image, const image::Hints& hints, Transaction& transaction,
                                  const Command& command, bool force, const File* source,
                                  const check::Settings& options = {});

}  // namespace qd::edit
