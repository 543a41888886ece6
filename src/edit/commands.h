// One function a command. Each plans its change on the work's view of the image, and says in actions what it does; what
// it can't do is an error, and then nothing at all is done.
#pragma once

#include <fmt/core.h>

#include <cerrno>

#include "edit/edit.h"
#include "repair/work.h"

namespace qd::edit {

Result<void> perform(repair::Work& work, const Apply& apply);
Result<void> perform(repair::Work& work, const Remove& remove);
Result<void> perform(repair::Work& work, const Mark& mark);
Result<void> perform(repair::Work& work, const SetValue& set);
Result<void> perform(repair::Work& work, const CopyBytes& copy, const File* source);
Result<void> perform(repair::Work& work, const Rebase& rebase);

// An action that the user asked for.
void act(repair::Work& work, HostOffset at, std::uint64_t bytes, std::string text, std::string before = {},
         std::string after = {});

// What only --force does.
inline tl::unexpected<Error> refused(const std::string& why) { return fail(EPERM, why + "; nothing was changed"); }

// ---- where tables change (tables.cc)

// May tables be changed at all? The header and the snapshot table must make sense, and no disk below fails.
Result<void> require_sound_tables(const repair::Work& work, bool active_may_be_ruined);

// Can a new snapshot table have all that the old one has?
Result<void> require_whole_snapshot_table(const repair::Work& work);

// Is damage known in the tables of a state?
bool damaged(const repair::Work& work, std::int32_t snapshot);

// Refcounts and COPIED flags as the tables now want them, summed up in one action.
void settle_refcounts(repair::Work& work);

// "snapshot 1 ("before the upgrade")".
std::string snapshot_text(const repair::Work& work, std::size_t number);

// Plans a number of a header field.
void set_field(repair::Work& work, const format::HeaderField& field, std::uint64_t value);

// Bitmaps say what has changed on the disk since some time. When all of it changes, all of it is what they say; when
// its size does, theirs does.
Result<void> mark_bitmaps_dirty(repair::Work& work, std::uint64_t disk_size);

}  // namespace qd::edit
