#!/usr/bin/env bash
# --stats: a profile on stderr and in the JSON, true to what was read; stdout stays as it is.
source "$(dirname "$0")/lib.bash"

image vm.qcow2
snapshot vm.qcow2 first
code 0 vm.qcow2
cp out without
code 0 --stats vm.qcow2
cmp out without || fail "--stats changed the output"
says err '^profile of vm\.qcow2$'
says err '^phase +seconds +threads +MiB read +reads +tables +runs +peak MiB$'
for phase in header refcounts metadata mapping suspects settling leaks total; do
  says err "^$phase +[0-9]+\.[0-9]{4} "
done
says_not err '.{81}'
code 0 --stats -m dump vm.qcow2
says err '^dumping +[0-9.]+ +[0-9.]+ +[0-9.]+ +[0-9]+ +2 +[1-9]'  # a table a state

code 0 --json vm.qcow2
says_not out '"profile"'
code 0 --json --stats vm.qcow2
python3 - <<'PY' || fail "the JSON's profile isn't what was read"
import json
from qcow2 import Image
phases = {p["phase"]: p for p in json.load(open("out"))["profile"]}
with Image("vm.qcow2") as image:
    cluster = image.cluster_size
assert phases["refcounts"]["tables"] == 1, phases["refcounts"]
assert phases["mapping"]["tables"] == 1, phases["mapping"]
assert phases["mapping"]["runs"] >= 3, phases["mapping"]
# The L1 tables of two states, and the L2 table that they share, once.
assert cluster <= phases["mapping"]["bytes-read"] < 2 * cluster, phases["mapping"]
assert phases["mapping"]["reads"] == 3, phases["mapping"]
assert 0 < phases["mapping"]["peak-memory"] < 1 << 30
PY

# What doesn't add up is counted by a second walk.
cp vm.qcow2 doubled.qcow2
doubled doubled.qcow2
code 4 --stats doubled.qcow2
says err '^suspects +[0-9.]+ +[0-9.]+ +[0-9.]+ +[1-9][0-9]* +1 +[1-9]'

# Of a repair, too: planned, written, and looked at again.
damage vm.qcow2 refcount-leak
code 0 --stats -R all vm.qcow2
says err '^planning '
says err '^writing '
# An image that can't be opened has no profile.
code 254 --stats nothing.qcow2
says_not err '^phase'
