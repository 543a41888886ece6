#!/usr/bin/env bash
# What stands in a repair's way: a name that is taken, no permission, no room. The image stays as it was to the byte, the
# exit code says why, and so does a sentence.
source "$(dirname "$0")/lib.bash"

image original -o cluster_size=4k
doubled original
for what in refcount-zero=3 reftable-zeroed; do damage original $what; done
touch -d '2001-02-03 04:05:06' original

target=vm.qcow2

# cannot CODE PATTERN ARGUMENT…: refused by that sentence, and the target is the original; no log is left.
cannot() {
  local expected=$1 pattern=$2
  shift 2
  code "$expected" "$@"
  unchanged "$pattern"
}
unchanged() {
  says err "^qcow2-dump: .*($1)"
  same "$target" original
  [[ $(stat -c %y "$target") == $(stat -c %y original) ]] || fail "the time of the last change is another"
  [[ ! -e $target.undo ]] || fail "a useless log is left"
}

# ---- names

cp -p original vm.qcow2
cannot 254 'missing\.qcow2.*No such file' -R all missing.qcow2
[[ ! -e missing.qcow2 && ! -e missing.qcow2.undo ]] || fail "a file was made"
echo precious >taken
cannot 239 'taken.*File exists.*nothing was changed' -R all --undo-log taken vm.qcow2
[[ $(<taken) == precious ]] || fail "the file was overwritten"
ln -s nowhere dangling
cannot 239 'dangling.*File exists' -R all --undo-log dangling vm.qcow2
[[ ! -e nowhere ]] || fail "a file was made behind a link"
cannot 239 'File exists' -R all --undo-log vm.qcow2 vm.qcow2
cannot 254 'no/folder.*No such file.*nothing was changed' -R all --undo-log no/folder/log vm.qcow2
mkdir folder
cannot 235 'folder.*(a folder|directory)' -R all folder
rmdir folder
code 239 --json -R all --undo-log taken vm.qcow2
json 'd["exit-code"] == 239 and d["status"] == "failed" and "nothing was changed" in d["error"]'

# ---- permissions

chmod 444 vm.qcow2
if [[ -w vm.qcow2 ]]; then  # root
  command -v setpriv >/dev/null || exit 77
  chmod 777 .
  cp "$QCOW2_DUMP" command
  somebody() { QCOW2_DUMP=setpriv cannot "$1" "$2" --reuid=65534 --regid=65534 --clear-groups ./command "${@:3}"; }
else
  somebody() { cannot "$@"; }
fi
somebody 243 'vm\.qcow2.*Permission denied.*opened for writing' -R all vm.qcow2
chmod 666 vm.qcow2
chmod 555 .
if ((EUID == 0)); then chown 65534 vm.qcow2; fi
somebody 243 'no undo log.*vm\.qcow2\.undo.*Permission denied.*nothing was changed.*--undo-log' -R all vm.qcow2
chmod 755 .

# ---- no room

# No file may get longer than so many KiB: at first less than the image has, in the end as much as it takes.
cp -p original vm.qcow2
size=$(stat -c %s vm.qcow2)
for ((kib = size / 1024 - 8; kib < size / 1024 + 24; kib += 4)); do
  got=0
  (ulimit -f $kib && "$QCOW2_DUMP" -R all vm.qcow2 >out 2>err) || got=$?
  ((got != 0)) || break
  [[ $got == 229 ]] || fail "exit code $got"
  unchanged 'vm\.qcow2.*too large; (the image was taken back to what it was|nothing was changed)'
done
((got == 0 && kib > size / 1024)) || fail "no limit was felt"
rm vm.qcow2.undo
