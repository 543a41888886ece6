// Who uses a cluster that several use.
#pragma once

#include "check/report.h"
#include "image/image.h"
#include "render/output.h"
#include "render/render.h"

namespace qd::render {

// One line for each claimant of the cluster that the finding is about.
void print_reused(Output& out, const image::Image& image, const check::Report& result, const check::Finding& finding,
                  const Style& style);

}  // namespace qd::render
