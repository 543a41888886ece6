// Owners of clusters in words, for findings and for the plan of a repair.
#pragma once

#include <string>
#include <string_view>

#include "check/result.h"

namespace qd::check {

// Where an owner that is data or compressed data lies for the guest; `whose` stands behind its entries.
std::string guest_place(const format::Geometry& g, const Result& result, const Owner& owner, std::string_view whose);

}  // namespace qd::check
