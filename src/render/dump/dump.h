// -m dump: every entry of every table, in the line shapes that people grep for. Rendered in parallel, written in order,
// without ever holding more than a few batches.
#pragma once

#include "check/result.h"
#include "image/image.h"
#include "io/profile.h"
#include "render/output.h"
#include "render/render.h"
#include "render/selection.h"

namespace qd::render {

struct DumpOptions {
  bool flags = false;          // -f: raw entries with COPIED, COMPRESSED, ZERO and the subcluster bitmap
  Profile* profile = nullptr;  // counts, if there is one
};

// After a check, whose result tells references next to refcounts.
void print_dump(Output& out, const image::Image& image, const check::Result& result, const Selection& selection,
                const DumpOptions& options, const Style& style);

}  // namespace qd::render
