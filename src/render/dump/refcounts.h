// The lines of the refcount table and its blocks, each cluster's refcount beside the references to it.
#pragma once

#include "check/report.h"
#include "image/image.h"
#include "render/output.h"

namespace qd::render {

void dump_refcounts(Output& out, const image::Image& image, const check::Report& result);

}  // namespace qd::render
