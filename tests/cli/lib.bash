# shellcheck shell=bash
# What the scripts here share: a folder of their own, gone after the test, and how to ask for an exit code.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${QCOW2_DUMP:?names the binary to test}"
export PYTHONPATH=$here/../tools PYTHONDONTWRITEBYTECODE=1
unset NO_COLOR

# What is started here needs no packages, and to look for them takes longer than most of it.
python3() { command python3 -S "$@"; }

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

fail() {
  echo "FAILED: $*" >&2
  for stream in out err; do
    if [[ -s $folder/$stream ]]; then head -c 4000 "$folder/$stream" >&2; fi
  done
  exit 1
}

# code EXPECTED ARGUMENT...: runs the command; what it prints is in the files out and err.
code() {
  local expected=$1 got=0
  shift
  "$QCOW2_DUMP" "$@" >"$folder/out" 2>"$folder/err" </dev/null || got=$?
  ((got == expected)) || fail "exit code $got, not $expected: qcow2-dump $*"
}

# leaky ARGUMENTS...: it leaves leaks and nothing worse; among them may be a table with its data, which is l2.lost.
leaky() {
  local got=0
  "$QCOW2_DUMP" "$@" >"$folder/out" 2>"$folder/err" </dev/null || got=$?
  ((got == 1)) || { ((got == 6)) && grep -q 'l2\.lost' "$folder/out"; } || fail "exit code $got, not 1: qcow2-dump $*"
}

# matches FILE PATTERN: some line does. As grep -qE, but here a process costs more than what is looked for.
matches() {
  local line lines
  mapfile -t lines <"$1"
  for line in "${lines[@]}"; do
    if [[ $line =~ $2 ]]; then return 0; fi
  done
  return 1
}

# says FILE PATTERN: an extended regular expression that some line must match.
says() { matches "$@" || fail "no line of $1 matches: $2"; }
says_not() { ! matches "$@" || fail "a line of $1 matches: $2"; }

# one_line: what is in the file out is in the file line, with single spaces, wherever the program breaks its lines.
one_line() {
  local words
  read -rd '' -a words <out || true
  echo "${words[*]} " >line
}

# image NAME [qemu-img create options]: 64 MiB with some data, a compressed cluster and zeros. It is synced, as it is
# after a snapshot or damage: a file system may allot blocks late, and the disk size that is reported follows.
image() {
  local name=$1
  shift
  qemu-img create -q -f qcow2 "$@" "$name" 64M
  qemu-io -f qcow2 -c "write -P 17 0 1M" -c "write -c -P 18 5M 64k" -c "write -P 19 33M 512k" "$name" >qemu-io.log
  sync "$name"
}
snapshot() { qemu-img snapshot -c "$2" "$1" && sync "$1"; }

# damage IMAGE NAME[=ARG]: one of tests/tools/damage.py --list.
damage() { python3 "$here/../tools/damage.py" "$1" "$2" >codes && sync "$1"; }

