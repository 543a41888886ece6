// --stats: the profile of a run, as a table.
#pragma once

#include "io/profile.h"
#include "render/output.h"

namespace qd::render {

void print_profile(Output& out, const std::string& path, const Profile& profile);

}  // namespace qd::render
