// What does a cluster hold that should be a table: entries, or something else?
#pragma once

#include <cstdint>
#include <string>

#include "check/context.h"
#include "image/refcounts.h"

namespace qd::check {

// Does an L2 table hold something else? Then most of its entries, at least eight, are impossible, whatever the file's
// length is and wherever it was cut off. The answer is the same for each piece of a table. It costs little where no
// entry is odd.
bool is_no_table(const Context& c, const image::Table& table);

// Does the refcount block at that place hold something else? Then most of its values are more than there can be
// references.
bool is_no_refcount_block(const image::Image& image, const image::RefcountBlock& block, HostOffset at);

// The same by the values alone. `at_least` so many must be impossible; few prove less.
bool most_values_impossible(const image::Image& image, const image::RefcountBlock& block, std::uint64_t at_least = 1);

// What the bytes look like: "text", "0x11 throughout", …
std::string reads_as(const image::Image& image, HostOffset cluster);
// The same; but if it is no text, the metadata that belongs there is named instead, if there is any.
std::string held_by(const Context& c, HostOffset at);

}  // namespace qd::check
