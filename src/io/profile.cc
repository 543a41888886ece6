#include "io/profile.h"

#include <sys/resource.h>

#include <algorithm>
#include <ctime>

namespace qd {
namespace {

double cpu_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

std::uint64_t peak_bytes() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
}

}  // namespace

Phase& Phase::operator+=(const Phase& other) {
  seconds += other.seconds;
  cpu_seconds += other.cpu_seconds;
  bytes += other.bytes;
  reads += other.reads;
  tables += other.tables;
  runs += other.runs;
  peak = std::max(peak, other.peak);
  return *this;
}

void Profile::begin(const char* name, const File& file) {
  end();
  present_ = {};
  present_.name = name;
  file_ = &file;
  start_ = std::chrono::steady_clock::now();
  cpu_start_ = cpu_seconds();
  bytes_start_ = file.bytes_read();
  reads_start_ = file.reads();
}

void Profile::end() {
  if (!file_) return;
  present_.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  present_.cpu_seconds = cpu_seconds() - cpu_start_;
  present_.bytes = file_->bytes_read() - bytes_start_;
  present_.reads = file_->reads() - reads_start_;
  present_.peak = peak_bytes();
  phases_.push_back(present_);
  file_ = nullptr;
}

Phase Profile::total() const {
  Phase sum;
  sum.name = "total";
  for (const Phase& phase : phases_) sum += phase;
  return sum;
}

ProfilePart::ProfilePart(Profile* profile, const File& file) : profile_(profile), file_(file) {
  if (!profile || !profile->file_) return;
  outer_ = profile->present_.name;
  outer_file_ = profile->file_;
}

ProfilePart::~ProfilePart() {
  if (!profile_) return;
  profile_->end();
  if (outer_) profile_->begin(outer_, *outer_file_);
}

}  // namespace qd
