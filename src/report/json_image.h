#pragma once

#include "image/image.h"
#include "report/json_writer.h"

namespace qd::report {

// "file", "header", "snapshots", "bitmaps"; with `chain` (-m info) also "backing-chain" and the file system.
void write_image(Json& json, const image::Image& image, bool chain);

}  // namespace qd::report
