//! Compares the readers of `/proc` with those of the `procfs-core` crate: the same numbers if
//! both read a file, and what that crate loses. `docs/decisions/0002-procfs.md` has the
//! conclusion.

use crate::detect::fixtures::unpack;
use crate::detect::sockets::{Protocol, UnixName, parse_inet, parse_unix};
use crate::detect::{cgroup, hardware, process_files};
use crate::system::mounts;
use procfs_core::net::{TcpNetEntries, UnixNetEntries};
use procfs_core::process::{LimitValue, Limits, MemoryMaps, MountInfos, Stat, Status};
use procfs_core::{ExplicitSystemInfo, FromBufRead, FromBufReadSI, FromRead, Locks, Meminfo, ProcessCGroups};
use std::panic::catch_unwind;
use std::path::PathBuf;

const SYSTEM: ExplicitSystemInfo = ExplicitSystemInfo {
    boot_time_secs: 0,
    ticks_per_second: 100,
    page_size: 4096,
    is_little_endian: cfg!(target_endian = "little"),
};

fn own(name: &str) -> Vec<u8> {
    std::fs::read(format!("/proc/{name}")).unwrap()
}

fn lines(table: &[u8]) -> impl Iterator<Item = &[u8]> {
    table.split(|&byte| byte == b'\n').skip(1).filter(|line| !line.is_empty())
}

#[test]
fn readers_own_process_agree_with_procfs_core() {
    let text = own("self/stat");
    let (ours, theirs) = (process_files::stat(&text).unwrap(), Stat::from_read(&*text).unwrap());
    assert_eq!((&*ours.comm, ours.parent), (theirs.comm.as_bytes(), theirs.ppid as u32));
    assert_eq!((i64::from(ours.nice), ours.started), (theirs.nice, theirs.starttime));
    let text = own("self/status");
    let ((ours, umask), theirs) =
        (process_files::status(&text).unwrap(), Status::from_buf_read(&*text).unwrap());
    assert_eq!(
        [ours.user.real, ours.user.effective, ours.user.saved],
        [theirs.ruid, theirs.euid, theirs.suid]
    );
    assert_eq!((ours.capabilities.bounding, umask), (theirs.capbnd.unwrap(), theirs.umask));
    let text = own("self/limits");
    let (ours, theirs) = (process_files::limits(&text), Limits::from_buf_read(&*text).unwrap());
    let value = |value| match value {
        LimitValue::Unlimited => None,
        LimitValue::Value(value) => Some(value),
    };
    let theirs = theirs.max_open_files;
    assert_eq!(
        (ours["nofile"].soft, ours["nofile"].hard),
        (value(theirs.soft_limit), value(theirs.hard_limit))
    );
    let text = own("meminfo");
    let (ours, theirs) = (hardware::memory(&text), Meminfo::from_buf_read(&*text).unwrap());
    assert_eq!((ours.total, ours.swap_free), (theirs.mem_total, theirs.swap_free));
    assert_eq!(Some(ours.available), theirs.mem_available);
}

#[test]
fn parse_inet_real_tables_agrees_with_procfs_core() {
    for machine in ["kubernetes", "rabbitmq", "vault"] {
        let (_directory, proc) = unpack(&format!("{machine}.tar.xz"));
        for name in ["tcp", "tcp6"] {
            let Ok(table) = proc.read(format!("1/net/{name}").as_bytes()) else { continue };
            let ours = lines(&table).map(|line| parse_inet(line, Protocol::Tcp).unwrap());
            let ours: Vec<_> =
                ours.map(|socket| (socket.local, socket.remote, socket.uid, socket.inode)).collect();
            let theirs = TcpNetEntries::from_buf_read(&*table, &SYSTEM).unwrap().0.into_iter();
            let theirs: Vec<_> = theirs
                .map(|entry| (entry.local_address, entry.remote_address, entry.uid, entry.inode))
                .collect();
            assert_eq!(ours, theirs, "{machine} {name}");
        }
    }
}

