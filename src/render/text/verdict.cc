// The verdict in its box. The box has no sides, so that commands can be copied as they are, however long.
#include <algorithm>
#include <cctype>

#include "render/text/text.h"
#include "words/escape.h"

namespace qd::render {
namespace {

Color color_of(const check::Report& result) {
  switch (result.status()) {
    case check::Status::good:
      return result.findings.total() == 0 ? Color::green : Color::yellow;
    case check::Status::leak:
    case check::Status::copied:
    case check::Status::corrupt_flag:
      return Color::yellow;
    default:
      return Color::red;
  }
}

// The status as JSON spells it, but in capitals.
std::string headline(check::Status status) {
  std::string name(check::status_name(status));
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return name;
}

std::string advice_text(const advice::Advice& advice) {
  const bool repairs = advice.kind == advice::Kind::repair || advice.kind == advice::Kind::edit;
  std::string text = advice.text.empty() ? "" : wrap(escape(advice.text));
  if (!advice.command.empty()) text += (repairs ? "Repair:  " : "Run:     ") + command_line(advice.command) + "\n";
  return text;
}

}  // namespace

void print_verdict(Output& out, const session::Outcome& outcome, const Style& style) {
  const check::Report& result = *outcome.result;
  const advice::Verdict& verdict = *outcome.verdict;
  const Color color = color_of(result);
  const std::string border = paint(style, color, std::string(text_width - 2, '#')) + "\n";
  const std::string title = verdict.headline.empty() ? headline(result.status()) : verdict.headline;
  std::string head = wrap(escape(verdict.whole_text()), title + ": ");
  const std::size_t colon = head.find(':');
  head = paint(style, color, head.substr(0, colon)) + head.substr(colon);

  std::string box = border + head;
  bool any_command = !style.advice || result.status() == check::Status::good;
  for (const advice::Advice& advice : verdict.advice) {
    box += "\n" + advice_text(advice);
    any_command |= !advice.command.empty();
  }
  if (!any_command) box += "\nRepair:  no command can.\n";
  box += border;
  out.write(box);
  constexpr int screen = 24;
  if (style.screen && std::ranges::count(box, '\n') >= screen) out.write(head);
}

}  // namespace qd::render
