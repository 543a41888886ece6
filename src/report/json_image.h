#pragma once

#include "check/result.h"
#include "image/image.h"
#include "report/json_writer.h"

namespace qd::report {

// "file", "header", "snapshots", "bitmaps"; with `info` also "backing-chain", if it was looked at, and the file system.
void write_image(Json& json, const image::Image& image, const check::Result& result, bool info);

}  // namespace qd::report
