#!/usr/bin/env bash
# --explain: every code and every word that "list" names has a text of its own; "all" is the document of all codes.
source "$(dirname "$0")/lib.bash"

code 0 --explain list
sed '/^$/,$d' out >lines
sed '1,/^Words/d' out >words
says_not lines '^[^ ]+ *$'  # a sentence stands behind each code
cut -d' ' -f1 lines >codes
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
while read -r word; do
  code 0 --explain "${word^^}"
  [[ $(head -1 out) == "$word" ]] || fail "$word: another one is explained"
done < <(sed -nE 's/^([^ ].{0,17}[^ ])  +.*/\1/p' words)
for word in new/diff "Held alone" OFLAG Discardable: zero_plain; do code 0 --explain "$word"; done

code 234 --explain l2.nonsense
says err 'l2\.nonsense.*--explain list'
