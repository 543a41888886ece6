#!/usr/bin/env bash
# Whoever can create a file beside an image can put an undo log there. A repair takes an interrupted one back by a log
# only if it is one that who runs it, or the image's owner, has written, for this very file; all others are refused and
# named, and nothing is touched. -m undo uses them by --force.
source "$(dirname "$0")/lib.bash"

forge() { python3 "$here/../tools/forge_log.py" "$@"; }

# The image shall get a backing file, whose name lies in the first cluster already.
image vm.qcow2 -o cluster_size=4k
damage vm.qcow2 refcount-leak
poke vm.qcow2 0x300 "$(printf vm.raw | od -An -tx1 | tr -d " ")"
wanted=$(printf '%016x%08x' $((0x300)) 6)
cp -p vm.qcow2 original
truncate -s 64M vm.raw
chmod 1777 .

# refused PATTERN [FORCE]: neither a repair nor its plan nor an edit uses the log; --force does, where it must.
refused() {
  ls -l vm.qcow2.undo* >logs.before
  for arguments in '-R leak' '-R all' '-R all --force' '--dry-run -R all' '-M corrupt' '--json -R leak'; do
    # shellcheck disable=SC2086
    code 243 $arguments vm.qcow2
    says err "^qcow2-dump: vm\.qcow2\.undo[.0-9]* says that a change of vm\.qcow2 was interrupted, but $1"
    says err "; nothing was changed\. If .* \"qcow2-dump -m undo ${2:+$2 }-F vm\.qcow2\.undo[.0-9]* vm\.qcow2\"; if not"
    same vm.qcow2 original
    [[ $(stat -c %y vm.qcow2) == $(stat -c %y original) ]] || fail "the time of the last change is another"
    ls -l vm.qcow2.undo* | cmp -s - logs.before || fail "the logs have changed: $(ls -l vm.qcow2.undo*)"
  done
  [[ ${2-} ]] || return 0
  for dry in '' --dry-run; do
    # shellcheck disable=SC2086
    code 243 $dry -m undo -F vm.qcow2.undo vm.qcow2
    says err "^qcow2-dump: cannot undo by vm\.qcow2\.undo: ${3:-$1}.*--force"
    same vm.qcow2 original
  done
  code 0 --no-undo -m undo --force -F vm.qcow2.undo vm.qcow2
  says out "taken back by force .*${3:-$1}"
  qemu-img info -U vm.qcow2 >info
  says info 'backing file: vm.raw'
  cp -p original vm.qcow2
}
# ---- others can write to it

for mode in 620 602 666; do
  forge vm.qcow2 vm.qcow2.undo 8 "$wanted"
  chmod $mode vm.qcow2.undo
  refused 'others than its owner, .*, can write to it' --force
done

# ---- a link

mkdir elsewhere
rm vm.qcow2.undo
forge vm.qcow2 elsewhere/log 8 "$wanted"
chmod 600 elsewhere/log
ln -s elsewhere/log vm.qcow2.undo
refused 'it is a link'
rm vm.qcow2.undo

# ---- of another image, or of no image by name

for how in copied old; do
  if [[ $how == copied ]]; then
    cp -p elsewhere/log vm.qcow2.undo
  else
    forge vm.qcow2 vm.qcow2.undo 8 "$wanted" 1
  fi
  refused 'it may be another'
  code 0 --no-undo -m undo -F vm.qcow2.undo vm.qcow2  # whoever names it vouches for it
  cp -p original vm.qcow2
  rm vm.qcow2.undo
done

# ---- what is no file is not even opened

mkfifo vm.qcow2.undo
code 0 -R leak vm.qcow2
rm vm.qcow2.undo vm.qcow2.undo.2
cp -p original vm.qcow2
ln -s missing vm.qcow2.undo
code 0 -R leak vm.qcow2
[[ -L vm.qcow2.undo && ! -e missing && -f vm.qcow2.undo.2 ]] || fail "the new log went where a link leads"
rm vm.qcow2.undo*
cp -p original vm.qcow2

# ---- ours, with whatever lies beside it

forge vm.qcow2 vm.qcow2.undo 8 "$wanted"
chmod 600 vm.qcow2.undo
echo junk >vm.qcow2.undo.7
chmod 666 vm.qcow2.undo.7
code 0 -R leak vm.qcow2
says out 'was interrupted\. Its log, vm\.qcow2\.undo,'
[[ $(ls vm.qcow2.undo*) == vm.qcow2.undo.7* ]] || fail "logs: $(ls vm.qcow2.undo*)"
rm vm.qcow2.undo*
cp -p original vm.qcow2

# ---- somebody else's

# All above was fine, but this part can't run here.
if ((EUID != 0)) || ! chown nobody vm.raw 2>err; then exit 77; fi
for owner in root 1234; do
  chown $owner vm.qcow2 original
  forge vm.qcow2 vm.qcow2.undo 8 "$wanted"
  chmod 600 vm.qcow2.undo
  chown nobody vm.qcow2.undo
  refused 'it belongs to nobody \(user [0-9]+\), and neither to who runs this nor to the image.s owner, (root \(user 0\)|user 1234)' --force
done
# A newer one of a stranger doesn't hide ours.
rm vm.qcow2.undo
forge vm.qcow2 vm.qcow2.undo 8 "$wanted"
chmod 600 vm.qcow2.undo
cp vm.qcow2.undo vm.qcow2.undo.2
chown nobody vm.qcow2.undo.2
code 243 -R leak vm.qcow2
says err '^qcow2-dump: vm\.qcow2\.undo\.2 says .*it belongs to nobody'
same vm.qcow2 original
poke vm.qcow2.undo.2 12 00000002  # its checksum is wrong then
code 0 -R leak vm.qcow2
says out 'was interrupted\. Its log, vm\.qcow2\.undo,'
