#!/usr/bin/env bash
# A file that may not be read: 243.
source "$(dirname "$0")/lib.bash"

image vm.qcow2
chmod 000 vm.qcow2
if [[ -r vm.qcow2 ]]; then  # root may read anything: somebody else has to ask
  setpriv --reuid=65534 --regid=65534 --clear-groups true 2>err || exit 77  # it may not be there, nor anybody else
  chmod 755 .
  cp "$QCOW2_DUMP" command
  QCOW2_DUMP=setpriv code 243 --reuid=65534 --regid=65534 --clear-groups ./command vm.qcow2
else
  code 243 vm.qcow2
fi
says err 'vm\.qcow2.*[Pp]ermission denied'
