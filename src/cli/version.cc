#include <fmt/core.h>
#include <libdeflate.h>
#include <oneapi/tbb/version.h>
#include <rapidjson/rapidjson.h>
#include <zlib.h>
#include <zstd.h>

#include <CLI/Version.hpp>
#include <tl/expected.hpp>

#include "cli/run.h"

namespace qd::cli {

int print_version(render::Output& out) {
  out.print("qcow2-dump {}\n\nbuilt with\n", QCOW2DUMP_VERSION);
  const auto library = [&](std::string_view name, std::string_view version) {
    out.print("  {:<14} {}\n", name, version);
  };
  library("CLI11", CLI11_VERSION);
  library("fmt", fmt::format("{}.{}.{}", FMT_VERSION / 10000, FMT_VERSION / 100 % 100, FMT_VERSION % 100));
  library("libdeflate", LIBDEFLATE_VERSION_STRING);
  library("oneTBB", TBB_runtime_version());
  library("RapidJSON", RAPIDJSON_VERSION_STRING);
  library("tl-expected",
          fmt::format("{}.{}.{}", TL_EXPECTED_VERSION_MAJOR, TL_EXPECTED_VERSION_MINOR, TL_EXPECTED_VERSION_PATCH));
  library("zlib", zlibVersion());
  library("zstd", ZSTD_versionString());
  return 0;
}

}  // namespace qd::cli
