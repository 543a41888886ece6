// The lines of the refcount table and its blocks, each cluster's refcount beside the references to it.
#pragma once

#include "check/result.h"
#include "image/image.h"
#include "report/output.h"

namespace qd::dump {

void dump_refcounts(report::Output& out, const image::Image& image, const check::Result& result);

}  // namespace qd::dump
