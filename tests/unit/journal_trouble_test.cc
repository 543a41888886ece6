// Everything that can go wrong while a plan is made real, or taken back: once at each operation.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

#include "journal_transaction_testing.h"

namespace qd {
namespace {

using testing::HasSubstr;

// A plan with all there is: all stages, a sector written twice, growth or a cut, space given back, odd lengths.
std::string image_before() {
  std::string bytes = random_bytes(100'000 + 77, 3);
  bytes.replace(50'000, 3000, zeros(3000));
  return bytes;
}

void plan_all(Transaction& transaction, bool grow) {
  expect_ok(transaction.write(Stage::fresh, 40'000, as_bytes(random_bytes(3000, 4))));
  expect_ok(transaction.write(Stage::claim, 4096, as_bytes(row(1, 1, 6000))));
  expect_ok(transaction.write(Stage::point, 4096 + 512, as_bytes(random_bytes(700, 5))));
  expect_ok(transaction.write(Stage::release, 20'000, as_bytes(zeros(100))));
  transaction.punch(48'500, 9'000);
  if (grow) {
    expect_ok(transaction.write(Stage::fresh, 99'900, as_bytes(random_bytes(9'000, 6))));
  } else {
    transaction.resize(90'000 + 33);
  }
  expect_ok(transaction.write(Stage::mark, 8, as_bytes("mark")));
}

std::string image_after(bool grow) {
  const auto base = memory_file(image_before());
  Transaction transaction(*base);
  plan_all(transaction, grow);
  return all_of(*transaction.view());
}

TEST(TransactionTrouble, AnErrorTakesTheImageBack) {
  const std::string before = image_before();
  for (const bool grow : {false, true}) {
    for (const bool punches : {false, true}) {
      for (std::uint64_t k = 0;; ++k) {
        Disk disk(before);
        if (!punches) disk.image.refuse_punch();
        disk.fate.fail_at(k, EIO);
        Transaction transaction(disk.image);
        plan_all(transaction, grow);
        const auto done = disk.commit(transaction);
        if (disk.fate.operations() <= k) {
          ASSERT_TRUE(done);
          EXPECT_GT(k, 15u);
          break;
        }
        ASSERT_FALSE(done) << k;
        EXPECT_EQ(done.error().number, EIO);
        const bool touched = disk.fate.journal()[k].find("IMAGE") != std::string::npos || k > 15;
        EXPECT_THAT(done.error().message,
                    HasSubstr(touched ? "; the image was taken back to what it was" : "; nothing was changed"))
            << k;
        ASSERT_EQ(disk.image.contents(), before) << k << " " << disk.fate.journal()[k];
        ASSERT_EQ(disk.image.surviving(Survival::none, 0), before) << k;  // synced as well
        EXPECT_EQ(disk.image.modified(), 7) << k;
      }
    }
  }
}

TEST(TransactionTrouble, AnInterruptionTakesTheImageBack) {
  const std::string before = image_before();
  for (std::uint64_t k = 0;; ++k) {
    Disk disk(before);
    disk.fate.interrupt_at(k, disk.interrupted);
    Transaction transaction(disk.image);
    plan_all(transaction, true);
    const auto done = disk.commit(transaction);
    if (!disk.interrupted) break;
    if (done) {  // too late: all had been done
      EXPECT_EQ(disk.image.contents(), image_after(true));
      EXPECT_GE(k + 3, disk.fate.operations());
      continue;
    }
    EXPECT_EQ(done.error().number, EINTR);
    ASSERT_EQ(disk.image.contents(), before) << k;
    EXPECT_EQ(disk.image.modified(), 7) << k;
  }
}

TEST(TransactionTrouble, ADiskThatFailsForGoodLeavesTheLog) {
  const std::string before = image_before();
  Disk disk(before);
  Transaction transaction(disk.image);
  plan_all(transaction, true);
  std::uint64_t k = 0;
  {
    Disk dry(before);
    Transaction same(dry.image);
    plan_all(same, true);
    expect_ok(dry.commit(same));
    k = dry.fate.operations() - 6;
  }
  disk.fate.fail_from(k, EIO);
  const auto done = disk.commit(transaction);
  ASSERT_FALSE(done);
  EXPECT_THAT(done.error().message, HasSubstr("IMAGE is half changed"));
  EXPECT_THAT(done.error().message, HasSubstr("\"qcow2-dump -m undo -F LOG IMAGE\""));

  Disk later(disk.image.contents(), disk.log.contents());
  expect_ok(undo(later.image, later.log, nullptr, "image", false, later.interrupted));
  EXPECT_EQ(later.image.contents(), before);
}

TEST(TransactionTrouble, ACopyThatHasOverwrittenItsSourceIsNotToBeRepeated) {
  for (const std::uint64_t to : {mib / 2, mib * 3 / 2}) {
    Disk disk(random_bytes(6 * mib));
    disk.fate.fail_at(2, EIO);
    Transaction transaction(disk.image);
    expect_ok(transaction.copy(Stage::point, to, disk.image, mib, 4 * mib));
    const auto done = transaction.commit(disk.image, nullptr, "image", disk.interrupted);
    ASSERT_FALSE(done);
    EXPECT_THAT(done.error().message, HasSubstr("IMAGE is half changed, and no undo log was kept: part of what it "
                                                "copies is overwritten, so don't repeat the command"));
  }
}

TEST(TransactionTrouble, WithoutALogTheUserIsTold) {
  Disk disk(image_before());
  disk.fate.fail_at(3, EIO);
  Transaction transaction(disk.image);
  plan_all(transaction, true);
  const auto done = transaction.commit(disk.image, nullptr, "image", disk.interrupted);
  ASSERT_FALSE(done);
  EXPECT_THAT(done.error().message, HasSubstr("IMAGE is half changed, and no undo log was kept: repeat the command"));
}

struct Found {
  std::string image, log;
};

const std::pair<Survival, unsigned> survivals[] = {
    {Survival::none, 0}, {Survival::all, 0}, {Survival::some, 1}, {Survival::some, 2}, {Survival::some, 3}};

// Runs `body` with the power cut at each operation in turn, and gives what is found later to `check`.
template <class Make, class Body, class Check>
void cut_everywhere(Make make, Body body, Check check) {
  for (std::uint64_t k = 0;; ++k) {
    const std::unique_ptr<Disk> disk = make();
    disk->fate.cut_at(k);
    bool cut = false;
    try {
      body(*disk);
    } catch (const PowerCut&) {
      cut = true;
    }
    for (const auto& [how, seed] : survivals) {
      // The two files share no luck.
      check(Found{disk->image.surviving(how, seed), disk->log.surviving(how, seed + 100)},
            "cut at " + std::to_string(k) + ", survival " + std::to_string(seed));
      check(Found{disk->image.surviving(how, seed), disk->log.surviving(Survival::none, 0)}, "none of the log");
      check(Found{disk->image.surviving(how, seed), disk->log.surviving(Survival::all, 0)}, "all of the log");
      if (testing::Test::HasFatalFailure()) return;
    }
    if (!cut) return;
  }
}

void expect_undo_restores(const Found& found, const std::string& before, const std::string& where) {
  Disk disk(found.image, found.log, 99);
  const auto read = UndoLog::read(disk.log);
  if (!read) {
    ASSERT_EQ(found.image, before) << where << ": " << read.error().message;  // no log, nothing touched
    return;
  }
  SimulatedFile own(disk.fate, "", "OWN");
  const auto done = undo(disk.image, disk.log, &own, "image", false, disk.interrupted);
  if (!done) {
    ASSERT_THAT(done.error().message, HasSubstr("is already as it was before")) << where;
  }
  ASSERT_EQ(disk.image.contents(), before) << where;
}

// A log that is done is only believed with the image's own time of change, so power cuts after that are given it.
TEST(TransactionTrouble, APowerCutAnywhereCanBeUndone) {
  const std::string before = image_before();
  for (const bool grow : {false, true}) {
    const std::string after = image_after(grow);
    int partly = 0;
    cut_everywhere([&] { return std::make_unique<Disk>(before); },
                   [&](Disk& disk) {
                     Transaction transaction(disk.image);
                     plan_all(transaction, grow);
                     expect_ok(disk.commit(transaction));
                   },
                   [&](const Found& found, const std::string& where) {
                     partly += found.image != before && found.image != after;
                     Found sealed = found;
                     Disk disk("", found.log);
                     if (auto log = UndoLog::read(disk.log); log && log->header().state == UndoState::done) {
                       ASSERT_EQ(found.image, after) << where;
                       expect_ok(set_state(disk.log, log->header(), UndoState::sealed));
                       sealed.log = disk.log.contents();
                     }
                     expect_undo_restores(sealed, before, where);
                   });
    EXPECT_GT(partly, 20);
  }
}

TEST(TransactionTrouble, APowerCutInTheUndoCanBeUndone) {
  const std::string before = image_before();
  for (const bool grow : {false, true}) {
    Disk done(before);
    Transaction transaction(done.image);
    plan_all(transaction, grow);
    expect_ok(done.commit(transaction));
    const std::string after = done.image.contents();

    int partly = 0;
    cut_everywhere([&] { return std::make_unique<Disk>(after, done.log.contents(), done.image.modified()); },
                   [&](Disk& disk) {
                     SimulatedFile own(disk.fate, "", "OWN");
                     expect_ok(undo(disk.image, disk.log, &own, "image", false, disk.interrupted));
                   },
                   [&](const Found& found, const std::string& where) {
                     partly += found.image != before && found.image != after;
                     Disk disk("", found.log);
                     const auto log = UndoLog::read(disk.log);
                     ASSERT_TRUE(log) << where << log.error().message;
                     if (log->header().state == UndoState::done) {
                       ASSERT_TRUE(found.image == after || found.image == before) << where;
                       if (found.image == after) return;  // not begun
                     }
                     expect_undo_restores(found, before, where);
                   });
    EXPECT_GT(partly, 20);
  }
}

TEST(TransactionTrouble, AnErrorInTheUndoIsTakenBack) {
  const std::string before = image_before();
  Disk done(before);
  Transaction transaction(done.image);
  plan_all(transaction, true);
  expect_ok(done.commit(transaction));
  for (std::uint64_t k = 0;; ++k) {
    Disk disk(done.image.contents(), done.log.contents(), done.image.modified());
    SimulatedFile own(disk.fate, "", "OWN");
    disk.fate.fail_at(k, EIO);
    const auto undone = undo(disk.image, disk.log, &own, "image", false, disk.interrupted);
    if (disk.fate.operations() <= k) break;
    // Only what comes after the image is as before may fail with the image as before.
    const bool late = disk.fate.journal().size() - k <= 3;
    if (!late) {
      ASSERT_EQ(disk.image.contents(), done.image.contents()) << k << disk.fate.journal()[k];
    }
    if (disk.image.contents() == before) continue;
    SimulatedFile again(disk.fate, "", "AGAIN");
    expect_ok(undo(disk.image, disk.log, &again, "image", false, disk.interrupted));
    ASSERT_EQ(disk.image.contents(), before) << k;
  }
}

}  // namespace
}  // namespace qd
