// What the tests of transactions and undo logs share: an image, a plan for it, and how it ends.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>

#include "base/endian.h"
#include "io_testing.h"
#include "journal/pages.h"
#include "journal/transaction.h"
#include "journal/undo_log.h"
#include "simulated_file.h"

namespace qd {

inline std::span<const std::byte> as_bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

inline std::string zeros(std::size_t length) { return std::string(length, '\0'); }

// A table of 64-bit entries, as a page of one.
inline std::string row(std::uint64_t first, std::uint64_t step, std::size_t bytes = page_bytes) {
  std::string text(bytes, '\0');
  for (std::size_t i = 0; i < bytes / 8; ++i) {
    const std::uint64_t raw = from_big_endian(first + i * step);
    std::memcpy(text.data() + i * 8, &raw, 8);
  }
  return text;
}

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
