// -m dump: every entry of every table, in the line shapes that people grep for. Rendered in parallel, written in order,
// without ever holding more than a few batches.
#pragma once

#include "check/result.h"
#include "image/image.h"
#include "io/profile.h"
#include "report/output.h"
#include "report/report.h"
#include "report/selection.h"

namespace qd::dump {

struct Options {
  bool flags = false;          // -f: raw entries with COPIED, COMPRESSED, ZERO and the subcluster bitmap
  Profile* profile = nullptr;  // counts, if there is one
};

// After a check, whose result tells references next to refcounts.
void print_dump(report::Output& out, const image::Image& image, const check::Result& result,
                const report::Selection& selection, const Options& options, const report::Style& style);

}  // namespace qd::dump
