#!/usr/bin/env bash
# Colors on a terminal only, unless NO_COLOR says no; -d decides over both.
source "$(dirname "$0")/lib.bash"

python3 -c 'import pty; pty.openpty()' 2>err || exit 77  # there are no pseudo-terminals
image vm.qcow2
damage vm.qcow2 l2-dup
# colored [VARIABLE=VALUE] ARGUMENT...: are there escape sequences, on a terminal?
colored() {
  python3 - "$@" <<'PY'
import os, pty, subprocess, sys
arguments, environment = sys.argv[1:], dict(os.environ)
while "=" in arguments[0]:
    name, value = arguments.pop(0).split("=")
    environment[name] = value
ours, theirs = pty.openpty()
process = subprocess.Popen([os.environ["QCOW2_DUMP"], *arguments], stdout=theirs, env=environment)
os.close(theirs)
text = b""
try:
    while block := os.read(ours, 65536):
        text += block
except OSError:  # the last writer closed it
    pass
process.wait()
assert b"L2 Table" in text
sys.exit(b"\x1b[" not in text)
PY
}
export QCOW2_DUMP
colored -m error vm.qcow2 || fail "no colors on a terminal"
! colored NO_COLOR=1 -m error vm.qcow2 || fail "colors despite NO_COLOR"
colored NO_COLOR= -m error vm.qcow2 || fail "an empty NO_COLOR says nothing"
! colored -d off -m error vm.qcow2 || fail "colors despite -d off"
! colored -d none -m error vm.qcow2 || fail "colors despite -d none"
colored NO_COLOR=1 -d color -m error vm.qcow2 || fail "-d color asks for colors"

code 4 -m error vm.qcow2
says_not out $'\e'
code 4 -m error -d color vm.qcow2
says out $'\e\\['
NO_COLOR=1 code 4 -m error -d color vm.qcow2
says out $'\e\\['
