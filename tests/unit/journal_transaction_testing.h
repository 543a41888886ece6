// What the tests of transactions and undo logs share: an image, a plan for it, and how it ends.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <span>
#include <string>

#include "io_testing.h"
#include "journal/transaction.h"
#include "journal/undo_log.h"
#include "simulated_file.h"

namespace qd {

inline std::span<const std::byte> as_bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

inline std::string all_of(const File& file) { return read_from(file, 0, file.size()).bytes; }

template <class T>
T value_of(Result<T> result) {
  EXPECT_TRUE(result) << result.error().message;
  return std::move(result).value();
}

template <class T>
void expect_ok(const Result<T>& result) {
  EXPECT_TRUE(result) << result.error().message;
}

// Plain simulated files: nothing happens to them.
struct Disk {
  Fate fate;
  SimulatedFile image;
  SimulatedFile log;
  std::atomic<bool> interrupted = false;

  explicit Disk(std::string bytes, std::string log_bytes = "", std::int64_t modified = 7)
      : image(fate, std::move(bytes), "IMAGE", modified), log(fate, std::move(log_bytes), "LOG") {}

  Result<Transaction::Outcome> commit(Transaction& transaction) {
    return transaction.commit(image, &log, "image.qcow2", interrupted);
  }
};

}  // namespace qd
