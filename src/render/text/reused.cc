#include "render/text/reused.h"

#include "check/owners.h"
#include "render/text/text.h"

namespace qd::render {

void print_reused(Output& out, const image::Image& image, const check::Report& result, const check::Finding& finding,
                  const Style& style) {
  if (!finding.index) return;
  const ClusterIndex cluster(*finding.index);
  const bool data_file = finding.code == check::Code::data_file_reuse;
  const std::uint64_t refcount = result.disk_refcounts && !data_file ? result.disk_refcounts->get(cluster) : 0;
  for (const check::Owner& owner : data_file ? result.data_owners_of(cluster) : result.owners_of(cluster)) {
    out.print("{}  cluster offset: 0x{:x} | {}", paint(style, Color::red, "REUSED"),
              image.geometry->offset(cluster).value, check::owner_place(image, result, owner));
    if (data_file) {
      out.write(" | data file");
    } else {
      out.print(" | refcount: {}", refcount);
    }
    if (owner.state >= 0) out.print(" | snapshot[{}]", owner.state);
    if (owner.kind == check::OwnerKind::compressed) out.write(" [compressed]");
    out.write("\n");
  }
}

}  // namespace qd::render
