#!/usr/bin/env bash
# Prints the man page: the words of the command itself, so that they can't differ.
# usage: scripts/man.sh BINARY >docs/qcow2-dump.1
set -euo pipefail
binary=$1

# Text as it is, line by line; what roff would take for a command or an escape is protected.
verbatim() { sed -e 's/\\/\\e/g' -e 's/-/\\-/g' -e "s/^[.']/\\\\\&&/"; }

cat <<'ROFF'
.TH QCOW2\-DUMP 1
.SH NAME
qcow2\-dump \- check and repair qcow2 disk images
.SH SYNOPSIS
.B qcow2\-dump
[\fIOPTION\fR]... \fIIMAGE\fR...
.SH DESCRIPTION
.B qcow2\-dump
says what is wrong with a qcow2 image, where, and whether and how it can be repaired. A check writes nothing. A repair
shows its plan, keeps the old bytes in a log, writes under QEMU's locks, and checks again; it can be taken back.
.SH OPTIONS, EXAMPLES AND EXIT CODES
.nf
ROFF
"$binary" --help | sed '1,/^usage:/d' | verbatim
cat <<'ROFF'
.fi
.SH PROBLEMS
.B qcow2\-dump \-\-explain
\fICODE\fR tells all about one of these, and explains words of the report.
.nf
ROFF
"$binary" --explain list | sed -n '/^$/q; s/ .*//p' | verbatim
cat <<'ROFF'
.fi
.SH FILES
.TP
.I IMAGE\fB.undo\fR, \fIIMAGE\fB.undo.2\fR, ...
The old bytes of what a repair has changed, beside the image, or in the working folder for a device. Never overwritten, and
readable by the owner only. The next repair takes an interrupted one back by the newest of them, wherever its own log is to
go, and deletes that, if who runs it or the image's owner has written it, for this very file; a stranger's is refused. One
that was put elsewhere is found if \fB\-\-undo\-log\fR names it again. A log fits as long as nobody else has changed the
image, its time of change included. Delete it when you are content with the
repair.
.SH ENVIRONMENT
.TP
.B NO_COLOR
No colors.
.SH SEE ALSO
.BR qemu\-img (1),
.BR qemu\-io (1)
ROFF
