#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "io/descriptor.h"
#include "render/render.h"
#include "render_testing.h"
#include "tiny_image.h"

namespace qd::render {
namespace {

using test::TinyImage;

std::string dump(std::unique_ptr<File> file, const View& view = {}) {
  session::Outcome outcome = checked(std::move(*image::Image::open(std::move(file), {})));
  const Descriptor text(::memfd_create("dump", MFD_CLOEXEC));
  {
    Output out(text.get());
    print_entries(out, outcome, view);
    print_check(out, outcome, view);
    EXPECT_TRUE(out.flush());
  }
  std::string all(static_cast<std::size_t>(::lseek(text.get(), 0, SEEK_END)), '\0');
  EXPECT_EQ(::pread(text.get(), all.data(), all.size(), 0), static_cast<ssize_t>(all.size()));
  return all;
}

bool has(const std::string& text, std::string_view line) {
  return text.find(fmt::format("\n{}\n", line)) != std::string::npos;
}

TEST(Dump, ShowsEveryEntryWithItsPlace) {
  TinyImage image(2);
  const std::string text = dump(memory_file(image.bytes()));
  EXPECT_TRUE(has(text, "l1 table[   0], l2 offset: 0x40000"));
  EXPECT_TRUE(has(text, "\tl2 table[   1], data offset: 0x60000 | vdisk offset: 0x10000"));
  EXPECT_TRUE(has(text, "refcount table[   0], offset: 0x20000"));
  EXPECT_TRUE(has(text, "\trefcount block[    6], refcount: 1 | reference: 1 | cluster[6] offset: 0x60000"));
}

TEST(Dump, ShowsRawEntriesIfAskedTo) {
  TinyImage image(2);
  image.put64(TinyImage::l2_entry(1), 0x60001);
  image.put64(TinyImage::l2_entry(2), 1);
  const std::string text = dump(memory_file(image.bytes()), {.flags = true});
  EXPECT_TRUE(has(text, "l1 table[   0], l2 offset: 0x40000 [0x8000000000040000: COPIED]"));
  EXPECT_TRUE(has(text, "\tl2 table[   1], data offset: 0x60000 [0x60001: ZERO] [error] | vdisk offset: 0x10000"));
  EXPECT_TRUE(has(text, "\tl2 table[   2], data offset: 0x0 [0x1: ZERO] | vdisk offset: 0x20000"));
}

TEST(Dump, MarksWhatIsWrongBehindTheEntry) {
  TinyImage image(6);
  image.put64(TinyImage::l2_entry(0), (TinyImage::data + 0x200) | TinyImage::copied);
  image.put64(TinyImage::l2_entry(1), 0x9990000);
  image.put64(TinyImage::l2_entry(2), (TinyImage::data + 2 * TinyImage::cluster) | TinyImage::copied | 4);
  image.put16(TinyImage::refcount(8), 3);
  const std::string text = dump(memory_file(image.bytes()));
  EXPECT_TRUE(has(text, "\tl2 table[   0], data offset: 0x50200 [unaligned] | vdisk offset: 0x0"));
  EXPECT_TRUE(has(text, "\tl2 table[   1], data offset: 0x9990000 [invalid] | vdisk offset: 0x10000"));
  EXPECT_TRUE(has(text, "\tl2 table[   2], data offset: 0x70000 [invalid] | vdisk offset: 0x20000"));
  EXPECT_TRUE(has(text, "\tl2 table[   3], data offset: 0x80000 [error] | vdisk offset: 0x30000"));
  EXPECT_TRUE(has(text, "\trefcount block[    6], refcount: 1 | reference: 1 | cluster[6] offset: 0x60000"));
  EXPECT_TRUE(has(text, "\trefcount block[    8], refcount: 3 | reference: 1 [leak] | cluster[8] offset: 0x80000"));
}

TEST(Dump, ShowsClustersThatLackARefcount) {
  TinyImage image(2);
  image.put16(TinyImage::refcount(6), 0);
  const std::string text = dump(memory_file(image.bytes()));
  EXPECT_TRUE(has(text, "\trefcount block[    6], refcount: 0 | reference: 1 [error] | cluster[6] offset: 0x60000"));
}

TEST(Dump, JudgesNoFlagByRefcountsThatNobodyCanRead) {
  TinyImage image(2);
  image.put32(96, 7);
  const std::string text = dump(memory_file(image.bytes()));
  EXPECT_TRUE(has(text, "l1 table[   0], l2 offset: 0x40000"));
  EXPECT_TRUE(has(text, "\tl2 table[   1], data offset: 0x60000 | vdisk offset: 0x10000"));
  EXPECT_EQ(text.find("refcount block["), std::string::npos);
}

TEST(Dump, ShowsWhatIsSelected) {
  TinyImage image(2);
  EXPECT_EQ(dump(memory_file(image.bytes()), {.selection = {.refcounts = false}}).find("refcount block["),
            std::string::npos);
  EXPECT_EQ(dump(memory_file(image.bytes()), {.selection = {.mapping = false}}).find("l2 table["), std::string::npos);
  EXPECT_EQ(dump(memory_file(image.bytes()), {.selection = {.active = false}}).find("l2 table["), std::string::npos);
}

// A table of more lines than a piece has must come out whole, in order, and each line once.
TEST(Dump, CutsLongTablesWithoutASeam) {
  TinyImage image(0);
  for (unsigned i = 0; i < 8192; ++i) image.put64(TinyImage::l2_entry(i), 1);
  for (unsigned i = 5; i < 32768; ++i) image.put16(TinyImage::refcount(i), 2);
  const std::string text = dump(memory_file(image.bytes()));

  std::string expected = "l1 table[   0], l2 offset: 0x40000\n";
  for (unsigned i = 0; i < 8192; ++i) {
    expected += fmt::format("\tl2 table[{:4}], data offset: 0x0 | vdisk offset: 0x{:x}\n", i, i * 0x10000);
  }
  EXPECT_NE(text.find(expected + "\n"), std::string::npos);
  expected = "refcount table[   0], offset: 0x20000\n";
  for (unsigned i = 0; i < 32768; ++i) {
    expected += fmt::format("\trefcount block[{:5}], refcount: {} | cluster[{}] offset: 0x{:x}\n", i,
                            i < 5 ? "1 | reference: 1" : "2 | reference: 0 [leak]", i, i * 0x10000);
  }
  EXPECT_NE(text.find(expected + "\n"), std::string::npos);
}

TEST(Dump, SaysWhichTableIsUnreadable) {
  TinyImage image(2);
  const std::string l2 = dump(faulty_file(memory_file(image.bytes()), TinyImage::l2_table, 512, EIO));
  EXPECT_TRUE(has(l2, "l1 table[   0], l2 offset: 0x40000 [unreadable]"));
  EXPECT_EQ(l2.find("\tl2 table"), std::string::npos);
  const std::string block = dump(faulty_file(memory_file(image.bytes()), TinyImage::refcount_block, 512, EIO));
  EXPECT_TRUE(has(block, "refcount table[   0], offset: 0x20000 [unreadable]"));
  const std::string l1 = dump(faulty_file(memory_file(image.bytes()), TinyImage::l1_table, 512, EIO));
  EXPECT_NE(l1.find("\nl1 table [unreadable]: "), std::string::npos);
}

// Clusters of 128 KiB: a table has 16384 entries, and is dumped in two pieces.
TEST(Dump, SaysWhichHalfOfATableCantBeRead) {
  TinyImage image(20);
  constexpr std::uint64_t l1_table = 0x40000, l2_table = 0x60000;
  image.put32(20, 17);
  image.put64(40, l1_table);
  image.put64(l1_table, l2_table | TinyImage::copied);
  image.put64(l2_table, 0x80000 | TinyImage::copied);
  const std::string text = dump(faulty_file(memory_file(image.bytes()), l2_table + 10'000 * 8, 512, EIO));
  EXPECT_TRUE(has(text, "l1 table[   0], l2 offset: 0x60000 [error]"));
  EXPECT_TRUE(has(text, "\tl2 table[   0], data offset: 0x80000 [error] | vdisk offset: 0x0"));
  EXPECT_TRUE(has(text, "\tl2 table[8192] [unreadable]"));
}

}  // namespace
}  // namespace qd::render
