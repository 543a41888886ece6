// A request in, an outcome out: for the command, and for whoever links the library. What makes a change safe is all in
// here: the image is locked, the change is planned, and checked as it would be, before a byte of it is written; an undo
// log has the old bytes first; and what was interrupted is taken back before anything else is done.
#pragma once

#include <cstdint>

#include "io/file.h"
#include "session/outcome.h"
#include "session/request.h"

namespace qd::session {

// Is told what goes on.
class Observer {
 public:
  virtual ~Observer() = default;
  // A phase begins: its name, the file that it reads, how many bytes at most (0 if nobody knows). Then it ends.
  virtual void begin(const char*, const File&, std::uint64_t) {}
  virtual void end() {}
  // The plan is made, and nothing is written yet; then it is written.
  virtual void planned(const Change&) {}
  virtual void written(const Change&) {}
  // The image is open, before it is checked. An error ends the run.
  virtual Result<void> opened(const image::Image&) { return {}; }
};

// Never throws. Threads: as many as TBB is allowed.
Outcome run(const Request& request, Observer& observer);
Outcome run(const Request& request);

}  // namespace qd::session
