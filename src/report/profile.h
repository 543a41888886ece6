// --stats: the profile of a run, as a table and in JSON.
#pragma once

#include "io/profile.h"
#include "report/json_writer.h"
#include "report/output.h"

namespace qd::report {

void print_profile(Output& out, const std::string& path, const Profile& profile);
void write_profile(Json& json, const Profile& profile);

}  // namespace qd::report
