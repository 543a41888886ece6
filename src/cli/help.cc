// The help, as people read it: 80 columns, what is safe first, then what isn't, then examples.
#include "cli/options.h"

namespace qd::cli {

std::string_view help_text() {
  return R"(qcow2-dump says what is wrong with a qcow2 image, where, and what mends it.

usage: qcow2-dump [OPTION]... IMAGE...

SAFE: these only read; not a byte of the image changes

  -m, --mode MODE        what to show:
         check           figures of every table, and a verdict (the default)
         error           the same, and every problem with its place
         info            header, features, sizes, snapshots, bitmaps, files
         dump            everything: each entry of each table
  -H, --header           the header, field by field; also where it is ruined.
                         Without an image: the layout of a header
  -o, --output PART      error, dump: refcount, snapshot (the mapping) or all
  -s, --snapshot STATE   error, dump: whose tables: active, inactive, all,
                         snapshot[N], an ID or a name
  -f, --flags            dump: raw entries with COPIED, COMPRESSED, ZERO
  -R, --repair off       don't say what could be repaired
                check    say it (the default)
  -b, --base             open no file but the image: no backing or data file
  -c, --compress         decompress every compressed cluster, report failures
  -l, --lock             hold QEMU's lock; fail if somebody writes to the image
  -N, --nocache          leave the page cache as it is (O_DIRECT)
  -K, --dmesg            one line of summary to the kernel log, too
  -d, --display WHAT     off (or none): no colors; color: always.
                         Else on a terminal, unless NO_COLOR is set
      --json             one JSON document an image, nothing else on stdout
  -j, --jobs N           threads (all cores); -N has more, which wait
      --cluster-size N   what you know of an image with a ruined header (64K)
      --progress WHEN    auto, on, off: progress on stderr
      --stats            where the time goes: on stderr, and in the JSON
      --explain WORD     what a problem's code, or a word of the report, means;
                         list: a line for each; all: all about all problems
  -h, --help             this text
  -v, --version          the version, and the libraries built in

DANGEROUS: these write to the image, locked against QEMU, with the old bytes
in an undo log before the first one changes

  -R, --repair leak      free clusters that nobody uses; refused where they look
                         like lost data
               error     refcounts, COPIED flags, refcount blocks and table,
                         snapshot table, bitmaps; frees no leaks
               reuse     a copy of its own for each owner of a cluster, and
                         refcounts that fit
               all       error, reuse and leak
               discard   give free space back to the file system
  -A, --apply SNAPSHOT   make a snapshot's tables the active ones, also where
                         these are ruined. SNAPSHOT: snapshot[N], an ID, a name
      --keep-as NAME     ... and keep the present state as a snapshot
  -D, --delete SNAPSHOT  remove a snapshot, or all
  -E, --exclude SNAPSHOT remove all snapshots but this one; 0: all
  -M, --mark BIT         set the header's corrupt or dirty bit
  -C, --clean BIT        clear it, if no error is left
  -m edit                write a number: -O, --offset PLACE  -V, --value N or ~N
                         -w, --width BYTES (1, 2, 4; else 8). PLACE: a host
                         offset, header.FIELD, l1[i], l2[i,j], refcount[c],
                         refcount_table[i], snapshot[n].l2[i,j], .FIELD, .name
  -m copy                copy bytes: -O TO  -S, --src FROM  -w, -L, --length
                         BYTES  -F FILE (else within the image)
  -m rebase              another backing file: -F, --file NAME, "" for none;
                         -b writes the name unchecked
  -m undo -F LOG         take any of these back, or an undo
      --dry-run          show the plan, write nothing
      --undo-log FILE    where the old bytes are kept (IMAGE.undo);
                         --no-undo: nowhere
      --force            allow what was refused as lossy or suspicious

EXAMPLES

  qcow2-dump vm.qcow2                   is it healthy? what to do if it isn't
  qcow2-dump -m error vm.qcow2          every problem with its place
  qcow2-dump --explain l2.unaligned     what a problem means
  qcow2-dump -m dump -f -s snapshot[0] vm.qcow2
                                        all tables of the first snapshot
  qcow2-dump -R all --dry-run vm.qcow2  what would be repaired, and why
  qcow2-dump -R all vm.qcow2            repair it
  qcow2-dump -m undo -F vm.qcow2.undo vm.qcow2
                                        take that back
  qcow2-dump -A first --keep-as broken vm.qcow2
                                        back to the snapshot "first"
  qcow2-dump -D 2 vm.qcow2              remove the snapshot with ID 2
  qcow2-dump -E first vm.qcow2          remove all snapshots but "first"
  qcow2-dump -C corrupt vm.qcow2        let QEMU write to it again
  qcow2-dump -M dirty vm.qcow2          let QEMU look at the refcounts first
  qcow2-dump -m edit -O 'l2[0,3]' -V 0x8000000000050000 vm.qcow2
                                        where the guest's fourth cluster lies
  qcow2-dump -m copy -O 0 -S 0 -w 104 -F donor.qcow2 vm.qcow2
                                        the header of another image
  qcow2-dump -m rebase -F base.qcow2 vm.qcow2
                                        its backing file has moved
  qcow2-dump -l --json *.qcow2          for scripts; fails at images in use

exit code: the state of the image (after a repair), the worst of several
  0 good   1 leaked clusters   2 COPIED flags wrong   3 only marked corrupt
  4 refcounts too low, or a cluster used twice   5 snapshots or bitmaps damaged
  6 header, L1, L2, refcount table or compressed data damaged
  256 - errno: it couldn't be done (254 no such file, 243 no permission,
  245 in use, 234 bad usage, 255 refused without --force)
)";
}

}  // namespace qd::cli
