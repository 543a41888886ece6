#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "io/readahead.h"
#include "journal/transaction.h"

namespace qd {
namespace {

// Reads nothing, remembers what was announced, and waits when it is told to.
class Listener final : public File {
 public:
  Result<std::size_t> read(std::uint64_t, std::span<std::byte>) const override { return 0; }
  std::uint64_t size() const override { return 1 << 30; }
  std::uint64_t allocated_bytes() const override { return size(); }
  FileTraits traits() const override { return {}; }
  const std::string& path() const override { return path_; }
  std::uint64_t stored_bytes(std::uint64_t, std::uint64_t length) const override { return length; }
  std::uint64_t next_data(std::uint64_t offset) const override { return offset; }
  void will_need(std::uint64_t offset, std::uint64_t length) const override { announced.emplace_back(offset, length); }
  void wait() { count(0, true); }

  mutable std::vector<std::pair<std::uint64_t, std::uint64_t>> announced;

 private:
  std::string path_ = "listener";
};

using Ranges = std::vector<std::pair<std::uint64_t, std::uint64_t>>;

// Items of 10 bytes; item i lies at places[i].
Ranges reach(Listener& file, Readahead& readahead, std::uint64_t item, const std::vector<std::uint64_t>& places) {
  file.announced.clear();
  readahead.reach(item, places.size(), [&](std::uint64_t i) { readahead.add(places[i], 10); });
  return file.announced;
}

TEST(Readahead, AnnouncesAWindowMoreThanIsRead) {
  Listener file;
  Readahead readahead(file, 30);
  const std::vector<std::uint64_t> places{500, 100, 110, 300, 120, 700, 800, 900};
  // Each window in the order of the file, neighbours together. In the beginning nobody knows whether reads will wait.
  EXPECT_EQ(reach(file, readahead, 0, places), (Ranges{{100, 20}, {500, 10}}));
  EXPECT_TRUE(reach(file, readahead, 1, places).empty());
  file.wait();
  EXPECT_EQ(reach(file, readahead, 2, places), (Ranges{{120, 10}, {300, 10}, {700, 10}}));
  file.wait();
  EXPECT_EQ(reach(file, readahead, 3, places), (Ranges{{800, 10}, {900, 10}}));
  file.wait();
  EXPECT_TRUE(reach(file, readahead, 6, places).empty());  // nothing is left
}

TEST(Readahead, IsSilentWhileNothingWaits) {
  Listener file;
  Readahead readahead(file, 20);
  const std::vector<std::uint64_t> places{0, 100, 200, 300, 400, 500, 600, 700};
  EXPECT_EQ(reach(file, readahead, 0, places).size(), 2u);
  for (std::uint64_t item = 1; item < 5; ++item) EXPECT_TRUE(reach(file, readahead, item, places).empty());
  file.wait();
  EXPECT_EQ(reach(file, readahead, 5, places), (Ranges{{600, 10}, {700, 10}}));
}

// Items come to be known in slices: the end moves on.
TEST(Readahead, GoesOnWhereTheEndWas) {
  Listener file;
  Readahead readahead(file, 20);
  std::vector<std::uint64_t> places{0, 100, 200};
  EXPECT_EQ(reach(file, readahead, 0, places).size(), 2u);
  file.wait();
  EXPECT_EQ(reach(file, readahead, 1, places), (Ranges{{200, 10}}));
  places.insert(places.end(), {300, 400, 500, 600, 700});
  file.wait();
  EXPECT_EQ(reach(file, readahead, 3, places), (Ranges{{300, 10}, {400, 10}, {500, 10}, {600, 10}}));
}

// What is read through a plan is read from the file below: who waits there waits here.
TEST(Readahead, HearsOfTheWaitingBelowAPlan) {
  Listener file;
  Transaction transaction(file);
  file.wait();
  EXPECT_EQ(transaction.view()->waits(), 1u);
}

}  // namespace
}  // namespace qd