# part_of WORD...: all of them; every second one if BRIEF is set, which CI doesn't do.
part_of() {
  local i words=("$@") step=1
  [[ ! -v BRIEF ]] || step=2
  for ((i = 0; i < $#; i += step)); do echo "${words[i]}"; done
}

# poke FILE OFFSET HEXBYTES
poke() {
  python3 - "$@" <<'PY'
import sys
with open(sys.argv[1], "r+b") as file:
    file.seek(int(sys.argv[2], 0))
    file.write(bytes.fromhex(sys.argv[3]))
PY
}

# edit IMAGE STATEMENTS: Python with `image`, opened by tests/tools/qcow2.py, and whatever else is in there.
edit() {
  python3 - "$@" <<'PY'
import sys
from qcow2 import *
with Image(sys.argv[1]) as image:
    exec(sys.argv[2])
PY
}

# doubled IMAGE: one more guest cluster leads to a cluster that has an owner already. Nothing is lost by it.
doubled() { edit "$1" 'image.put(image.l2_at(image.l2_tables()[0][1], 511), image.entries("normal")[5].value)'; }

# guest IMAGE [SNAPSHOT]: a checksum of what the guest reads.
guest() {
  qemu-img convert -q -f qcow2 ${2:+-l "snapshot.name=$2"} -O raw "$1" "$folder/guest.raw"
  cksum <"$folder/guest.raw"
}

# same A B: the two files are equal to the byte.
same() { cmp -s "$1" "$2" || fail "$1 and $2 differ: $(cmp "$1" "$2" 2>&1 || true)"; }

# undone IMAGE LOG ORIGINAL: the log takes the image back to what it was.
undone() {
  code 0 -m undo --no-undo -F "$2" "$1"
  same "$1" "$3"
}

# json EXPRESSION: Python about the JSON document `d` in the file out; must be true. And it is as docs/json.md says.
json() {
  python3 - "$1" <<'PY' || fail "not true of the JSON: $1"
import json, sys
import json_document
with open("out") as file:
    d = json.load(file)
faults = json_document.faults(d)
print(*faults, sep="\n", file=sys.stderr, end="")
sys.exit(bool(faults) or not eval(sys.argv[1]))
PY
}

# hold IMAGE: a writer has it open, until let_go. The test is skipped where qemu-io doesn't run.
hold() {
  [[ -p hold.commands ]] || mkfifo hold.commands
  qemu-io -f qcow2 "$1" <hold.commands >hold.answers 2>&1 &
  holder=$!
  exec 9>hold.commands
  echo length >&9
  for ((i = 0; i < 100; ++i)); do
    if grep -q '[KMG]iB' hold.answers; then return 0; fi
    sleep 0.1
  done
  exit 77
}
let_go() {
  exec 9>&-
  wait "$holder"
}

# modest EXPECTED ARGUMENT...: as code(); and 96 MiB of memory and 20 seconds must be enough.
modest() {
  local expected=$1 got=0
  shift
  python3 - "$QCOW2_DUMP" "$@" >"$folder/out" 2>"$folder/err" <<'PY' || got=$?
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, timeout=20).returncode
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
if peak > 96 * 1024:
    print(f"peak memory: {peak} KiB", file=sys.stderr)
    code = 99
sys.exit(code)
PY
  ((got == expected)) || fail "exit code $got, not $expected: qcow2-dump $*"
}

# broken NAME [qemu-img create options]: an image that any repair has much to do with, changed long ago.
broken() {
  image "$@"
  doubled "$1"
  for what in refcount-zero=3 reftable-zeroed; do damage "$1" "$what"; done
  touch -d '2001-02-03 04:05:06' "$1"
}

# cannot CODE PATTERN ARGUMENT…: refused by that sentence, and $target still is what $original is; no log is left.
cannot() {
  local expected=$1 pattern=$2
  shift 2
  code "$expected" "$@"
  unchanged "$pattern"
}
unchanged() {
  says err "^qcow2-dump: .*($1)"
  same "$target" "$original"
  [[ ! $target -nt $original && ! $target -ot $original ]] || fail "the time of the last change is another"
  [[ ! -e $target.undo ]] || fail "a useless log is left"
}

# no_room ARGUMENT…: no file may get longer than so many KiB, at first less than $target has, in the end as much as it
# takes. Until then the target still is what $original is.
no_room() {
  local size kib got=0 refusals=0
  size=$(stat -c %s "$target")
  for ((kib = size / 1024 - 8; kib < size / 1024 + 4096; kib += 4)); do
    got=0
    (ulimit -f $kib && "$QCOW2_DUMP" "$@" >out 2>err) || got=$?
    ((got != 0)) || break
    [[ $got == 229 ]] || fail "exit code $got"
    unchanged 'too large; (the image was taken back to what it was|nothing was changed)'
    refusals=$((refusals + 1))
  done
  ((got == 0 && refusals > 0)) || fail "no limit was felt"
}

# no_log ARGUMENT…: there is no room for the log; $target still is what $original is.
no_log() {
  local got
  got=$( (set +x && ulimit -f 0 && "$QCOW2_DUMP" "$@" 2>&1 >/dev/null || echo "exit code $?") | cat)
  echo "$got" >err
  says err '^exit code 229$'
  unchanged 'too large; nothing was changed .--undo-log FILE puts it elsewhere'
}
