// How the advice is told apart by its renderers.
#pragma once

#include <string_view>

#include "check/findings.h"
#include "report/report.h"

namespace qd::report {

inline bool is_repair(const Advice& advice) { return advice.command.starts_with("qcow2-dump -R "); }

// This version can't do -R recover. Wherever it is advised, a remark says so.
inline bool is_available(const Advice& advice) { return !advice.command.starts_with("qcow2-dump -R recover "); }
inline constexpr std::string_view recover_remark = "(-R recover is not in this version yet)";

}  // namespace qd::report
