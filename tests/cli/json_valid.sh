#!/usr/bin/env bash
# --json: one document an image, whatever becomes of it, and stdout holds nothing else. All of them together hold every
# key that docs/json.md describes, and no other.
source "$(dirname "$0")/lib.bash"

# asked CODE ARGUMENT…: one document with that code in it, which is kept.
asked() {
  code "$1" --json "${@:2}"
  json "d['exit-code'] == $1 and d['schema'] == 2 and d['tool'].startswith('qcow2-dump ')"
  cat out >>documents
}

image base.qcow2
image good.qcow2 -b base.qcow2 -F qcow2 -o lazy_refcounts=on
snapshot good.qcow2 $'na"me\\ \e[31m'
qemu-img bitmap --add good.qcow2 nightly
sync good.qcow2
cp good.qcow2 bad.qcow2
damage bad.qcow2 refcount-zero=3
for options in "-m info --stats" "-m dump" "-H -d color" "-s active -o snapshot" "-l --progress on"; do
  # shellcheck disable=SC2086
  asked 0 $options good.qcow2
done
json 'd["mode"] == "check" and d["status"] == "good" and d["problems"] == [] and d["file"]["kind"] == "regular file"'

# What isn't done, too.
asked 254 missing.qcow2
json 'd["image"] == "missing.qcow2" and d["mode"] == "check" and d["status"] == "failed" and d["error"]'
asked 235 -m error .
asked 234 -s nobody good.qcow2
json 'd["image"] == "good.qcow2"'
for options in "-m nonsense good.qcow2" "--nonsense" "-R leak -A 1 good.qcow2" "" "--explain nonsense"; do
  # shellcheck disable=SC2086
  asked 234 $options
  json 'd["mode"] == "none" and d["status"] == "failed" and d["error"] and "image" not in d'
done
asked 254 -R all missing.qcow2
json 'd["mode"] == "repair"'

# What was done has a name.
asked 0 -M dirty good.qcow2
json 'd["mode"] == "mark" and d["repair"]["undo-log"] == "good.qcow2.undo" and len(d["repair"]["actions"]) == 1'
json 'd["repair"]["actions"][0]["after"] == d["repair"]["actions"][0]["before"] | 1'
asked 0 --dry-run -m undo -F good.qcow2.undo good.qcow2
json 'd["undo"] == {"dry-run": True, "log": "good.qcow2.undo"}'
asked 0 -m undo -F good.qcow2.undo good.qcow2
json 'd["mode"] == "undo" and d["status"] == "good" and d["undo"]["undo-log"] == "good.qcow2.undo.2"'
echo more >>good.qcow2
asked 0 --force --dry-run -m undo -F good.qcow2.undo.2 good.qcow2
json 'd["undo"]["amiss"] and d["undo"]["bytes-cut"] > 0'
asked 0 -A 1 good.qcow2
json 'd["mode"] == "apply"'
asked 0 --dry-run -D 1 good.qcow2
json 'd["mode"] == "delete"'
asked 0 -R all bad.qcow2
json 'd["mode"] == "repair" and d["status"] == "good" and d["repair"]["planned-status"] == "good"'

# What may be lost is said, and why; what is lost is a problem.
cp good.qcow2 lost.qcow2
damage lost.qcow2 l2-entry-zeroed
asked 1 lost.qcow2
json '"the leaked cluster" in d["lost-data-suspected"]'

# More features and more damage, until every key is there. Their codes are for other tests to say.
qemu-img create -q -f qcow2 -o data_file=data.raw external.qcow2 1M
qemu-img create -q -f qcow2 -b nowhere.qcow2 -F qcow2 -u chain.qcow2 1M
qemu-img create -q -f qcow2 -b nbd://localhost/nothing -F raw -u remote.qcow2 1M
qemu-img create -q -f qcow2 loop.qcow2 1M
qemu-img rebase -q -u -f qcow2 -b loop.qcow2 -F qcow2 loop.qcow2
for what in l2-reserved l2-dup bitmap-extra snapshot-size-zero; do
  cp good.qcow2 broken.qcow2
  damage broken.qcow2 $what
  "$QCOW2_DUMP" --json -R all --dry-run broken.qcow2 >>documents || true
done
qemu-img create -q -f qcow2 -b "$PWD/base.qcow2" -F qcow2 absolute.qcow2
for name in external chain remote loop absolute; do "$QCOW2_DUMP" --json -m info $name.qcow2 >>documents || true; done

# Shown by unit/render_json_test.cc, tests/advice, tests/bounds, repair_discard.sh and repair_after_kill.sh.
shown_elsewhere=("snapshots[].id-length" "snapshots[].name-length" "bitmaps[].name-length"
  problems-unlisted repair.actions-unlisted "advice[].loses" "repair.actions[].before-hex"
  "repair.actions[].after-hex" repair.bytes-given-back repair.taken-back-by)
python3 "$here/../tools/json_document.py" --all-keys documents >wrong || true
grep -vFf <(printf '%s is described, but\n' "${shown_elsewhere[@]}") wrong >out || true
[[ ! -s out ]] || fail "documents and docs/json.md differ"

# Several images: three documents in a row, each with its own code; damage is told of beside what can't be opened.
damage base.qcow2 l2-unaligned
code 254 --json good.qcow2 base.qcow2 missing.qcow2
python3 - <<'PY' || fail "these aren't three documents in a row"
import json_document
documents = list(json_document.documents(open("out").read()))
assert [d["image"] for d in documents] == ["good.qcow2", "base.qcow2", "missing.qcow2"], documents
assert [d["exit-code"] for d in documents][1:] == [6, 254], documents
PY
says err 'missing\.qcow2'
says err 'of the others the worst is corrupt .exit code 6.'
