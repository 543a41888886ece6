// The lines of L1 and L2 entries.
#pragma once

#include "check/result.h"
#include "dump/dump.h"
#include "image/image.h"
#include "report/output.h"

namespace qd::dump {

// All tables of one state.
void dump_mapping(report::Output& out, const image::Image& image, const check::Result& result,
                  const image::State& state, const Options& options);

}  // namespace qd::dump
