// What the steps of a repair share. A step looks at the findings of the view, plans its changes with the editor, and
// has the image looked at again; so each step meets what the one before has left, and the last check tells what the
// repair will have achieved, before the first byte of it is real.
#pragma once

#include "repair/doubts.h"
#include "repair/editor.h"
#include "repair/leak_policy.h"
#include "repair/plan.h"
#include "repair/view.h"

namespace qd::repair {

struct Work {
  // `base` is the image as it is.
  Work(const File& base, const image::Hints& hints, Transaction& transaction, const Wanted& wanted_,
       const check::Settings& settings)
      : wanted(wanted_),
        view(base, hints, transaction, settings),
        doubts(view, wanted.force),
        editor(view, doubts, transaction, wanted.force),
        leaks(view, wanted) {}
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;

  bool look() { return view.look() && doubts.look(); }
  // The same, but forgets the doubts of the first look, since what misled is gone.
  bool look_anew() { return doubts.forget(), look(); }

  const Wanted wanted;
  View view;
  Doubts doubts;
  Editor editor;
  LeakPolicy leaks;
};

}  // namespace qd::repair
