#!/usr/bin/env bash
# An image that QEMU has open for writing: a warning; with -l an error. And QEMU may not start to write during a -l.
source "$(dirname "$0")/lib.bash"

image vm.qcow2
code 0 vm.qcow2
says_not out 'image\.in-use'
code 0 -l vm.qcow2

mkfifo commands
qemu-io -f qcow2 vm.qcow2 <commands >answers 2>&1 &
exec 3>commands
echo length >&3
for ((i = 0; i < 100; ++i)); do
  grep -q '64 MiB' answers && break
  sleep 0.1
done
grep -q '64 MiB' answers || exit 77  # qemu-io doesn't run here

code 245 -l vm.qcow2
says err 'vm\.qcow2.*lock|lock.*vm\.qcow2'
code 245 -l --json vm.qcow2
says out '"exit-code": ?245'
code 0 -m error vm.qcow2
says out 'image\.in-use'
code 0 --json vm.qcow2
says out 'image\.in-use'

exec 3>&-
wait
code 0 -l vm.qcow2
code 0 -m error vm.qcow2
says_not out 'image\.in-use'
