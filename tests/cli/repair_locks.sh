#!/usr/bin/env bash
# A repair and a writer keep each other out: 245, and not a byte changes. A dry run needs no lock, of an undo neither.
source "$(dirname "$0")/lib.bash"

# Every second cluster has refcount 0, so that the plan has a line for each: more than a pipe holds.
image vm.qcow2 -o cluster_size=4k
qemu-io -c 'write -P 20 8M 8M' vm.qcow2 >/dev/null
edit vm.qcow2 'for entry in image.entries("normal")[::2]: image.set_refcount(entry.host >> 12, 0)'
cp vm.qcow2 original
cp vm.qcow2 other.qcow2
code 0 -R all other.qcow2  # for its log

hold vm.qcow2
cp vm.qcow2 in-use
for what in leak error reuse discard all; do
  code 245 -R $what vm.qcow2
  says err '^qcow2-dump: .*lock.*vm\.qcow2'
done
code 245 --json -R all vm.qcow2
json 'd["exit-code"] == 245 and d["status"] == "failed" and "vm.qcow2" in d["error"]'
code 245 -m undo -F other.qcow2.undo vm.qcow2
code 4 -m error --dry-run -R all vm.qcow2
says out 'a dry run: nothing is written'
says out 'image\.in-use'
same vm.qcow2 in-use
[[ ! -e vm.qcow2.undo ]] || fail "a log of nothing"
let_go
same vm.qcow2 original

# Who only reads, but forbids writing, keeps a repair out, too.
python3 - vm.qcow2 other.qcow2 <<'PY' &
import fcntl, os, struct, sys, time
for name in sys.argv[1:]:
    file = os.open(name, os.O_RDONLY)
    for byte in (100, 201, 203):
        fcntl.fcntl(file, 37, struct.pack("hhqqixxxx", fcntl.F_RDLCK, 0, byte, 1, 0))  # F_OFD_SETLK
open("reading", "w").close()
while os.path.exists("reading"):
    time.sleep(0.05)
PY
reader=$!
for ((i = 0; i < 100; ++i)); do
  [[ ! -e reading ]] || break
  sleep 0.05
done
code 245 -R all vm.qcow2
same vm.qcow2 original
code 245 -m undo -F other.qcow2.undo other.qcow2
code 0 --dry-run -m undo -F other.qcow2.undo other.qcow2
says out 'would be taken back'
rm reading
wait "$reader"

# The plan is printed under the lock and before anything is written: who doesn't read it, stops the repair there.
mkfifo plan
exec 4<>plan
"$QCOW2_DUMP" -R all vm.qcow2 >plan 2>err.repair 4>&- &
repair=$!
python3 - <<'PY' || fail "the repair doesn't print its plan"
import array, fcntl, sys, termios, time
held = array.array("i", [0])
for _ in range(200):
    fcntl.ioctl(4, termios.FIONREAD, held)
    if held[0] > 60000:
        sys.exit(0)
    time.sleep(0.05)
sys.exit(1)
PY
locked() {
  if "$@" >out 2>&1; then fail "works during a repair: $*"; fi
  says out '[Ll]ock'
}
locked qemu-io -f qcow2 -c 'write 0 64k' vm.qcow2
locked qemu-img check -f qcow2 vm.qcow2
locked qemu-img check -f qcow2 -r all vm.qcow2
for arguments in "-R all" "-R leak" "-l" "-m undo -F other.qcow2.undo"; do
  # shellcheck disable=SC2086
  code 245 $arguments vm.qcow2
done
code 4 --dry-run -R all vm.qcow2
same vm.qcow2 original
[[ ! -e vm.qcow2.undo ]] || fail "a log before the plan was printed"
exec 5<plan 4>&-
cat <&5 >out
wait "$repair" || fail "the repair ends with $?: $(cat err.repair)"
says out '-m undo -F vm\.qcow2\.undo vm\.qcow2$'
code 0 -m error vm.qcow2
qemu-img check -q vm.qcow2 || fail "qemu-img doesn't agree"
undone vm.qcow2 vm.qcow2.undo original

# Who asks for the lock gets it or nothing, with a dry run as well.
hold vm.qcow2
code 245 -l vm.qcow2
code 245 -l --dry-run -R all vm.qcow2
let_go
code 4 -l --dry-run -R all vm.qcow2
