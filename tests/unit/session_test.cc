// A request in, an outcome out, and what the observer is told meanwhile.
#include "session/session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <functional>
#include <stdexcept>

#include "io_testing.h"
#include "journal/mutable_file.h"
#include "tiny_image.h"

namespace qd::session {
namespace {

using test::TinyImage;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr repair::Wanted leaks{.leak = true};

class Session : public FolderTest {
 protected:
  void SetUp() override {
    FolderTest::SetUp();
    image_ = place("image.qcow2");
    undo_log_ = place("image.qcow2.undo");
  }

  // A leak: a cluster of zeros that no entry names.
  static TinyImage leaky() {
    TinyImage tiny;
    tiny.put64(TinyImage::l2_entry(3), 0);
    return tiny;
  }
  void put(TinyImage tiny) { write_file("image.qcow2", tiny.bytes()); }
  std::string bytes() const {
    const auto file = open(image_);
    return read_from(*file, 0, file->size()).bytes;
  }
  bool locked() const {
    const auto opened = open_mutable(image_);
    return !opened && opened.error().number == EAGAIN;
  }

  std::string image_, undo_log_;
};

// Writes down what it is told.
struct Listener : Observer {
  explicit Listener(std::function<bool()> locked_) : locked(std::move(locked_)) {}
  void begin(const char* phase, const File&, std::uint64_t) override { told.push_back(phase); }
  void end() override { told.push_back("end"); }
  void planned(const Change&) override { tell("planned"); }
  void written(const Change&) override { tell("written"); }
  Result<void> opened(const image::Image&) override { return tell("opened"), Result<void>(); }
  void checked(Outcome& outcome) override {
    EXPECT_FALSE(outcome.verdict);
    tell("checked");
  }
  void finished(Outcome& outcome) override {
    EXPECT_TRUE(outcome.verdict);
    tell("finished");
  }
  void tell(std::string what) { told.push_back(std::move(what) + (locked() ? ", locked" : "")); }

  std::function<bool()> locked;
  std::vector<std::string> told;
};

TEST_F(Session, AChangeKeepsTheImageLockedUntilAllIsShown) {
  put(leaky());
  Listener listener([&] { return locked(); });
  const Outcome outcome = run({.path = image_, .task = leaks}, listener);
  ASSERT_FALSE(outcome.error) << outcome.error->message;
  EXPECT_EQ(outcome.exit_code(), 0);
  EXPECT_THAT(listener.told, ElementsAre("planning", "end", "planned, locked", "writing", "end", "written, locked",
                                         "opened, locked", "checking", "end", "checked, locked", "finished, locked"));
  EXPECT_FALSE(locked());
}

TEST_F(Session, SoDoesALookThatWantsALock) {
  put(leaky());
  Listener listener([&] { return locked(); });
  EXPECT_EQ(run({.path = image_, .lock = true}, listener).exit_code(), 1);
  EXPECT_THAT(listener.told, ElementsAre("opened, locked", "checking", "end", "checked, locked", "finished, locked"));
  listener.told.clear();
  EXPECT_EQ(run({.path = image_}, listener).exit_code(), 1);
  EXPECT_THAT(listener.told, ElementsAre("opened", "checking", "end", "checked", "finished"));
}

TEST_F(Session, ARepairIsTakenBackByItsLog) {
  put(leaky());
  const std::string before = bytes();
  const Outcome dry = run({.path = image_, .task = leaks, .dry_run = true});
  EXPECT_FALSE(dry.change->nothing);
  EXPECT_EQ(bytes(), before);
  const Outcome repaired = run({.path = image_, .task = leaks});
  EXPECT_NE(bytes(), before);
  ASSERT_EQ(repaired.change->undo_log, undo_log_);
  EXPECT_FALSE(run({.path = image_, .task = TakeBack{undo_log_}, .no_undo = true}).error);
  EXPECT_EQ(bytes(), before);
}

TEST_F(Session, AnExceptionOfTheObserverIsAnError) {
  struct Thrower : Observer {
    void checked(Outcome&) override { throw std::runtime_error("no more"); }
  } thrower;
  put(leaky());
  const Outcome outcome = run({.path = image_}, thrower);
  ASSERT_TRUE(outcome.error);
  EXPECT_EQ(outcome.error->message, "no more");
  EXPECT_TRUE(outcome.result);
}

TEST_F(Session, APhaseEndsHoweverItIsLeft) {
  Listener listener([] { return false; });
  const auto file = memory_file("");
  try {
    const Watched phase(listener, "reading", *file, 0);
    throw std::runtime_error("left");
  } catch (const std::runtime_error&) {
  }
  EXPECT_THAT(listener.told, ElementsAre("reading", "end"));
}

TEST_F(Session, ANameForALogThatIsNotWantedIsRefused) {
  put(leaky());
  const std::string before = bytes();
  const Outcome outcome = run({.path = image_, .task = leaks, .no_undo = true, .undo_log = place("log")});
  ASSERT_TRUE(outcome.error);
  EXPECT_EQ(outcome.error->number, EINVAL);
  EXPECT_EQ(bytes(), before);
}

// ---- a hint, and the field that it stands for

TEST_F(Session, AHintEndsWhereItsFieldIsWritten) {
  TinyImage tiny;
  tiny.put32(20, 63);
  put(tiny);
  const image::Hints hint{.cluster_bits = 16};
  const Outcome mended =
      run({.path = image_, .task = edit::Command(edit::SetValue{"header.cluster_bits", "16", {}}), .hints = hint});
  ASSERT_FALSE(mended.error) << mended.error->message;
  EXPECT_EQ(mended.exit_code(), 0);
  EXPECT_EQ(mended.image->hints().cluster_bits, std::nullopt);
  EXPECT_EQ(run({.path = image_}).exit_code(), 0);
}

TEST_F(Session, AHintDoesNotHideWhatAnEditDoesToTheHeader) {
  put(TinyImage());
  const std::string before = bytes();
  Request request{.path = image_,
                  .task = edit::Command(edit::SetValue{"header.cluster_bits", "8", {}}),
                  .hints = {.cluster_bits = 16}};
  const Outcome refused = run(request);
  ASSERT_TRUE(refused.error);
  EXPECT_EQ(refused.error->number, EPERM);
  EXPECT_EQ(bytes(), before);
  request.force = true;
  const Outcome forced = run(request);
  ASSERT_FALSE(forced.error) << forced.error->message;
  EXPECT_EQ(forced.change->after, check::Status::corrupt);
  EXPECT_EQ(forced.exit_code(), static_cast<int>(check::Status::corrupt));
}

// A donor has a header of its own; the hint helps where that tells nothing.
TEST_F(Session, AHintIsForADonorWithoutAClusterSize) {
  TinyImage damaged;
  damaged.put64(TinyImage::l2_entry(1), 0);
  put(damaged);
  TinyImage donor;
  donor.put32(20, 63);
  const std::string other = write_file("donor.qcow2", donor.bytes());
  Request request{.path = image_, .task = edit::Command(edit::CopyBytes{"l2[0,1]", "l2[0,1]", 8, other})};
  const Outcome lost = run(request);
  ASSERT_TRUE(lost.error);
  EXPECT_THAT(lost.error->message, HasSubstr("--cluster-size gives another"));
  request.hints = {.cluster_bits = 16};
  const Outcome copied = run(request);
  ASSERT_FALSE(copied.error) << copied.error->message;
  EXPECT_EQ(copied.exit_code(), 0);
}

}  // namespace
}  // namespace qd::session
