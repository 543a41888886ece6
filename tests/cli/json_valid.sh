#!/usr/bin/env bash
# --json: one document an image, and stdout holds nothing else.
source "$(dirname "$0")/lib.bash"

image good.qcow2
snapshot good.qcow2 $'na"me\\ \e[31m'
cp good.qcow2 bad.qcow2
damage bad.qcow2 l2-dup
for options in "" "-m info" "-m error" "-m dump" "-H" "-s active -o snapshot" "-d color" "--progress on" "-l"; do
  # shellcheck disable=SC2086
  "$QCOW2_DUMP" --json $options good.qcow2 >document
  python3 -m json.tool document >/dev/null || fail "$options: no valid JSON"
done
code 254 --json good.qcow2 bad.qcow2 missing.qcow2
python3 - <<'PY' || fail "these aren't three documents in a row"
import json
text, documents, decoder = open("out").read(), [], json.JSONDecoder()
while text.strip():
    document, end = decoder.raw_decode(text.lstrip())
    documents.append(document)
    text = text.lstrip()[end:]
assert [d["image"] for d in documents] == ["good.qcow2", "bad.qcow2", "missing.qcow2"], documents
assert [d["status"] for d in documents][::2] == ["good", "failed"], documents
assert [d["exit-code"] for d in documents][::2] == [0, 254], documents
assert all(d["schema"] == 1 for d in documents)
PY
says err 'missing\.qcow2'
