#!/usr/bin/env bash
# What stands in a repair's way: a name that is taken, no permission, no room. The image stays as it was to the byte, the
# exit code says why, and so does a sentence.
source "$(dirname "$0")/lib.bash"

broken original -o cluster_size=4k
original=original target=vm.qcow2

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
  setpriv --reuid=65534 --regid=65534 --clear-groups true 2>err || exit 77  # it may not be there, nor anybody else
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

cp -p original vm.qcow2
no_room -R all vm.qcow2
