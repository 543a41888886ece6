// Where a file lies.
#pragma once

#include <string>

namespace qd {

// "ext4"; empty where it can't be asked.
std::string file_system_name(const std::string& path);

}  // namespace qd
