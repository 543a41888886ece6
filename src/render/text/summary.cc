// One line about an image, for a log.
#include <fmt/core.h>

#include "render/render.h"
#include "words/escape.h"

namespace qd::render {

std::string summary_line(const session::Outcome& outcome) {
  const check::Report& result = *outcome.result;
  constexpr std::size_t most = 512;  // of a path; the kernel cuts lines at about a thousand bytes
  std::string path = escape(outcome.image->file().path());
  if (path.size() > most) {
    std::size_t from = path.size() - most;
    while ((path[from] & 0xc0) == 0x80) ++from;  // not into the midst of a character
    path = "..." + path.substr(from);
  }
  return fmt::format("qcow2-dump: {}: {} (exit code {}): {} corruptions, {} leaks, {} problems", path,
                     check::status_name(result.status()), static_cast<int>(result.status()), result.totals.corruptions,
                     result.totals.leaks, result.findings.total());
}

}  // namespace qd::render
