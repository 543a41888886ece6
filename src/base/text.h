// Text that somebody else has written.
#pragma once

#include <string>
#include <string_view>

namespace qd {

// The beginning of a name, as it is: for sentences that whoever prints them escapes.
std::string beginning(std::string_view name);

}  // namespace qd
