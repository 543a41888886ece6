// Files on a real disk, written to, and QEMU's locks around them.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "journal/qemu_lock.h"
#include "journal_transaction_testing.h"
#include "running_qemu.h"

namespace qd {
namespace {

using testing::HasSubstr;

class PosixMutable : public FolderTest {
 protected:
  std::unique_ptr<MutableFile> open_to_write(const std::string& path) { return value_of(open_mutable(path)); }
};

TEST_F(PosixMutable, WritesAndReadsWhatItWrote) {
  std::string bytes = random_bytes(10'000);
  const std::string path = write_file("image", bytes);
  {
    const auto file = open_to_write(path);
    EXPECT_EQ(file->traits().kind, "regular file");
    EXPECT_TRUE(file->traits().resizable && file->traits().knows_allocation && file->traits().has_neighbours);
    EXPECT_EQ(file->path(), path);
    const std::string more = random_bytes(5'000, 2);
    expect_ok(file->write(8'000, as_bytes(more)));
    bytes.resize(13'000);
    bytes.replace(8'000, 5'000, more);
    EXPECT_EQ(file->size(), 13'000u);
    EXPECT_EQ(all_of(*file), bytes);
    EXPECT_EQ(read_from(*file, 12'990, 100), expected_from(bytes, 12'990, 100));
    expect_ok(file->resize(20'000));
    bytes.resize(20'000);
    EXPECT_EQ(all_of(*file), bytes);
    expect_ok(file->resize(9'001));
    bytes.resize(9'001);
    expect_ok(file->write(0, {}));
    expect_ok(file->sync());
    EXPECT_EQ(file->size(), 9'001u);
    EXPECT_GE(file->allocated_bytes(), 9'001u);
  }
  EXPECT_EQ(all_of(*open(path)), bytes);
}

TEST_F(PosixMutable, GivesSpaceBack) {
  std::string bytes = random_bytes(4 * mib);
  const std::string path = write_file("image", bytes);
  const auto file = open_to_write(path);
  const std::uint64_t allocated = file->allocated_bytes();
  const auto punched = value_of(file->punch(mib + 100, 2 * mib));
  if (!punched) {
    EXPECT_EQ(all_of(*file), bytes);
    GTEST_SKIP() << "this file system gives no space back";
  }
  bytes.replace(mib + 100, 2 * mib, std::string(2 * mib, '\0'));
  EXPECT_EQ(all_of(*file), bytes);
  EXPECT_LE(file->allocated_bytes(), allocated - mib);
  EXPECT_TRUE(value_of(file->punch(3 * mib, top)));  // to the end, which stays where it is
  EXPECT_EQ(file->size(), 4 * mib);
  EXPECT_EQ(file->next_data(3 * mib), 4 * mib);
  EXPECT_TRUE(value_of(file->punch(top, 1)));
}

TEST_F(PosixMutable, TheTimeOfTheLastChangeCanBePutBack) {
  const auto file = open_to_write(write_file("image", "abc"));
  for (const std::int64_t time : {std::int64_t{1'234'567'890'123'456'789}, std::int64_t{-1'500'000'000}}) {
    file->set_modified(time);
    EXPECT_EQ(file->modified(), time);
  }
  expect_ok(file->write(0, as_bytes("x")));
  EXPECT_GT(file->modified(), 0);
}

TEST_F(PosixMutable, AFileTooLargeIsAnErrorAsAnyOther) {
  const auto file = open_to_write(write_file("image", "abc"));
  EXPECT_EQ(file->write(top - 1, as_bytes("xxx")).error().number, EFBIG);
  EXPECT_EQ(file->resize(top).error().number, EFBIG);

  rlimit before;
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small = {4096, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto done = file->write(4000, as_bytes(random_bytes(1000)));
  const auto resized = file->resize(8192);
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().number, EFBIG);
  EXPECT_EQ(done.error().message, "cannot write 1000 bytes at 0xfa0 of " + file->path() + ": File too large");
  EXPECT_EQ(file->size(), 4096u);  // as far as it came
  ASSERT_FALSE(resized);
  EXPECT_EQ(resized.error().number, EFBIG);
}

TEST_F(PosixMutable, OnlyFilesAndDisksAreOpened) {
  EXPECT_EQ(open_mutable(folder_ + "/missing").error().number, ENOENT);
  EXPECT_EQ(open_mutable(folder_).error().number, EISDIR);
  EXPECT_EQ(open_mutable("/dev/null").error().number, EINVAL);
  const std::string path = write_file("image", "abc");
  ASSERT_EQ(::chmod(path.c_str(), 0444), 0);
  const bool superuser = ::geteuid() == 0;  // who may write to everything: "nobody" tries
  ASSERT_EQ(::chmod(folder_.c_str(), 0755), 0);
  if (superuser && ::seteuid(65534) != 0) GTEST_SKIP() << "nobody but the superuser here";
  const auto refused = open_mutable(path);
  ASSERT_TRUE(!superuser || ::seteuid(0) == 0);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().number, EACCES);
  EXPECT_THAT(refused.error().message, HasSubstr("it must be opened for writing"));
}

TEST_F(PosixMutable, ANewFileIsNewAndOurs) {
  const std::string path = place("new.undo");
  const auto file = value_of(create_file(path));
  struct stat status;
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  expect_ok(file->write(0, as_bytes("abc")));
  EXPECT_EQ(all_of(*open(path)), "abc");
  const auto again = create_file(path);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().number, EEXIST);
  EXPECT_EQ(again.error().message, "cannot make " + path + ": File exists");
  EXPECT_EQ(create_file(folder_ + "/no/where").error().number, ENOENT);
  EXPECT_EQ(create_file(path + std::string("\0x", 2)).error().number, EINVAL);
}

TEST_F(PosixMutable, ATransactionOnARealFile) {
  const std::string before = random_bytes(3 * mib + 700);
  const std::string path = write_file("image", before);
  const auto image = open_to_write(path);
  image->set_modified(1'000'000'000);
  const auto log = value_of(create_file(place("log")));
  const std::atomic<bool> interrupted = false;

  Transaction transaction(*image);
  expect_ok(transaction.write(Stage::fresh, 3 * mib, as_bytes(random_bytes(100'000, 2))));
  expect_ok(transaction.write(Stage::mark, 8, as_bytes("mark")));
  transaction.punch(mib, mib);
  const std::string planned = all_of(*transaction.view());
  expect_ok(transaction.commit(*image, log.get(), "image", interrupted));
  EXPECT_EQ(all_of(*open(path)), planned);
  const std::int64_t modified = image->modified();
  EXPECT_NE(modified, 1'000'000'000);

  // The log knows what it was written for, and that it is no copy.
  const UndoHeader header = value_of(read_undo_header(*log));
  EXPECT_TRUE(header.bound(open(path)->identity(), log->identity()));
  EXPECT_FALSE(header.bound(log->identity(), log->identity()));
  EXPECT_FALSE(header.bound(image->identity(), image->identity()));
  EXPECT_EQ(log->identity().mode, S_IFREG | 0600u);
  EXPECT_EQ(log->identity().owner, ::geteuid());

  const auto second = value_of(create_file(place("log2")));
  expect_ok(undo(*image, *log, second.get(), "image", false, interrupted));
  EXPECT_EQ(all_of(*open(path)), before);
  EXPECT_EQ(image->modified(), 1'000'000'000);

  const auto third = value_of(create_file(place("log3")));
  expect_ok(undo(*image, *second, third.get(), "image", false, interrupted));
  EXPECT_EQ(all_of(*open(path)), planned);
  EXPECT_EQ(image->modified(), modified);
  expect_ok(UndoLog::read(*log)->fits(*image, modified));
}

// ---- QEMU's locks

TEST_F(PosixMutable, OneWriterAtATime) {
  const std::string path = write_file("image", "abc");
  const auto first = open_to_write(path);
  const auto second = open_mutable(path);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().number, EAGAIN);
  EXPECT_EQ(second.error().message,
            "cannot lock " + path + ": another process may write to it; stop that process first");
  EXPECT_EQ(ReadLock::take(path).error().number, EAGAIN);
  EXPECT_TRUE(value_of(has_writer(path)));
}

TEST_F(PosixMutable, EachPermissionByItself) {
  const std::string path = write_file("image", "abc");
  for (const auto& [byte, number] : {std::pair<off_t, int>{100, 0},
                                     {101, EAGAIN},
                                     {102, 0},
                                     {103, EAGAIN},
                                     {200, EAGAIN},
                                     {201, EAGAIN},
                                     {202, 0},
                                     {203, EAGAIN}}) {
    const Descriptor other(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    struct flock range = {};
    range.l_type = F_RDLCK;
    range.l_whence = SEEK_SET;
    range.l_start = byte;
    range.l_len = 1;
    ASSERT_EQ(::fcntl(other.get(), F_OFD_SETLK, &range), 0);
    const auto opened = open_mutable(path);
    EXPECT_EQ(opened ? 0 : opened.error().number, number) << byte;
  }
  EXPECT_TRUE(open_mutable(path));
}

class MutableAndQemu : public PosixMutable {
 protected:
  void SetUp() override {
    PosixMutable::SetUp();
    image_ = place("image.qcow2");
    if (run({"qemu-io", "--version"}) != 0) GTEST_SKIP() << "qemu-io is needed (qemu-utils)";
    ASSERT_EQ(run({"qemu-img", "create", "-q", "-f", "qcow2", image_, "1M"}), 0);
  }
  std::string image_;
};

TEST_F(MutableAndQemu, QemuKeepsUsOut) {
  {
    const RunningQemu writer(image_, {});
    ASSERT_TRUE(writer.open());
    const auto opened = open_mutable(image_);
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().number, EAGAIN);
    EXPECT_THAT(opened.error().message, HasSubstr("another process may write to it; stop that process first"));
  }
  {
    const RunningQemu reader(image_, {"-r"});
    ASSERT_TRUE(reader.open());
    const auto opened = open_mutable(image_);
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().number, EAGAIN);
    EXPECT_THAT(opened.error().message, HasSubstr("another process reads it and forbids writing to it"));
  }
  EXPECT_TRUE(open_mutable(image_));
}

TEST_F(MutableAndQemu, WeKeepQemuOut) {
  const auto write = [&] { return run({"qemu-io", "-f", "qcow2", "-c", "write 0 512", image_}); };
  const auto read = [&] { return run({"qemu-io", "-r", "-f", "qcow2", "-c", "read 0 512", image_}); };
  {
    const auto file = open_to_write(image_);
    EXPECT_NE(write(), 0);
    EXPECT_NE(read(), 0);
  }
  EXPECT_EQ(read(), 0);
  EXPECT_EQ(write(), 0);
}

}  // namespace
}  // namespace qd
