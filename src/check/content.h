// What a cluster holds that ought to be a table: entries, or something else's bytes.
#pragma once

#include <cstdint>
#include <string>

#include "check/context.h"
#include "image/refcounts.h"
#include "image/walk.h"

namespace qd::check {

// Is an L2 table none? Most of its entries, eight at least, are impossible: whatever the file's length is, and wherever
// it was cut off. The same for each piece of a table. Costs little where no entry is odd.
bool is_no_table(const Context& c, const image::Table& table);

// Is the refcount block at that place none? Most of its values are more than there can be references.
bool is_no_refcount_block(const image::Image& image, const image::RefcountBlock& block, HostOffset at);

// The same of few values, which prove less.
bool most_values_impossible(const image::Image& image, const image::RefcountBlock& block, std::uint64_t at_least = 1);

// "text", "0x11 throughout", …
std::string reads_as(const image::Image& image, HostOffset cluster);
// The same, or what ought to be there. Text is somebody's text, whatever ought to be.
std::string held_by(const Context& c, HostOffset at);

}  // namespace qd::check
