#!/usr/bin/env bash
# A signal before the first write ends a repair with nothing changed. One in its midst takes the image back at once; and
# after kill -9, at whatever step, it can be taken back, or the repair run again. The same holds for the way back.
source "$(dirname "$0")/lib.bash"

image small.qcow2 -o cluster_size=4k
doubled small.qcow2
for what in refcount-zero=3 reftable-zeroed corrupt-bit; do damage small.qcow2 $what; done
cp small.qcow2 vm.qcow2
code 0 -R all --no-undo vm.qcow2
cp vm.qcow2 repaired

# While its plan waits to be read, nothing has been written yet.
image vm.qcow2 -o cluster_size=4k
qemu-io -c 'write -P 20 8M 8M' vm.qcow2 >/dev/null
edit vm.qcow2 'for entry in image.entries("normal")[::2]: image.set_refcount(entry.host >> 12, 0)'
cp vm.qcow2 original
mkfifo plan
exec 4<>plan
for signal in INT TERM HUP KILL; do
  python3 - "$QCOW2_DUMP" $signal <<'PY' || fail "SIG$signal before the first write"
import array, fcntl, signal, subprocess, sys, termios, time
number = getattr(signal, "SIG" + sys.argv[2])
signal.signal(signal.SIGINT, signal.SIG_DFL)
run = subprocess.Popen([sys.argv[1], "-R", "all", "vm.qcow2"], stdout=open("plan", "wb"))
held = array.array("i", [0])
for _ in range(200):
    fcntl.ioctl(4, termios.FIONREAD, held)
    if held[0] > 60000:
        break
    time.sleep(0.05)
run.send_signal(number)
time.sleep(0.1)
while held[0] > 0:  # whoever survives may go on
    held[0] -= len(open(4, "rb", buffering=0, closefd=False).read(held[0]))
sys.exit(run.wait(10) != -number)
PY
  same vm.qcow2 original
  [[ ! -e vm.qcow2.undo ]] || fail "a log of nothing"
done
exec 4>&-
rm plan

at() { python3 "$here/../tools/stop_at.py" "$@" >out 2>err </dev/null; }

# From the first change on, a signal is a wish to have it back.
cp small.qcow2 original
steps=0
for signal in TERM INT HUP; do
  for ((n = 1; ; ++n)); do
    rm -f vm.qcow2.undo
    cp original vm.qcow2
    touch -d '2001-02-03 04:05:06' vm.qcow2
    got=0
    at $signal $n vm.qcow2 "$QCOW2_DUMP" -R all vm.qcow2 || got=$?
    case $got in
      77) exit 77 ;;
      99) break ;;
      252)
        same vm.qcow2 original
        says err '^qcow2-dump: interrupted; (nothing was changed|the image was taken back to what it was)$'
        [[ $(stat -c %Y vm.qcow2) == $(date -d '2001-02-03 04:05:06' +%s) ]] || fail "the time of the last change is lost"
        [[ ! -e vm.qcow2.undo ]] || fail "a useless log is left"
        ;;
      0)  # too late to stop it
        same vm.qcow2 repaired
        undone vm.qcow2 vm.qcow2.undo original
        ;;
      *) fail "SIG$signal at step $n: exit code $got" ;;
    esac
    ((++steps))
    [[ $signal == TERM ]] || ((n < 3)) || break  # these two are handled alike
  done
done
((steps > 6)) || fail "only $steps steps could be interrupted"

# It is a wish to stop: no other image is written to after it, however late it came in the one at hand.
early=0 late=0
for ((n = 1; ; ++n)); do
  rm -f vm.qcow2.undo second.qcow2.undo
  cp original vm.qcow2
  cp original second.qcow2
  got=0
  at INT $n vm.qcow2 "$QCOW2_DUMP" -R all vm.qcow2 second.qcow2 ./third.qcow2 || got=$?
  ((got != 99)) || break
  ((got == 252)) || fail "interrupted at step $n of the first image: exit code $got"
  says err '^qcow2-dump: interrupted; not looked at: 2 images, from second\.qcow2 on$'
  same second.qcow2 original
  if cmp -s vm.qcow2 original; then ((++early)); else same vm.qcow2 repaired; ((++late)); fi
done
((early > 2 && late > 0)) || fail "interrupted $early times early, $late times late"

# What the process was told to ignore is none (nohup).
cp original vm.qcow2
got=0
IGNORED=1 at HUP 2 vm.qcow2 "$QCOW2_DUMP" -R all --no-undo vm.qcow2 || got=$?
((got == 0)) || fail "an ignored SIGHUP: exit code $got"
same vm.qcow2 repaired

for ((n = 1; ; ++n)); do
  rm -f vm.qcow2.undo*
  cp original vm.qcow2
  got=0
  at KILL $n vm.qcow2 "$QCOW2_DUMP" -R all vm.qcow2 || got=$?
  ((got != 99)) || break
  ((got == 137)) || fail "SIGKILL at step $n: exit code $got"
  cp vm.qcow2 torn
  if cmp -s vm.qcow2 original; then
    code 234 -m undo -F vm.qcow2.undo vm.qcow2
    says err 'already as it was before|never completed'
  else
    undone vm.qcow2 vm.qcow2.undo original
  fi
  # Or the repair is run again.
  cp torn vm.qcow2
  code 0 -R all vm.qcow2
  qemu-img compare -q vm.qcow2 repaired || fail "killed at step $n and run again, the guest reads something else"
done
((n > 6)) || fail "only $n steps could be killed"

# Taking it back before the repair, killed at whatever step, leaves two logs, and the next run goes back by both: unless
# it was killed between the two, or behind the last write, when there is nothing half done.
whole=0
for ((m = 1; ; ++m)); do
  rm -f vm.qcow2.undo*
  cp original vm.qcow2
  at KILL $((n - 2)) vm.qcow2 "$QCOW2_DUMP" -R all vm.qcow2 && fail "not killed" || true
  got=0
  at KILL $m vm.qcow2 "$QCOW2_DUMP" -R all vm.qcow2 || got=$?
  ((got != 99)) || break
  ((got == 137)) || fail "SIGKILL at step $m of the second repair: exit code $got"
  "$QCOW2_DUMP" --json --dry-run -R all vm.qcow2 >out || true
  if cmp -s vm.qcow2 original || cmp -s vm.qcow2 repaired; then
    ((++whole))
  else
    json '"taken-back-by" in d["repair"]'
  fi
  code 0 -R all vm.qcow2
  qemu-img compare -q vm.qcow2 repaired || fail "killed again at step $m, the guest reads something else"
  undone vm.qcow2 "$(ls -v vm.qcow2.undo* | tail -1)" original
done
((m > whole + 6)) || fail "only $m steps of the second repair could be killed, $whole of them left nothing half done"

# The way back, killed, is gone again.
for ((n = 1; ; ++n)); do
  rm -f vm.qcow2.undo*
  cp original vm.qcow2
  code 0 -R all vm.qcow2
  got=0
  at KILL $n vm.qcow2 "$QCOW2_DUMP" -m undo -F vm.qcow2.undo vm.qcow2 || got=$?
  ((got != 99)) || break
  ((got == 137)) || fail "SIGKILL at step $n of undo: exit code $got"
  cmp -s vm.qcow2 original || undone vm.qcow2 vm.qcow2.undo original
done
((n > 4)) || fail "only $n steps of undo could be killed"
