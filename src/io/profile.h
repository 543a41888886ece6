// Where the time goes: what each phase of a run read, and how long it took. Phases follow one another. A phase may be
// interrupted by a whole row of others (a repair runs a check), and goes on afterwards.
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include "io/file.h"

namespace qd {

struct Phase {
  const char* name = "";
  double seconds = 0;      // by the clock
  double cpu_seconds = 0;  // of all threads
  std::uint64_t bytes = 0, reads = 0;
  std::uint64_t tables = 0;  // L2 tables or refcount blocks
  std::uint64_t runs = 0;    // of entries
  std::uint64_t peak = 0;    // bytes of memory that the process had at most, until the phase's end

  // How many threads were busy, on average.
  double threads() const { return seconds > 0 ? cpu_seconds / seconds : 0; }
  Phase& operator+=(const Phase& other);
};

class Profile {
 public:
  // A phase begins, and the one before it ends. The file must stay until the new phase ends.
  void begin(const char* name, const File& file);
  void end();
  // What the present phase has looked at.
  void count_tables(std::uint64_t tables) { present_.tables += tables; }
  void count_runs(std::uint64_t runs) { present_.runs += runs; }
  const std::vector<Phase>& phases() const { return phases_; }
  Phase total() const;

 private:
  friend class ProfilePart;
  Phase present_;
  const File* file_ = nullptr;  // null: no phase
  std::chrono::steady_clock::time_point start_;
  double cpu_start_ = 0;
  std::uint64_t bytes_start_ = 0, reads_start_ = 0;
  std::vector<Phase> phases_;
};

// A row of phases within another one. Without a profile nothing is done.
class ProfilePart {
 public:
  ProfilePart(Profile* profile, const File& file);
  ~ProfilePart();
  ProfilePart(const ProfilePart&) = delete;
  ProfilePart& operator=(const ProfilePart&) = delete;

  void phase(const char* name) const {
    if (profile_) profile_->begin(name, file_);
  }
  void count_tables(std::uint64_t tables) const {
    if (profile_) profile_->count_tables(tables);
  }
  void count_runs(std::uint64_t runs) const {
    if (profile_) profile_->count_runs(runs);
  }

 private:
  Profile* const profile_;
  const File& file_;
  const char* outer_ = nullptr;
  const File* outer_file_ = nullptr;
};

}  // namespace qd
