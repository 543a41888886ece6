// Text that somebody else has written.
#pragma once

#include <string>
#include <string_view>

namespace qd {

// A name, cut off after 128 bytes. It is not escaped: that is left to whoever prints the sentence it goes into.
std::string beginning(std::string_view name);

}  // namespace qd
