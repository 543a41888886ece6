#pragma once

#include "check/report.h"
#include "image/image.h"
#include "render/json/writer.h"

namespace qd::render {

// "file", "header", "snapshots", "bitmaps"; with `info` also "backing-chain", if it was looked at, and the file system.
void write_image(Json& json, const image::Image& image, const check::Report& result, bool info);

}  // namespace qd::render
