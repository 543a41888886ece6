// What is believed of a log, and what isn't.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <libdeflate.h>

#include <cerrno>

#include "journal_transaction_testing.h"

namespace qd {
namespace {

using testing::HasSubstr;

// An image of 40,000 bytes that was changed in three places and made longer, with the log of it.
class UndoLogTest : public testing::Test {
 protected:
  UndoLogTest() : before_(random_bytes(40'000)), disk_(before_) {
    Transaction transaction(disk_.image);
    expect_ok(transaction.write(Stage::fresh, 30'000, as_bytes(random_bytes(2'000, 2))));
    expect_ok(transaction.write(Stage::point, 5'000, as_bytes("changed")));
    expect_ok(transaction.write(Stage::fresh, 41'000, as_bytes("longer")));
    expect_ok(disk_.commit(transaction));
    after_ = disk_.image.contents();
    log_ = disk_.log.contents();
    modified_ = disk_.image.modified();
  }

  static std::string refusal(const std::string& image, const std::string& log, std::int64_t modified = 0) {
    const auto log_file = memory_file(log, "LOG");
    const auto read = UndoLog::read(*log_file);
    if (!read) {
      EXPECT_EQ(read.error().number, EINVAL);
      return read.error().message;
    }
    const auto fits = read->fits(*memory_file(image, "IMAGE"), modified);
    if (fits) return "";
    EXPECT_EQ(fits.error().number, EINVAL);
    return fits.error().message;
  }
  std::string sealed() {
    Disk disk("", log_);
    expect_ok(set_state(disk.log, value_of(UndoLog::read(disk.log)).header(), UndoState::sealed));
    return disk.log.contents();
  }

  const std::string before_;
  Disk disk_;
  std::string after_, log_;
  std::int64_t modified_ = 0;
};

TEST_F(UndoLogTest, SaysWhatItIsFor) {
  const UndoLog log = value_of(UndoLog::read(disk_.log));
  const UndoHeader& header = log.header();
  EXPECT_EQ(header.state, UndoState::done);
  EXPECT_EQ(header.old_size, 40'000u);
  EXPECT_EQ(header.new_size, 41'006u);
  EXPECT_EQ(header.image, "image.qcow2");
  EXPECT_EQ(header.old_modified, 7);
  EXPECT_EQ(header.new_modified, modified_);
  EXPECT_EQ(header.log_bytes, log_.size());
  EXPECT_EQ(header.fingerprint, value_of(fingerprint(*memory_file(before_))));
  EXPECT_EQ(header.records, 3u);
}

TEST_F(UndoLogTest, FitsWhatItWasWrittenFor) {
  EXPECT_EQ(refusal(after_, log_, modified_), "");
  EXPECT_EQ(refusal(after_, log_, 0), "");
  EXPECT_EQ(refusal(after_, sealed(), 12345), "");
  std::string torn = after_;
  torn.replace(30'208, 512, before_, 30'208, 512);
  torn.resize(40'960);
  EXPECT_EQ(refusal(torn, sealed()), "");
}

TEST_F(UndoLogTest, RefusesAnotherImage) {
  EXPECT_THAT(refusal(random_bytes(41'006, 9), log_),
              HasSubstr("is another image than the one the log was written for (image.qcow2)"));
  std::string changed = after_;
  changed[20'000] ^= 1;  // in no record, but within the first MiB
  EXPECT_THAT(refusal(changed, log_), HasSubstr("IMAGE was changed since in its first MiB"));
}

TEST_F(UndoLogTest, RefusesAnImageChangedSince) {
  std::string changed = after_;
  changed[30'209] ^= 1;
  EXPECT_THAT(refusal(changed, log_), HasSubstr("IMAGE was changed since: at 0x7600 "));
  EXPECT_THAT(refusal(changed, sealed()), HasSubstr("IMAGE was changed since: at 0x7600 "));
  EXPECT_THAT(refusal(after_, log_, modified_ + 1), HasSubstr("as the time of its last change tells"));
}

// What was written behind the old end since would be cut off: over what the transaction put there, and beside it.
TEST_F(UndoLogTest, RefusesGrowthThatIsNotItsOwn) {
  std::string changed = after_;
  changed[41'001] = 'x';
  EXPECT_THAT(refusal(changed, sealed()), HasSubstr("IMAGE was changed since: at 0xa000 "));
  changed = after_;
  changed[40'600] = 'x';
  EXPECT_THAT(refusal(changed, sealed()), HasSubstr("IMAGE was changed since: from 0x9e"));
  changed = after_;
  changed.replace(40'960, 46, 46, '\0');
  EXPECT_EQ(refusal(changed, sealed()), "") << "a loss of power before it was written";
}

TEST_F(UndoLogTest, RefusesAnotherLength) {
  EXPECT_THAT(refusal(after_ + "x", log_), HasSubstr("neither its length before (40000) nor after (41006)"));
  EXPECT_THAT(refusal(after_.substr(0, 39'999), sealed()), HasSubstr("IMAGE "));
  EXPECT_THAT(refusal(after_.substr(0, 40'500), log_), HasSubstr("and had 41006 when the log was finished"));
}

TEST_F(UndoLogTest, RefusesToUndoTwice) {
  EXPECT_THAT(refusal(before_, log_), HasSubstr("IMAGE is already as it was before"));
  EXPECT_THAT(refusal(before_, sealed()), HasSubstr("IMAGE is already as it was before"));
}

// The first version named neither the image's file nor its own, and had more room for the name.
TEST_F(UndoLogTest, ReadsTheFirstVersion) {
  std::string old = log_;
  old[11] = 1;
  const std::string name = std::string(430, 'n') + "image";
  old.replace(72, name.size(), name);
  const std::uint32_t length = static_cast<std::uint32_t>(name.size());
  for (int i = 0; i < 4; ++i) old[68 + i] = static_cast<char>(length >> (24 - 8 * i));
  const std::uint32_t sum = libdeflate_crc32(0, old.data(), 508);
  for (int i = 0; i < 4; ++i) old[508 + i] = static_cast<char>(sum >> (24 - 8 * i));
  EXPECT_EQ(refusal(after_, old, modified_), "");
  const UndoHeader header = value_of(read_undo_header(*memory_file(old)));
  EXPECT_EQ(header.image, name);
  EXPECT_FALSE(header.bound(header.image_id, {}));
}

// A damaged record is left out by force, and the others are not; a header that is damaged can't be forced.
TEST_F(UndoLogTest, ForcedItLeavesOutWhatIsTorn) {
  for (std::size_t at = 0; at < log_.size(); at += at < 600 ? 1 : 13) {
    std::string torn = log_;
    torn[at] ^= 0x40;
    Disk disk(after_, torn);
    const auto done = undo(disk.image, disk.log, nullptr, "image.qcow2", true, disk.interrupted);
    ASSERT_EQ(done.has_value(), at >= undo_sector) << at;
    if (!done) continue;
    ASSERT_EQ(disk.image.size(), before_.size()) << at;
    for (const std::size_t place : {5'000u, 30'000u, 31'999u}) {
      ASSERT_TRUE(disk.image.contents()[place] == before_[place] || disk.image.contents()[place] == after_[place]);
    }
    // The record of the one place or that of the other is whole.
    ASSERT_TRUE(disk.image.contents()[5'000] == before_[5'000] || at < 2'000) << at;
  }
}

// Each byte of it matters.
TEST_F(UndoLogTest, RefusesADamagedLog) {
  for (std::size_t at = 0; at < log_.size(); ++at) {
    std::string torn = log_;
    torn[at] ^= 0x40;
    ASSERT_NE(refusal(after_, torn, modified_), "") << at;
  }
  for (std::size_t length = 0; length < log_.size(); ++length) {
    ASSERT_NE(refusal(after_, log_.substr(0, length), modified_), "") << length;
  }
  std::string torn = log_;
  torn[600] ^= 1;
  EXPECT_THAT(refusal(after_, torn), HasSubstr("the undo log is damaged at 0x200: a record's checksum is wrong"));
  EXPECT_THAT(refusal(after_, log_.substr(0, 1000)), HasSubstr("it ends too early"));
}

TEST_F(UndoLogTest, RefusesWhatIsNoLog) {
  EXPECT_THAT(refusal(after_, after_), HasSubstr("it is no undo log"));
  EXPECT_THAT(refusal(after_, ""), HasSubstr("it is no undo log"));
  EXPECT_THAT(refusal(after_, std::string(512, '\0') + log_.substr(512)), HasSubstr("it was never completed"));
}

TEST_F(UndoLogTest, ForcedAgainstAChangedImage) {
  std::string changed = after_;
  changed[30'209] ^= 1;
  Disk disk(changed, log_);
  EXPECT_FALSE(undo(disk.image, disk.log, nullptr, "image", false, disk.interrupted));
  EXPECT_EQ(disk.image.contents(), changed);
  expect_ok(undo(disk.image, disk.log, nullptr, "image", true, disk.interrupted));
  EXPECT_EQ(disk.image.contents(), before_);
}

TEST(UndoWriterTest, RecordsAreReadBack) {
  Fate fate;
  SimulatedFile log(fate, "", "LOG");
  SimulatedFile image(fate, random_bytes(5'000), "IMAGE");
  UndoWriter writer(log);
  const std::vector<std::uint32_t> sums(6, 5);
  expect_ok(writer.add(512, as_bytes(image.contents().substr(512, 1024)), std::span(sums).first(4)));
  expect_ok(writer.add(4608, as_bytes(image.contents().substr(4608)), {}));
  UndoHeader header;
  header.old_size = header.new_size = 5'000;
  expect_ok(writer.seal(header));
  EXPECT_EQ(writer.bytes(), log.size());
  EXPECT_EQ(value_of(UndoLog::read(log)).header().records, 2u);
}

}  // namespace
}  // namespace qd
