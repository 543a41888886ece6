// Owners of clusters in words: for findings and for the plan of a repair.
#pragma once

#include <cstdint>
#include <string>

#include "check/report.h"

namespace qd::check {

// How a sentence calls a snapshot: as a person does, 1 ("first"), or by its place in the table, snapshot[0].
enum class SnapshotsBy : std::uint8_t { name, place };

// "L2 table of L1 entry 3 of snapshot[0]", "guest offset 0x10000 (L1 entry 0, L2 entry 1)".
std::string owner_text(const format::Geometry& g, const Report& result, const Owner& owner, SnapshotsBy by);

}  // namespace qd::check
