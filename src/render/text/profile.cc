#include "render/text/profile.h"

#include <fmt/core.h>

#include "words/escape.h"

namespace qd::render {
namespace {

void print_phase(Output& out, const Phase& phase) {
  out.print("{:<10} {:>9.4f} {:>7.2f} {:>10.1f} {:>8} {:>8} {:>10} {:>8.1f}\n", phase.name, phase.seconds,
            phase.threads(), static_cast<double>(phase.bytes) / (1 << 20), phase.reads, phase.tables, phase.runs,
            static_cast<double>(phase.peak) / (1 << 20));
}

}  // namespace

void print_profile(Output& out, const std::string& path, const Profile& profile) {
  out.print("profile of {}\n", escape(path));
  out.print("{:<10} {:>9} {:>7} {:>10} {:>8} {:>8} {:>10} {:>8}\n", "phase", "seconds", "threads", "MiB read", "reads",
            "tables", "runs", "peak MiB");
  for (const Phase& phase : profile.phases()) print_phase(out, phase);
  print_phase(out, profile.total());
}

}  // namespace qd::render
