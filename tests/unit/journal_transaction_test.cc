// Planning, looking at the plan, and making it real.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

#include "base/ranges.h"
#include "journal/pages.h"
#include "journal_transaction_testing.h"

namespace qd {
namespace {

using testing::ElementsAre;

TEST(Ranges, JoinSplitAndFind) {
  Ranges ranges;
  EXPECT_TRUE(ranges.empty());
  ranges.add(10, 20);
  ranges.add(30, 40);
  ranges.add(20, 25);  // touches
  EXPECT_EQ(ranges.end_of(10), 25u);
  EXPECT_EQ(ranges.end_of(25), 25u);
  EXPECT_EQ(ranges.next(0, 99), 10u);
  EXPECT_EQ(ranges.next(24, 99), 24u);
  EXPECT_EQ(ranges.next(25, 99), 30u);
  EXPECT_EQ(ranges.next(40, 99), 99u);
  ranges.add(24, 31);
  EXPECT_EQ(ranges.end_of(10), 40u);
  ranges.remove(15, 16);
  EXPECT_EQ(ranges.end_of(10), 15u);
  EXPECT_FALSE(ranges.overlaps(15, 16));
  EXPECT_TRUE(ranges.overlaps(15, 17));
  EXPECT_FALSE(ranges.overlaps(0, 10));
  ranges.remove(0, 100);
  EXPECT_TRUE(ranges.empty());
}

TEST(Pages, AreKeptAsWhatTheyAre) {
  const auto base = memory_file(zeros(1 * mib));
  const std::string random = random_bytes(page_bytes);
  const auto source = memory_file(zeros(100) + random);
  PlannedPages plan(*base);
  const auto put = [&](std::uint64_t number, const std::string& bytes, const CopiedPage* copied = nullptr) {
    expect_ok(plan.patch(Stage::fresh, number * page_bytes, as_bytes(bytes), copied));
    const auto& page = plan.pages.at({number, Stage::fresh});
    PageBytes back;
    expect_ok(fill(page, back));
    EXPECT_EQ(std::memcmp(back.data(), bytes.data(), page_bytes), 0) << number;
    return page.index();
  };
  const CopiedPage place{source.get(), 100};
  EXPECT_EQ(put(0, row(0x80000000'00050000, 0x10000)), 0u);
  EXPECT_EQ(put(1, row(0x00010001'00010001, 0)), 0u);
  EXPECT_EQ(put(2, row(5, ~std::uint64_t{0})), 0u);  // backwards, through zero
  EXPECT_EQ(put(3, random, &place), 2u);
  EXPECT_EQ(put(4, random), 3u);
  std::string nearly = row(1, 1);
  nearly.back() = 'x';
  EXPECT_EQ(put(5, nearly), 3u);
  EXPECT_EQ(put(6, std::string(page_bytes, 'a'), &place), 0u);
  std::string few(page_bytes, '\0');
  few[17] = few[18] = few.back() = 'x';
  EXPECT_EQ(put(7, few), 1u);
  for (std::size_t word = 0; word < 33; ++word) few[word * 8] = static_cast<char>(word + 1);
  EXPECT_EQ(put(8, few), 3u);
}

TEST(Transaction, AnEmptyOneTouchesNothing) {
  Disk disk(random_bytes(10'000));
  Transaction transaction(disk.image);
  EXPECT_TRUE(transaction.empty());
  expect_ok(transaction.write(Stage::point, 100, as_bytes(disk.image.contents().substr(100, 5000))));  // as it is
  transaction.resize(9'000);
  transaction.resize(10'000);
  EXPECT_FALSE(transaction.empty());  // the last 1000 bytes would be zeros
  expect_ok(transaction.write(Stage::point, 9'000, as_bytes(disk.image.contents().substr(9'000))));
  EXPECT_TRUE(transaction.empty());
  const auto outcome = value_of(disk.commit(transaction));
  EXPECT_EQ(outcome.log_bytes, 0u);
  EXPECT_EQ(disk.fate.operations(), 0u);
  EXPECT_EQ(disk.image.modified(), 7);
}

// Any plan at all: the view is what a simple model says, and so is the image after commit and, after undo, before.
TEST(Transaction, NothingCanBeReadFromAChangedPage) {
  const auto base = memory_file(zeros(1 * mib));
  Transaction t(*base);
  expect_ok(t.write(Stage::fresh, 4096, as_bytes("new")));
  EXPECT_EQ(t.view()->read(4097, {}), 0u);
}

TEST(Transaction, IsWhatASimpleModelSays) {
  for (unsigned seed = 0; seed < 200; ++seed) {
    std::mt19937 random(seed);
    const std::string before = random_bytes(20'000 + random() % 30'000, seed);
    Disk disk(before);
    if (seed % 4 == 0) disk.image.refuse_punch();
    const std::string other = random_bytes(30'000, seed + 1);
    const auto source = memory_file(other);
    Transaction transaction(disk.image);
    std::string model = before;
    const auto put = [&](std::uint64_t offset, const std::string& bytes) {
      if (model.size() < offset + bytes.size()) model.resize(offset + bytes.size());
      model.replace(offset, bytes.size(), bytes);
    };
    // Last write wins where the stages rise; that is what this plan keeps to.
    for (std::size_t step = 0; step < 12; ++step) {
      const auto stage = static_cast<Stage>(step * stages / 12);
      const std::uint64_t offset = random() % 60'000;
      const std::uint64_t length = 1 + random() % 12'000;
      switch (random() % 6) {
        case 0:
          transaction.resize(offset);
          model.resize(offset);
          break;
        case 1:
          transaction.punch(offset, length);
          if (offset < model.size()) put(offset, zeros(std::min<std::uint64_t>(length, model.size() - offset)));
          break;
        case 2: {
          const std::uint64_t from = random() % 25'000;
          expect_ok(transaction.copy(stage, offset, *source, from, length));
          std::string bytes = from < other.size() ? other.substr(from, length) : "";
          bytes.resize(length);
          put(offset, bytes);
          break;
        }
        default: {
          const std::string bytes = random() % 2 ? row(random(), random() % 3, length) : random_bytes(length, random());
          expect_ok(transaction.write(stage, offset, as_bytes(bytes)));
          put(offset, bytes);
        }
      }
      ASSERT_EQ(all_of(*transaction.view()), model) << seed << " " << step;
    }
    const std::uint64_t part = random() % (model.size() + 1);
    EXPECT_EQ(read_from(*transaction.view(), part, 5000), expected_from(model, part, 5000));

    if (transaction.empty()) continue;
    expect_ok(disk.commit(transaction));
    ASSERT_EQ(disk.image.contents(), model) << seed;
    SimulatedFile second(disk.fate, "", "LOG2");
    expect_ok(undo(disk.image, disk.log, &second, "image", false, disk.interrupted));
    ASSERT_EQ(disk.image.contents(), before) << seed;
    EXPECT_EQ(disk.image.modified(), 7);
    SimulatedFile third(disk.fate, "", "LOG3");
    expect_ok(undo(disk.image, second, &third, "image", false, disk.interrupted));
    ASSERT_EQ(disk.image.contents(), model) << seed;
    SimulatedFile fourth(disk.fate, "", "LOG4");
    expect_ok(undo(disk.image, disk.log, &fourth, "image", false, disk.interrupted));  // the first log fits again
    ASSERT_EQ(disk.image.contents(), before) << seed;
  }
}

// Several pieces long, so that a wrong direction would copy what was copied.
TEST(Transaction, CopiesOverItself) {
  const std::string before = random_bytes(6 * mib);
  for (const auto& [to, from] : {std::pair(mib + 5000, mib), std::pair(mib, mib + 5000), std::pair(mib + 7, mib + 8),
                                 std::pair(3 * mib + 1, mib), std::pair(mib + 4096, mib), std::pair(mib, mib)}) {
    Disk disk(before);
    Transaction transaction(disk.image);
    expect_ok(transaction.copy(Stage::point, to, disk.image, from, 4 * mib));
    std::string model = before;
    if (model.size() < to + 4 * mib) model.resize(to + 4 * mib);
    model.replace(to, 4 * mib, before.substr(from, 4 * mib));
    EXPECT_EQ(all_of(*transaction.view()), model) << to;
    expect_ok(disk.commit(transaction));
    EXPECT_EQ(disk.image.contents(), model) << to;
    if (to == from) continue;
    expect_ok(undo(disk.image, disk.log, nullptr, "image", false, disk.interrupted));
    EXPECT_EQ(disk.image.contents(), before) << to;
  }
}

TEST(Transaction, AnEarlierStageIsSeenByTheLaterOnes) {
  Disk disk(zeros(4096));
  Transaction transaction(disk.image);
  expect_ok(transaction.write(Stage::point, 0, as_bytes("pppp")));
  expect_ok(transaction.write(Stage::mark, 8, as_bytes("m")));
  expect_ok(transaction.write(Stage::fresh, 2, as_bytes("ffff")));
  expect_ok(transaction.write(Stage::release, 3, as_bytes("r")));
  EXPECT_EQ(all_of(*transaction.view()).substr(0, 10), std::string("ppfrff\0\0m\0", 10));
}

TEST(Transaction, GoesStageByStage) {
  const std::string before = random_bytes(8 * 4096);
  Disk disk(before);
  Transaction transaction(disk.image);
  expect_ok(transaction.write(Stage::mark, 0, as_bytes("m")));
  expect_ok(transaction.write(Stage::point, 1 * 4096, as_bytes("p")));
  expect_ok(transaction.write(Stage::claim, 2 * 4096, as_bytes("c")));
  expect_ok(transaction.write(Stage::release, 3 * 4096, as_bytes("r")));
  expect_ok(transaction.write(Stage::fresh, 8 * 4096, as_bytes(random_bytes(700))));
  transaction.punch(4 * 4096, 4096);
  const auto outcome = value_of(disk.commit(transaction));
  auto journal = disk.fate.journal();
  std::erase_if(journal,
                [](const std::string& what) { return what.starts_with("write LOG") && what != "write LOG 0+512"; });
  EXPECT_THAT(journal, ElementsAre("sync LOG", "write LOG 0+512", "sync LOG",                        //
                                   "resize IMAGE 33468", "write IMAGE 32768+700", "sync IMAGE",      //
                                   "write IMAGE 8192+512", "sync IMAGE",                             //
                                   "write IMAGE 4096+512", "sync IMAGE",                             //
                                   "write IMAGE 12288+512", "punch IMAGE 16384+4096", "sync IMAGE",  //
                                   "write IMAGE 0+512", "sync IMAGE",                                //
                                   "write LOG 0+512", "sync LOG"));
  EXPECT_EQ(outcome.bytes_written, 4 * 512u + 700);
  EXPECT_EQ(outcome.bytes_punched, 4096u);
  EXPECT_EQ(outcome.log_bytes, disk.log.size());
  EXPECT_FALSE(outcome.punch_refused);
}

TEST(Transaction, CutsOffLast) {
  Disk disk(random_bytes(8 * 4096));
  Transaction transaction(disk.image);
  expect_ok(transaction.write(Stage::mark, 0, as_bytes("m")));
  transaction.resize(4096 + 100);
  expect_ok(disk.commit(transaction));
  const auto& journal = disk.fate.journal();
  const std::vector<std::string> last(journal.end() - 6, journal.end());
  EXPECT_THAT(last, ElementsAre("write IMAGE 0+512", "sync IMAGE", "resize IMAGE 4196", "sync IMAGE", "write LOG 0+512",
                                "sync LOG"));
}

TEST(Transaction, WritesZerosWhereNoSpaceCanBeGivenBack) {
  Disk disk(random_bytes(3 * mib));
  disk.image.refuse_punch();
  Transaction transaction(disk.image);
  transaction.punch(1000, 2 * mib);
  const std::string planned = all_of(*transaction.view());
  const auto outcome = value_of(disk.commit(transaction));
  EXPECT_TRUE(outcome.punch_refused);
  EXPECT_EQ(outcome.bytes_punched, 0u);
  EXPECT_EQ(disk.image.contents(), planned);
  EXPECT_EQ(planned.substr(1000, 2 * mib), zeros(2 * mib));
}

TEST(Transaction, TheViewKnowsItsHoles) {
  const auto base = memory_file(random_bytes(10'000), "base");
  Transaction transaction(*base);
  expect_ok(transaction.write(Stage::fresh, 20'000, as_bytes("x")));
  const auto view = transaction.view();
  EXPECT_EQ(view->size(), 20'001u);
  EXPECT_EQ(view->path(), "base");
  EXPECT_TRUE(view->traits().resizable);
  EXPECT_EQ(view->stored_bytes(0, top), 20'001u);
  EXPECT_EQ(view->next_data(0), 0u);
  EXPECT_EQ(view->next_data(20'001), 20'001u);
  EXPECT_EQ(view->stored_bytes(30'000, 5), 0u);
}

TEST(Transaction, WhatCannotBeResizedKeepsItsSize) {
  Disk disk(random_bytes(10'000));
  disk.image.become_device();
  Transaction transaction(disk.image);
  EXPECT_FALSE(transaction.view()->traits().resizable);
  transaction.resize(5'000);
  EXPECT_TRUE(transaction.empty());
  EXPECT_EQ(transaction.write(Stage::fresh, 9'999, as_bytes("xy")).error().number, ENOSPC);
  EXPECT_TRUE(transaction.empty());
  expect_ok(transaction.write(Stage::fresh, 9'999, as_bytes("x")));
  value_of(disk.commit(transaction));
  EXPECT_EQ(disk.image.contents().size(), 10'000u);
  EXPECT_EQ(disk.image.contents().back(), 'x');
}

TEST(Transaction, ABadSourceIsAnError) {
  const auto base = memory_file(zeros(10'000));
  const auto bad = faulty_file(memory_file(random_bytes(10'000), "bad"), 5000, 1, EIO);
  Transaction transaction(*base);
  EXPECT_EQ(transaction.copy(Stage::fresh, 0, *bad, 4096, 4096).error().number, EIO);
  Transaction on_bad(*bad);
  EXPECT_EQ(on_bad.write(Stage::fresh, 4100, as_bytes("x")).error().number, EIO);
  EXPECT_EQ(on_bad.write(Stage::fresh, top - 3, as_bytes("xxxxx")).error().number, EFBIG);
}

// Somebody else's file: after `reads` reads it holds other bytes.
class FickleFile final : public File {
 public:
  FickleFile(std::string bytes, std::string later, std::uint64_t reads)
      : now_(memory_file(std::move(bytes), "donor")), later_(memory_file(std::move(later), "donor")), left_(reads) {}

  Result<std::size_t> read(std::uint64_t offset, std::span<std::byte> into) const override {
    const bool changed = left_ == 0;
    if (!changed) --left_;
    return (changed ? later_ : now_)->read(offset, into);
  }
  std::uint64_t size() const override { return now_->size(); }
  std::uint64_t allocated_bytes() const override { return now_->allocated_bytes(); }
  FileTraits traits() const override { return now_->traits(); }
  const std::string& path() const override { return now_->path(); }
  std::uint64_t stored_bytes(std::uint64_t offset, std::uint64_t length) const override {
    return now_->stored_bytes(offset, length);
  }
  std::uint64_t next_data(std::uint64_t offset) const override { return now_->next_data(offset); }

 private:
  const std::unique_ptr<File> now_, later_;
  mutable std::uint64_t left_;
};

// The log was made for what the source held. Written is that, or nothing: the way back fits in any case. Whatever the
// source has become: other bytes, or shorter.
TEST(Transaction, ASourceThatChangesMeanwhileIsNotCopied) {
  const std::string before = random_bytes(40'000, 1), wanted = random_bytes(40'000, 2);
  int refused = 0, copied = 0;
  for (const std::string& later : {random_bytes(40'000, 3), wanted.substr(0, 100)}) {
    for (std::uint64_t reads = 10; reads < 40; ++reads) {
      const FickleFile source(wanted, later, reads);
      Disk disk(before);
      Transaction transaction(disk.image);
      expect_ok(transaction.copy(Stage::point, 0, source, 0, 40'000));
      const auto done = disk.commit(transaction);
      ++(done ? copied : refused);
      EXPECT_EQ(disk.image.contents(), done ? wanted : before) << reads;
      if (done) {
        expect_ok(undo(disk.image, disk.log, nullptr, "image", false, disk.interrupted));
      } else {
        EXPECT_EQ(done.error().number, EBUSY) << reads;
      }
      EXPECT_EQ(disk.image.contents(), before) << reads;
    }
  }
  EXPECT_GT(refused, 20);
  EXPECT_GT(copied, 0);
}

TEST(Transaction, AnImageThatGrewMeanwhileIsRefused) {
  Disk disk(zeros(8192));
  const auto base = memory_file(zeros(4096));
  Transaction transaction(*base);
  expect_ok(transaction.write(Stage::fresh, 0, as_bytes("x")));
  const auto done = disk.commit(transaction);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().number, EAGAIN);
  EXPECT_EQ(disk.fate.operations(), 0u);
}

}  // namespace
}  // namespace qd
