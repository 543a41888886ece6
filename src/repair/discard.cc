// Space that nobody uses is given back: clusters with refcount 0 and without a reference become holes, and what lies
// behind the last cluster in use is cut off. Only on an image that is otherwise in order: where a reference may be
// hidden, unused means nothing.
#include <fmt/core.h>

#include "base/checked.h"
#include "check/claims.h"
#include "repair/steps.h"

namespace qd::repair {
namespace {

using check::Code;

// Is the cluster neither used nor accounted for?
bool free(const Work& w, std::uint64_t cluster) {
  const check::Claims& c = w.view.claims();
  return !c.owned.test(cluster) && !c.counted(cluster) && w.view.refcounts().get(ClusterIndex(cluster)) == 0;
}

constexpr std::uint64_t block = 4096;  // of a file system: less than that can't become a hole

// Calls each(offset, bytes) for the stretches of free clusters, in whole blocks, of which the file system stores
// something.
template <class Each>
void for_free(const Work& w, std::uint64_t end, Each&& each) {
  const File& file = w.view.image().file();
  const format::Geometry& g = w.view.geometry();
  for (std::uint64_t c = 0; c < end;) {
    // Skips a hole: what isn't stored can't be given back.
    c = std::max(c, file.next_data(c << g.cluster_bits) >> g.cluster_bits);
    const std::uint64_t first = c;
    while (c < end && free(w, c)) ++c;
    const std::uint64_t begin = round_up(first << g.cluster_bits, block), stop = (c << g.cluster_bits) / block * block;
    if (begin < stop && file.stored_bytes(begin, stop - begin) > 0) each(HostOffset(begin), stop - begin);
    while (c < end && !free(w, c)) ++c;
  }
}

}  // namespace

void discard_free_space(Work& w) {
  for (const check::Problem& row : check::problems()) {
    if (w.view.count(row.code) == 0 || row.severity == check::Severity::warning || row.code == Code::refcount_leak)
      continue;
    return w.editor.refuse(
        row.code, fmt::format("nothing is discarded while {} stands: what looks free may be in use", row.name));
  }
  if (w.view.result().leak_doubt.forbids_freeing() && !w.wanted.force) {
    return w.editor.refuse(Code::refcount_leak, "nothing is discarded while leaked clusters look like lost data");
  }
  const format::Geometry& g = w.view.geometry();
  const File& file = w.view.image().file();
  const std::uint64_t last_use = w.view.result().totals.image_end_offset;
  const bool cuts = file.traits().resizable && last_use < file.size();
  const std::uint64_t end = cuts ? last_use >> g.cluster_bits : file.size() >> g.cluster_bits;
  for_free(w, end, [&](HostOffset at, std::uint64_t bytes) {
    w.editor.punch(at, bytes);
    w.editor.act(
        {std::nullopt, false, at, bytes, fmt::format("{} bytes of free clusters become a hole", bytes), "", ""});
  });
  if (cuts) {
    w.editor.act({std::nullopt, false, HostOffset(last_use), file.size() - last_use,
                  fmt::format("the file is cut off behind the last cluster in use, from 0x{:x} to 0x{:x} bytes",
                              file.size(), last_use),
                  "", ""});
    w.editor.resize(last_use);
  }
}

}  // namespace qd::repair
