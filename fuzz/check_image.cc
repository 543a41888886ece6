// Any bytes at all: the check must come to an end, within its memory, and say the same for one thread and for several.
#include <oneapi/tbb/global_control.h>

#include <cstdint>
#include <cstdlib>
#include <string>

#include "check/check.h"
#include "words/sentences.h"

namespace {

qd::check::Report check_with(const qd::image::Image& image, std::size_t threads) {
  const oneapi::tbb::global_control limit(oneapi::tbb::global_control::max_allowed_parallelism, threads);
  qd::check::Settings options;
  options.decompress = true;
  options.backing_chain = false;
  return qd::check::check(image, options);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  const auto image = qd::image::Image::open(qd::memory_file(bytes), {});
  const auto one = check_with(*image, 1), two = check_with(*image, 2);
  if (one.findings.total() != two.findings.total() || one.totals.corruptions != two.totals.corruptions ||
      one.totals.leaks != two.totals.leaks || one.findings.list().size() != two.findings.list().size()) {
    std::abort();
  }
  const qd::Sentences sentence(*image, one);
  for (const auto& finding : one.findings.list()) {
    if (sentence(finding).empty()) std::abort();
  }
  return 0;
}