/// `procfs-core` rejects a file with a name that is not UTF-8, and any user can create such
/// names.
#[test]
fn readers_name_is_no_utf8_lose_nothing() {
    let mountinfo = b"1 0 254:1 / / rw - ext4 /dev/vda1 rw\n2 1 254:2 / /srv/\xff rw - xfs /dev/vdb rw\n";
    assert!(MountInfos::from_buf_read(&mountinfo[..]).is_err());
    assert_eq!(mounts::parse(mountinfo, b"/").iter().count(), 2);

    let maps = b"1000-2000 r-xp 00000000 fd:10 77 /usr/bin/a\n2000-3000 rw-s 00000000 fd:10 78 /srv/\xff\n";
    assert!(MemoryMaps::from_buf_read(&maps[..]).is_err());
    assert_eq!(process_files::maps(maps).len(), 2);

    let status = String::from_utf8(own("self/status")).unwrap();
    let name = status.lines().next().unwrap();
    let status = [b"Name:\t\xff", &status.as_bytes()[name.len()..]].concat();
    assert!(Status::from_buf_read(&*status).is_err());
    assert!(process_files::status(&status).is_some());

    let cgroup = b"1:name=systemd:/\xff\n0::/system.slice/a.service\n";
    assert!(ProcessCGroups::from_buf_read(&cgroup[..]).is_err());
    assert_eq!(cgroup::path_of(cgroup), b"/system.slice/a.service");

    let unix = b"heading\n0: 00000002 00000000 00010000 0001 01 17 /run/a\n\
        0: 00000002 00000000 00010000 0001 01 18 /run/\xff\n";
    assert!(UnixNetEntries::from_buf_read(&unix[..]).is_err());
    assert_eq!(lines(unix).filter_map(parse_unix).count(), 2);
}

/// `procfs-core` truncates a name at a space, and omits the flag of listening sockets.
#[test]
fn parse_unix_name_has_space_keeps_it() {
    let table = b"heading\n0: 00000002 00000000 00010000 0001 01 17 /run/my socket\n";
    let theirs = UnixNetEntries::from_buf_read(&table[..]).unwrap().0;
    assert_eq!(theirs[0].path, Some(PathBuf::from("/run/my")));
    let ours = lines(table).find_map(parse_unix).unwrap();
    assert_eq!((ours.name, ours.listens), (Some(UnixName::Path(b"/run/my socket"[..].into())), true));
}

/// `procfs-core` rejects a file with one line of a newer kernel, or without one row.
#[test]
fn readers_one_line_not_understood_keep_others() {
    let table = b"heading\n0: 0100007F:0016 00000000:0000 0A 0:0 0:0 0 7 0 99 1\n0: garbage\n";
    assert!(TcpNetEntries::from_buf_read(&table[..], &SYSTEM).is_err());
    assert_eq!(lines(table).filter_map(|line| parse_inet(line, Protocol::Tcp)).count(), 1);

    let meminfo = b"MemTotal: 16 kB\nMemFree: 8 kB\nMemAvailable: 12 kB\n";
    assert!(Meminfo::from_buf_read(&meminfo[..]).is_err());
    assert_eq!(hardware::memory(meminfo).available, 12 << 10);

    // The kernel writes this for a lock of a file without an inode.
    let locks = b"1: POSIX ADVISORY WRITE 708 <none>:0 0 EOF\n";
    assert!(Locks::from_buf_read(&locks[..]).is_err());

    let limits = b"Limit Soft Hard Units\nMax open files 1024 4096 files\n";
    assert!(Limits::from_buf_read(&limits[..]).is_err());
    assert_eq!(process_files::limits(limits)["nofile"].hard, Some(4096));
}

/// The release build aborts at a panic.
#[test]
fn readers_truncated_text_never_panic() {
    assert!(catch_unwind(|| Stat::from_read(&b"(a) S"[..]).is_err()).is_err());
    assert_eq!(process_files::stat(b"(a) S"), None);
}
