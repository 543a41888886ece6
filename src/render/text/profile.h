// --stats: the profile of a run, as a table and in JSON.
#pragma once

#include "io/profile.h"
#include "render/json/writer.h"
#include "render/output.h"

namespace qd::render {

void print_profile(Output& out, const std::string& path, const Profile& profile);
void write_profile(Json& json, const Profile& profile);

}  // namespace qd::render
