// QEMU itself is the other side: a qemu-io that keeps an image open, or tries to open it.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <string>
#include <utility>

#include "io_testing.h"
#include "journal/qemu_lock.h"
#include "running_qemu.h"

namespace qd {
namespace {

class QemuLock : public FolderTest {
 protected:
  void SetUp() override {
    FolderTest::SetUp();
    image_ = place("image.qcow2");
    ASSERT_EQ(run({"qemu-img", "create", "-q", "-f", "qcow2", image_, "1M"}), 0) << "qemu-img is needed (qemu-utils)";
  }

  bool qemu_can_write() const { return run({"qemu-io", "-f", "qcow2", "-c", "write 0 512", image_}) == 0; }
  bool qemu_can_read() const { return run({"qemu-io", "-r", "-f", "qcow2", "-c", "read 0 512", image_}) == 0; }

  // A lock as another QEMU would hold it, on one byte.
  Descriptor hold(off_t byte, short type = F_RDLCK) const {
    Descriptor holder(::open(image_.c_str(), O_RDWR | O_CLOEXEC));
    struct flock range = {};
    range.l_type = type;
    range.l_whence = SEEK_SET;
    range.l_start = byte;
    range.l_len = 1;
    EXPECT_EQ(::fcntl(holder.get(), F_OFD_SETLK, &range), 0);
    return holder;
  }

  std::string image_;
};

TEST_F(QemuLock, AnIdleImageHasNoWriter) {
  EXPECT_EQ(has_writer(image_).value(), false);
  EXPECT_TRUE(ReadLock::take(image_));
}

TEST_F(QemuLock, AWritingQemuIsSeen) {
  {
    const RunningQemu writer(image_, {});
    ASSERT_TRUE(writer.open());
    EXPECT_EQ(has_writer(image_).value(), true);

    const auto lock = ReadLock::take(image_);
    ASSERT_FALSE(lock);
    EXPECT_EQ(lock.error().number, EAGAIN);
    EXPECT_EQ(lock.error().message, "cannot lock " + image_ +
                                        ": another process may write to it; stop that process "
                                        "first, or read without the lock");
  }
  EXPECT_EQ(has_writer(image_).value(), false);
  EXPECT_TRUE(ReadLock::take(image_));
}

TEST_F(QemuLock, AReadingQemuIsNoWriterAndSharesTheLock) {
  const RunningQemu reader(image_, {"-r"});
  ASSERT_TRUE(reader.open());
  EXPECT_EQ(has_writer(image_).value(), false);
  EXPECT_TRUE(ReadLock::take(image_));
}

TEST_F(QemuLock, AStartingQemuSeesUs) {
  {
    const auto lock = ReadLock::take(image_);
    ASSERT_TRUE(lock);
    EXPECT_FALSE(qemu_can_write());
    EXPECT_TRUE(qemu_can_read());
  }
  EXPECT_TRUE(qemu_can_write());
}

// A look, or an attempt that failed, must not leave anything that stops a virtual machine from starting.
TEST_F(QemuLock, LookingAndFailingLeaveNoLock) {
  EXPECT_TRUE(has_writer(image_));
  EXPECT_TRUE(qemu_can_write());
  {
    const Descriptor writer = hold(101);
    EXPECT_FALSE(ReadLock::take(image_));
  }
  EXPECT_TRUE(qemu_can_write());
}

TEST_F(QemuLock, ReadersShare) {
  const auto first = ReadLock::take(image_);
  const auto second = ReadLock::take(image_);
  EXPECT_TRUE(first);
  EXPECT_TRUE(second);
  EXPECT_EQ(has_writer(image_).value(), false);
}

TEST_F(QemuLock, EachPermissionByItself) {
  struct Case {
    off_t byte;
    bool writer;
    bool lockable;
  };
  const Case cases[] = {
      {100, false, true},                                         // reads
      {101, true, false},                                         // writes
      {102, false, true},                                         // writes what is there already
      {103, true, false},                                         // resizes
      {200, false, false},                                        // forbids reading
      {201, false, true},                                         // forbids writing
      {202, false, true},  {203, false, true}, {0, false, true},  // not QEMU's
  };
  for (const auto& [byte, writer, lockable] : cases) {
    const Descriptor other = hold(byte);
    EXPECT_EQ(has_writer(image_).value(), writer) << byte;
    const auto lock = ReadLock::take(image_);
    EXPECT_EQ(lock ? 0 : lock.error().number, lockable ? 0 : EAGAIN) << byte;
  }
}

TEST_F(QemuLock, AnExclusiveLockIsAConflict) {
  const Descriptor other = hold(100, F_WRLCK);
  const auto lock = ReadLock::take(image_);
  ASSERT_FALSE(lock);
  EXPECT_EQ(lock.error().number, EAGAIN);
}

TEST_F(QemuLock, MovesWithItsOwner) {
  std::optional<ReadLock> kept;
  {
    auto lock = ReadLock::take(image_);
    ASSERT_TRUE(lock);
    kept.emplace(std::move(*lock));
  }
  EXPECT_FALSE(qemu_can_write());

  const std::string other = folder_ + "/other.qcow2";
  ASSERT_EQ(run({"cp", image_, other}), 0);
  auto another = ReadLock::take(other);
  ASSERT_TRUE(another);
  *kept = std::move(*another);  // gives the first image free at once
  EXPECT_TRUE(qemu_can_write());
  ::unlink(other.c_str());
}

TEST_F(QemuLock, NeedsNoPermissionToWrite) {
  ASSERT_EQ(::chmod(image_.c_str(), 0444), 0);
  EXPECT_TRUE(has_writer(image_));
  EXPECT_TRUE(ReadLock::take(image_));
}

TEST_F(QemuLock, WhatCannotBeOpenedIsAnError) {
  const auto missing = has_writer(folder_ + "/missing");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().number, ENOENT);
  EXPECT_EQ(missing.error().message, "cannot open " + folder_ + "/missing: No such file or directory");

  const auto folder = ReadLock::take(folder_);
  ASSERT_FALSE(folder);
  EXPECT_EQ(folder.error().number, EISDIR);
}

}  // namespace
}  // namespace qd
