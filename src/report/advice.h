// How the advice is told apart by its renderers.
#pragma once

#include <string_view>

#include "check/findings.h"
#include "report/report.h"

namespace qd::report {

// This version only checks: -R repairs nothing yet. Wherever a repair is advised, a remark says so while this is false.
inline constexpr bool repair_available = false;
inline constexpr std::string_view repair_remark = "(not in this version yet: it checks only)";

inline bool is_repair(const Advice& advice) { return advice.command.starts_with("qcow2-dump -R "); }

}  // namespace qd::report
