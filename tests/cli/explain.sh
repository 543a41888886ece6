#!/usr/bin/env bash
# --explain: every code that "list" names has a text of its own; "all" is the document of all of them.
source "$(dirname "$0")/lib.bash"

code 0 --explain list
cp out codes
[[ $(wc -l <codes) -ge 80 ]] || fail "too few codes"
[[ -z $(sort codes | uniq -d) ]] || fail "a code is listed twice"
code 0 --explain all
cp out document
while read -r name; do
  [[ $name =~ ^[a-z0-9-]+\.[a-z0-9-]+$ ]] || fail "no code: $name"
  code 0 --explain "$name"
  grep -qF "$name" out || fail "$name: the text doesn't name it"
  grep -qF "$name" document || fail "$name isn't in the document"
done <codes
code 234 --explain l2.nonsense
says err 'l2\.nonsense.*--explain list'
