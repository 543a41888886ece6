// One function for each command. It plans its change on the work's view of the image, and describes it in actions. If
// it can't do something, it returns an error, and nothing at all is done.
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

// Adds an action that the user asked for; it is no answer to a problem.
void act(repair::Work& work, HostOffset at, std::uint64_t bytes, std::string text, std::string before = {},
         std::string after = {});

// The error for what only --force does.
inline tl::unexpected<Error> refused(const std::string& why) { return fail(EPERM, why + "; nothing was changed"); }

// ---- where tables change (tables.cc, bitmaps.cc)

// May tables be changed at all? Not if the header makes no sense, nor if an L1 table or the snapshot table lies on
// other structures. Only the active L1 table may do so, if `active_may_be_ruined`.
Result<void> require_sound_tables(const repair::Work& work, bool active_may_be_ruined);

// Can the snapshot table be read to its end? Else a new one would lose the rest.
Result<void> require_whole_snapshot_table(const repair::Work& work);

// Are the tables of a state damaged, or may they hold somebody else's bytes?
bool damaged(const repair::Work& work, std::int32_t snapshot);

// Makes refcounts and COPIED flags fit the tables, and sums that up in one action; in a second one, what may be lost
// data.
void settle_refcounts(repair::Work& work);

// "snapshot 1 ("before the upgrade")".
std::string snapshot_text(const repair::Work& work, std::size_t number);

// Plans a new value for a header field.
void set_field(repair::Work& work, const format::HeaderField& field, std::uint64_t value);

// Makes each usable bitmap say that all of the disk has changed, and fit a disk of that size.
Result<void> mark_bitmaps_dirty(repair::Work& work, std::uint64_t disk_size);

}  // namespace qd::edit
