# shellcheck shell=bash
# What a booted machine is, in every detail, at several moments; sourced after lib.sh. `guest VERB ...` reaches it.

# In the machine, all files of the tests are in memory, so that its disk is not changed.
inside=/run/v2d

# look NAME: device, inode, type, mode, owners, links, size, the three times, target and attributes of every object, with the mount
# table, locks, listening sockets, loop devices, mount namespaces and IPC of the machine.
look() {
  guest ssh "mkdir -p $inside/looks && bash -s $inside/looks/$1 $inside" <<'END'
set -eu
unshare -m bash -s "$2" >"$1" <<'INNER'
set -euo pipefail
mount --make-rslave /
mount -o remount,bind,ro,noatime /
find / -xdev -printf '%p\t%D %i %y %m %U %G %n %s %T@ %C@ %A@ %l\n' | LC_ALL=C sort
find / -xdev -print0 | LC_ALL=C sort -z | xargs -0 "$1/getfattr" -dhm - -e hex --absolute-names |
  awk '/^# file: / { path = substr($0, 9); next } NF { print path "\t" $0 }'
INNER
{ cat /proc/self/mountinfo /proc/swaps; losetup -a; ipcs -a | grep -v '^---'; { ss -Hlntu; ss -Hlnx; } | awk '{ print $1, $5 }' | LC_ALL=C sort; ls /sys/fs/cgroup/system.slice; } |
  sed 's/^/system: /' >>"$1"
grep -q '	security.capability=0x' "$1" || { echo 'no attributes were seen' >&2; exit 1; }
END
}

# differences ONE OTHER: paths or lines of the system that differ between two looks.
differences() {
  guest ssh "{ diff $inside/looks/$1 $inside/looks/$2 || [ \$? = 1 ]; } >$inside/difference && sed -n 's/^[<>] //p' $inside/difference | cut -f1 | LC_ALL=C sort -u"
}

# quiet: what writes by the clock would only be noise; a disk in daily use has old access times. What shows attributes comes along, for
# few machines have it.
quiet() {
  guest ssh "systemctl stop cron postfix tick.timer phpsessionclean.timer apt-daily.timer apt-daily-upgrade.timer systemd-tmpfiles-clean.timer 2>/dev/null || true
    cd / && su postgres -c 'psql -qc CHECKPOINT' >/dev/null || true
    mkdir -p $inside && mountpoint -q $inside || mount -t tmpfs -o size=1g tmpfs $inside
    find / -xdev -newerat '@0' -print0 | xargs -0 -r touch -h -a -d '2001-01-01' 2>/dev/null || true; sync"
  need attr
  guest push "$(command -v getfattr)" "$inside/getfattr"
}

# unexpected BASELINE: of the differences on standard input those that the machine does not make by itself. The links of /proc are the
# processes that there are.
unexpected() { grep -vxF -f <(printf '%s\n' "$1" '') | grep -vE '^(/proc$|/var/log/|/var/lib/systemd/timesync|system: .*/run/v2d)' || true; }
