// The lines of L1 and L2 entries.
#pragma once

#include "check/report.h"
#include "image/image.h"
#include "io/profile.h"
#include "render/output.h"

namespace qd::render {

struct DumpOptions {
  bool flags = false;          // -f: raw entries with COPIED, COMPRESSED, ZERO and the subcluster bitmap
  Profile* profile = nullptr;  // counts, if there is one
};

// All tables of one state.
void dump_mapping(Output& out, const image::Image& image, const check::Report& result, const image::State& state,
                  const DumpOptions& options);

}  // namespace qd::render
