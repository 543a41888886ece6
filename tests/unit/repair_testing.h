// What the tests of a repair's parts share: a tiny image in memory, and a repair of it that has looked once.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <utility>

#include "repair/work.h"
#include "simulated_file.h"
#include "tiny_image.h"

namespace qd::repair {

using test::TinyImage;

inline constexpr std::uint64_t cluster = TinyImage::cluster, copied = TinyImage::copied;
// Of the tiny image with its four clusters of data: the first cluster behind the file.
inline constexpr std::uint64_t behind = TinyImage::data + 4 * cluster;

struct Workshop {
  explicit Workshop(TinyImage tiny, Wanted wanted = {}) : Workshop(memory_file(tiny.bytes()), wanted) {}
  explicit Workshop(std::unique_ptr<File> image, Wanted wanted = {})
      : base(std::move(image)), transaction(*base), work(*base, {}, transaction, wanted, {}) {
    EXPECT_TRUE(work.look());
  }

  // Plans a change and looks at what comes of it.
  void write(std::uint64_t at, std::uint64_t value) {
    work.editor.write64(Stage::point, HostOffset(at), value);
    EXPECT_TRUE(work.look());
  }
  // Who holds a cluster by that entry of the only L2 table.
  const check::Owner& owner(std::uint64_t at, std::uint32_t l2_index) const {
    for (const check::Owner& o : work.view.result().owners_of(ClusterIndex(at / cluster))) {
      if (!check::is_metadata(o.kind) && o.l2_index == l2_index) return o;
    }
    ADD_FAILURE() << "no owner at " << at << " with L2 index " << l2_index;
    static const check::Owner nobody;
    return nobody;
  }

  const std::unique_ptr<File> base;
  Transaction transaction;
  Work work;
};

}  // namespace qd::repair
