// Which data cluster of the body a guest cluster gets: in order, shuffled one by one, or in shuffled runs. All are
// one to one, need little memory, and depend on nothing but the seed.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

namespace qd::bench {

using std::uint64_t;

enum class Layout { in_order, random, runs };

// Called for every guest cluster in order, once a pass; a pass starts at 0.
using Placement = std::function<uint64_t(uint64_t guest)>;

// splitmix64: seeded numbers that are the same with every compiler and library.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }

 private:
  uint64_t state_;
};

// A pseudo-random permutation of 0 ... count-1 without an array. Each round maps the numbers of k bits one to one onto
// themselves (times an odd number, plus a constant, modulo 2^k; then xor with its own upper half). What falls between
// count and 2^k is mapped again until it is below count: the walk along a cycle of a permutation always gets there.
class Permutation {
 public:
  Permutation(uint64_t count, Random& random) : count_(count) {
    auto bits = static_cast<unsigned>(std::bit_width(count - 1));
    mask_ = (uint64_t{1} << bits) - 1;
    shift_ = bits / 2 + 1;
    for (auto& round : rounds_) round = {random.next() | 1, random.next()};
  }
  uint64_t operator()(uint64_t x) const {
    do {
      for (const auto& round : rounds_) {
        x = (x * round.factor + round.addend) & mask_;
        x ^= x >> shift_;
      }
    } while (x >= count_);
    return x;
  }

 private:
  struct Round {
    uint64_t factor, addend;
  };
  uint64_t count_, mask_;
  unsigned shift_;
  Round rounds_[4];
};

// The guest's space is cut into runs of 1 to 64 clusters, which then lie in shuffled order.
class Runs {
  static constexpr unsigned kLongest = 64;

 public:
  Runs(uint64_t clusters, Random& random) {
    for (uint64_t start = 0; start < clusters; start += 1 + random.next() % kLongest) guest_start_.push_back(start);
    uint64_t count = guest_start_.size();
    guest_start_.push_back(clusters);
    place_.resize(count);
    Permutation order(count, random);
    for (uint64_t i = 0, next = 0; i < count; ++i) {
      uint64_t run = order(i);
      place_[run] = next;
      next += guest_start_[run + 1] - guest_start_[run];
    }
  }
  uint64_t operator()(uint64_t guest) {
    if (guest == 0) current_ = 0;
    if (guest == guest_start_[current_ + 1]) ++current_;
    return place_[current_] + (guest - guest_start_[current_]);
  }

 private:
  std::vector<uint64_t> guest_start_, place_;
  size_t current_ = 0;
};

inline Placement make_placement(Layout layout, uint64_t clusters, uint64_t seed) {
  Random random(seed);
  switch (layout) {
    case Layout::random:
      return Permutation(clusters, random);
    case Layout::runs:
      return Runs(clusters, random);
    case Layout::in_order:
      break;
  }
  return [](uint64_t guest) { return guest; };
}

}  // namespace qd::bench
