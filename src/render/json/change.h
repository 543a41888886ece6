// What was changed, for JSON.
#pragma once

#include "render/json/writer.h"
#include "session/outcome.h"

namespace qd::render {

void write_change(Json& json, const session::Change& change);
void write_undo(Json& json, const session::Undone& undone);

}  // namespace qd::render
