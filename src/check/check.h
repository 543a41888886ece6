// Checks an image: reads everything, changes nothing, and returns what is wrong.
#pragma once

#include "check/context.h"
#include "check/report.h"
#include "image/image.h"

namespace qd::check {

// Threads: as many as TBB is allowed. The result doesn't depend on their number.
Report check(const image::Image& image, const Settings& options = {});

}  // namespace qd::check
