#!/usr/bin/env bash
# Whatever a name holds, no control character of it reaches the terminal or a log, in no mode and in no message, and none
# that turns the text round; JSON gives the same value. Names that are harmless are shown as they are.
source "$(dirname "$0")/lib.bash"

# every NAME: all modes and failures for an image whose names are all like NAME.
cat >every.py <<'PY'
import json
import os
import re
import subprocess
import sys

from qcow2 import Image

sys.stdout.reconfigure(errors="backslashreplace")
program = os.environ["QCOW2_DUMP"]
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def run(*arguments):
    done = subprocess.run([program, *arguments], stdin=subprocess.DEVNULL, capture_output=True)
    texts = [done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")]
    shown = [os.fsdecode(argument) for argument in arguments]
    for stream, text in zip(("stdout", "stderr"), texts):
        if bad := RAW.search(text):
            at = bad.start()
            sys.exit(f"{stream} of {shown} has {text[at]!r}: {text[max(0, at - 60):at + 40]!r}")
        if "\nqcow2-dump: b" in text:
            sys.exit(f"{stream} of {shown} has a line that is a name's: {text!r}")
    if done.returncode < 0:
        sys.exit(f"{shown} died of {-done.returncode}")
    return done.returncode, *texts


def strings(value):
    if isinstance(value, str):
        yield value
    for item in value if isinstance(value, list) else value.values() if isinstance(value, dict) else ():
        yield from strings(item)


name = sys.argv[1]
image = name + ".qcow2"
os.rename("vm.qcow2", image)
run("-v")
modes = [[], ["-m", "info"], ["-m", "error"], ["-m", "dump"], ["-H"], ["-b"], ["--stats"], ["-m", "dump", "-s", name],
         ["-R", "off"], ["-R", "all", "--dry-run"], ["-A", name, "--dry-run"], ["-D", name, "--dry-run"],
         ["-A", "snapshot[0]", "--keep-as", name, "--dry-run"], ["-A", "snapshot[0]", "--keep-as", "x" + name, "--dry-run"],
         ["-E", name, "--dry-run"], ["-s", "no " + name], ["-D", "no " + name], ["-A", "no " + name],
         ["-m", "rebase", "-F", name, "--dry-run"], ["-m", "rebase", "-b", "-F", name, "--dry-run"],
         ["-m", "rebase", "-F", "nbd:" + name, "--dry-run"], ["-m", "rebase", "-F", "", "--dry-run"],
         ["-m", "copy", "-F", name, "-S", "0", "-O", "0", "-w", "8", "--dry-run"],
         ["-m", "edit", "-O", name, "-V", "1", "--dry-run"], ["-m", "edit", "-O", "0", "-V", name, "--dry-run"],
         ["-m", "edit", "-O", "l1[" + name + "]", "-V", "1", "--dry-run"],
         ["-m", "edit", "-O", "header.backing_file", "-V", name, "--dry-run"],
         ["-m", "undo", "-F", name], ["-m", "undo", "-F", image], ["-m", name], ["-o", name], ["-R", name], ["-w", name],
         ["-d", name], ["-j", name], ["--" + name], ["--explain", name], ["--progress", name], ["--undo-log", name, "-R", "all"],
         ["--cluster-size", name], ["-M", name], ["-K"]]
for mode in modes:
    run(*mode, image)
    code, out, _ = run("--json", *mode, image)
    if out.startswith("{"):
        for text in strings(json.loads(out)):  # a command is quoted for the shell
            if "\\x" in text and "$'" not in text and "undo" not in mode and "QFI" not in text:
                sys.exit(f"{mode}: the JSON is escaped twice: {text!r}")
for mode in (["missing " + name], ["-R", "all", "missing " + name], ["-m", "undo", "-F", "missing " + name, image],
             [image, image, "missing " + name]):
    run(*mode)
    run("--json", *mode)

document = json.loads(run("--json", "-m", "info", image)[1])
assert document["image"] == image, document["image"]
assert document["header"]["backing-file"] == name, document["header"]
assert document["snapshots"][0]["name"] == name
assert name in [bitmap["name"] for bitmap in document["bitmaps"]], document["bitmaps"]
plain = not re.search("[^ -~ü数]", name)
shown = run("-m", "info", image)[1]
assert (name in shown) == plain, shown

# A repair, its log, and what is said of one that doesn't fit.
run("-R", "all", "-b", image)
os.path.exists(image + ".undo") or sys.exit("there was to be something to repair")
run("-m", "undo", "-F", image + ".undo", image)
for json_too in ([], ["--json"]):
    run(*json_too, "-m", "undo", "-F", image + ".undo", "other.qcow2")
    run(*json_too, "-m", "undo", "-F", image + ".undo", image)
with open(image + ".undo", "r+b") as log:
    log.write(b"x")
run("-m", "undo", "-F", image + ".undo", image)
os.chmod(image + ".undo", 0o666)
run("-m", "undo", "-F", image + ".undo", image)
PY

hostile=($'\e]0;x\a' $'a\nqcow2-dump: b' $'\u009b2J' $'\u202egnp.exe' $'\u2066x\u2069\u200e' $'x\x7f' $'\t\r' 'plain ü数 name')
[[ ! -v BRIEF ]] || hostile=($'\e]0;x\a' $'a\nqcow2-dump: b' $'\u202egnp.exe' 'plain ü数 name')
for name in "${hostile[@]}"; do
  rm -f -- *.qcow2*
  image vm.qcow2
  snapshot vm.qcow2 "$name"
  qemu-img bitmap --add vm.qcow2 "$name"
  damage vm.qcow2 refcount-leak
  truncate -s 64M -- "$name"
  "$QCOW2_DUMP" -b -m rebase --no-undo -F "$name" vm.qcow2 >out 2>err || (($? == 1)) || fail "rebase"
  image other.qcow2
  python3 every.py "$name" || fail "a name like $(printf %q "$name")"
  rm -f -- "$name"
done
