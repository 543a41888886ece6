#include <gtest/gtest.h>

#include <cerrno>
#include <vector>

#include "io_testing.h"
#include "simulated_file.h"

namespace qd {
namespace {

TEST(MemoryFile, ReadsLikeAFile) {
  const std::string bytes = random_bytes(1000);
  const auto file = memory_file(bytes, "name");
  EXPECT_EQ(file->size(), 1000u);
  EXPECT_EQ(file->allocated_bytes(), 1000u);
  EXPECT_TRUE(file->traits().resizable && file->traits().knows_allocation);
  EXPECT_EQ(file->path(), "name");
  for (const std::uint64_t offset :
       {std::uint64_t{0}, std::uint64_t{990}, std::uint64_t{1000}, std::uint64_t{1} << 63, top - 10, top}) {
    EXPECT_EQ(read_from(*file, offset, 100), expected_from(bytes, offset, 100)) << offset;
  }
  EXPECT_EQ(file->bytes_read(), 110u);
  EXPECT_EQ(file->reads(), 6u);
  EXPECT_EQ(file->stored_bytes(0, top), 1000u);
  EXPECT_EQ(file->stored_bytes(999, top), 1u);
  EXPECT_EQ(file->stored_bytes(top, top), 0u);
  EXPECT_EQ(file->next_data(5), 5u);
  EXPECT_EQ(file->next_data(top), 1000u);
  EXPECT_EQ(read_from(*memory_file(""), 0, 3), expected_from("", 0, 3));
}

TEST(FaultyFile, FailsWhereItIsToldTo) {
  const std::string bytes = random_bytes(10'000);
  const auto file = faulty_file(memory_file(bytes, "/x/y"), 4096, 512, EIO);
  const auto fails = [&](std::uint64_t offset, std::size_t length) {
    std::vector<std::byte> into(length);
    return !file->read(offset, into);
  };
  EXPECT_FALSE(fails(0, 4096));
  EXPECT_TRUE(fails(0, 4097));
  EXPECT_TRUE(fails(4096, 1));
  EXPECT_TRUE(fails(4607, 1));
  EXPECT_TRUE(fails(4200, 9000));
  EXPECT_FALSE(fails(4608, 1));
  EXPECT_FALSE(fails(4096, 0));
  EXPECT_FALSE(fails(top, 100));
  EXPECT_EQ(read_from(*file, 4608, 100), expected_from(bytes, 4608, 100));

  std::vector<std::byte> into(4096);
  const auto failed = file->read(4096, into);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().number, EIO);
  EXPECT_EQ(failed.error().message, "cannot read 4096 bytes at 0x1000 of /x/y: Input/output error");
}

TEST(FaultyFile, IsOtherwiseTheSameFile) {
  const auto file = faulty_file(memory_file(std::string(100, 'a'), "name"), 0, 0, EIO);
  EXPECT_EQ(file->size(), 100u);
  EXPECT_EQ(file->allocated_bytes(), 100u);
  EXPECT_TRUE(file->traits().resizable);
  EXPECT_EQ(file->path(), "name");
  EXPECT_EQ(file->stored_bytes(10, 20), 20u);
  EXPECT_EQ(file->next_data(10), 10u);
  EXPECT_EQ(read_from(*file, 0, 100).count, 100u);
  EXPECT_EQ(file->bytes_read(), 100u);
}

TEST(FaultyFile, IsADeviceIfTheOtherIs) {
  Fate fate;
  auto inner = std::make_unique<SimulatedFile>(fate, "abc", "/dev/disk");
  inner->become_device();
  const auto file = faulty_file(std::move(inner), 0, 0, EIO);
  EXPECT_EQ(file->traits().kind, "block device");
  EXPECT_FALSE(file->traits().resizable || file->traits().knows_allocation || file->traits().has_neighbours);
}

TEST(File, HasCompanionsBesideItOrInTheWorkingFolder) {
  EXPECT_EQ(memory_file("", "/images/disk.qcow2")->companion(".undo"), "/images/disk.qcow2.undo");
  EXPECT_EQ(memory_file("", "disk.qcow2")->companion(".copy"), "disk.qcow2.copy");
  Fate fate;
  SimulatedFile device(fate, "", "/dev/mapper/disk"), here(fate, "", "disk");
  device.become_device();
  here.become_device();
  EXPECT_EQ(device.companion(".undo"), "disk.undo");
  EXPECT_EQ(here.companion(".undo"), "disk.undo");
}

TEST(FaultyFile, TheFaultMayReachPastEverything) {
  const auto file = faulty_file(memory_file(std::string(100, 'a')), 50, top, ENXIO);
  std::vector<std::byte> into(10);
  EXPECT_TRUE(file->read(0, into));
  EXPECT_FALSE(file->read(45, into));
  EXPECT_FALSE(file->read(top, into));
}

}  // namespace
}  // namespace qd
