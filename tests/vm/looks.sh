# shellcheck shell=bash
# What a booted machine is, in every detail, at several moments; sourced after lib.sh. `guest VERB ...` reaches it.

# In the machine everything of ours lies in memory, so that its disk stays what it was.
inside=/run/v2d

# look NAME: device, inode, type, mode, owners, links, size, the three times, target and attributes of every object, with the mount
# table, locks, listening sockets, loop devices, mount namespaces and IPC of the machine.
look() {
  guest ssh "mkdir -p $inside/looks && bash -s $inside/looks/$1" <<'END'
set -eu
unshare -m bash -s >"$1" <<'INNER'
mount --make-rslave /
mount -o remount,bind,ro,noatime /
find / -xdev -printf '%p\t%D %i %y %m %U %G %n %s %T@ %C@ %A@ %l\n' | LC_ALL=C sort
getfattr -dhRPm - -e hex / 2>/dev/null --one-file-system || true
INNER
{ cat /proc/self/mountinfo /proc/swaps; losetup -a; ipcs -a | grep -v '^---'; { ss -Hlntu; ss -Hlnx; } | awk '{ print $1, $5 }' | LC_ALL=C sort; ls /sys/fs/cgroup/system.slice; } |
  sed 's/^/system: /' >>"$1"
END
}

# differences ONE OTHER: paths or lines of the system that differ between two looks.
differences() {
  guest ssh "diff $inside/looks/$1 $inside/looks/$2 | sed -n 's/^[<>] //p' | cut -f1 | LC_ALL=C sort -u" || true
}

# quiet: what writes by the clock would only be noise; a disk in daily use has old access times.
quiet() {
  guest ssh "systemctl stop cron postfix tick.timer phpsessionclean.timer apt-daily.timer apt-daily-upgrade.timer systemd-tmpfiles-clean.timer 2>/dev/null || true
    cd / && su postgres -c 'psql -qc CHECKPOINT' >/dev/null || true
    mkdir -p $inside && mountpoint -q $inside || mount -t tmpfs -o size=1g tmpfs $inside
    find / -xdev -newerat '@0' -print0 | xargs -0 -r touch -h -a -d '2001-01-01' 2>/dev/null || true; sync"
}

# unexpected BASELINE: of the differences on standard input those that the machine does not make by itself.
unexpected() { grep -vxF -f <(printf '%s\n' "$1" '') | grep -vE '^(/var/log/|/var/lib/systemd/timesync|system: .*/run/v2d)' || true; }
