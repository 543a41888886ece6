#!/usr/bin/env python3
"""Sends a signal to a command just before it changes a file for the Nth time, so that it can be hit at every step.

    stop_at.py SIGNAL N FILE COMMAND [ARGUMENT…]

Ends with the command's exit code, or 128 + the signal that it died of; 99: it has ended before its Nth change; 77: this
machine can't do it. What counts as a change: pwrite, ftruncate, fallocate and fsync of the file, by the first thread.
With IGNORED in the environment the command is told to ignore the signal.
"""

import ctypes
import os
import platform
import signal
import struct
import sys

# pwrite64, ftruncate, fallocate, fsync
CALLS = {"x86_64": (18, 77, 285, 74), "aarch64": (68, 46, 47, 82)}.get(platform.machine())
TRACEME, SYSCALL, CONT, SETOPTIONS, GET_SYSCALL_INFO = 0, 24, 7, 0x4200, 0x420E
TRACESYSGOOD, EXITKILL = 1, 1 << 20
ENTRY = 1  # of a system call

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.restype = ctypes.c_long
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def ptrace(request, pid, address=0, data=0):
    if libc.ptrace(request, pid, address, data) < 0:
        raise OSError(ctypes.get_errno(), "ptrace")


def changes(pid, path):
    """Is the command about to change the file?"""
    info = ctypes.create_string_buffer(88)
    ptrace(GET_SYSCALL_INFO, pid, len(info), ctypes.addressof(info))
    kind, number, descriptor = struct.unpack_from("<B23xQQ", info)
    if kind != ENTRY or number not in CALLS:
        return False
    try:
        return os.readlink(f"/proc/{pid}/fd/{descriptor & 0xFFFFFFFF}") == path
    except OSError:
        return False


def run(number, wanted, path, command):
    pid = os.fork()
    if pid == 0:
        try:
            if number != signal.SIGKILL:  # whatever whoever runs the tests has told them to ignore
                signal.signal(number, signal.SIG_IGN if os.environ.get("IGNORED") else signal.SIG_DFL)
            ptrace(TRACEME, 0)
        except OSError:
            os._exit(77)
        os.execvp(command[0], command)
    status = os.waitpid(pid, 0)[1]
    if os.WIFEXITED(status):
        return os.WEXITSTATUS(status)
    ptrace(SETOPTIONS, pid, 0, TRACESYSGOOD | EXITKILL)
    seen, deliver = 0, 0
    while True:
        try:
            ptrace(CONT if seen == wanted else SYSCALL, pid, 0, deliver)
        except ProcessLookupError:
            pass  # killed
        status = os.waitpid(pid, 0)[1]
        if os.WIFEXITED(status):
            return os.WEXITSTATUS(status) if seen == wanted else 99
        if os.WIFSIGNALED(status):
            return 128 + os.WTERMSIG(status)
        stopped = os.WSTOPSIG(status)
        deliver = 0 if stopped in (signal.SIGTRAP, signal.SIGTRAP | 0x80) else stopped
        if stopped == signal.SIGTRAP | 0x80 and changes(pid, path):
            seen += 1
            if seen == wanted:
                os.kill(pid, number)


def main():
    if CALLS is None:
        return 77
    number = getattr(signal, "SIG" + sys.argv[1])
    try:
        return run(number, int(sys.argv[2]), os.path.realpath(sys.argv[3]), sys.argv[4:])
    except OSError as error:
        print(f"stop_at.py: {error}", file=sys.stderr)
        return 77


if __name__ == "__main__":
    sys.exit(main())
