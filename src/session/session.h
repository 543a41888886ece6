// A request in, an outcome out: for the command, and for whoever links the library. What makes a change safe is all in
// here: the image is locked, the change is planned, and checked as it would be, before a byte of it is written; an undo
// log has the old bytes first; and what was interrupted is taken back before anything else is done.
#pragma once

#include <cstdint>

#include "io/file.h"
#include "session/outcome.h"
#include "session/request.h"

namespace qd::session {

// Is told what goes on. The image stays locked, if it is, until a run has ended: whoever shows more of it than the
// outcome holds does so in here. An exception ends the run.
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
  // The check is done. What to do about it is looked for next, which may take longer.
  virtual void checked(Outcome&) {}
  // All is known.
  virtual void finished(Outcome&) {}
};

// A phase of a run. However it is left, the observer is told its end: the file may be gone by then.
class Watched {
 public:
  Watched(Observer& observer, const char* phase, const File& file, std::uint64_t expected) : observer_(observer) {
    observer_.begin(phase, file, expected);
  }
  ~Watched() { observer_.end(); }
  Watched(const Watched&) = delete;
  Watched& operator=(const Watched&) = delete;

 private:
  Observer& observer_;
};

// Never throws. Threads: as many as TBB is allowed. Several may run at once, but only one of them with
// Request::signals.
Outcome run(const Request& request, Observer& observer);
Outcome run(const Request& request);

}  // namespace qd::session
