//! Determines whether a package manager is running, because its databases are incomplete then.
//!
//! Compares `/proc/locks` (proc_locks(5)) with the inodes of the files that package managers lock.
//! It takes no lock, because that could make an installation fail.

use crate::system::root::{self, Root};
use std::os::fd::AsFd;

/// Returns the PID of the process that is changing the packages of a running machine, if there is
/// one. `files` are the files that the package manager locks meanwhile, relative to the root.
pub(super) fn holder(root: &Root, files: &[&[u8]], locks: &[u8]) -> Option<u32> {
    files.iter().find_map(|path| {
        let directory = root.open_directory_exactly(crate::model::tree::parent(path)).ok()?;
        let stat = root::stat_at(directory.as_fd(), crate::model::tree::file_name(path)).ok()?;
        let (major, minor) = (rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev));
        parse(locks).find(|lock| lock.file == (major, minor, stat.st_ino)).map(|lock| lock.process)
    })
}

/// A held lock.
struct Lock {
    process: u32,
    /// Major and minor number of the device, and inode.
    file: (u32, u32, u64),
}

/// Parses lines such as `1: POSIX  ADVISORY  WRITE 708 08:01:2359 0 EOF`. A process that waits
/// for the lock has `->` after the number.
fn parse(locks: &[u8]) -> impl Iterator<Item = Lock> {
    let locks = String::from_utf8_lossy(locks).into_owned();
    let lines: Vec<Lock> = locks.lines().filter_map(parse_line).collect();
    lines.into_iter()
}

fn parse_line(line: &str) -> Option<Lock> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [_, kind, _, access, process, file, ..] = fields[..] else { return None };
    if kind == "->" || access != "WRITE" {
        return None;
    }
    let mut parts = file.split(':');
    let hex = |part: Option<&str>| u32::from_str_radix(part?, 16).ok();
    let file = (hex(parts.next())?, hex(parts.next())?, parts.next()?.parse().ok()?);
    Some(Lock { process: process.parse().ok()?, file })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: [&[u8]; 2] = [b"var/lib/dpkg/lock-frontend", b"var/lib/dpkg/lock"];

    #[test]
    fn holder_read_locks_and_waiting_processes_do_not_count() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("var/lib/dpkg")).unwrap();
        std::fs::write(dir.path().join("var/lib/dpkg/lock"), "").unwrap();
        let stat = rustix::fs::stat(dir.path().join("var/lib/dpkg/lock")).unwrap();
        let (major, minor) = (rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev));
        let file = format!("{major:02x}:{minor:02x}:{}", stat.st_ino);
        let root = Root::open(dir.path()).unwrap();
        for (line, wanted) in [
            (format!("1: POSIX  ADVISORY  WRITE 708 {file} 0 EOF\n"), Some(708)),
            (
                format!("1: FLOCK  ADVISORY  WRITE 9 00:01:1 0 EOF\n2: POSIX ADVISORY WRITE 7 {file} 0 EOF"),
                Some(7),
            ),
            (format!("1: POSIX  ADVISORY  READ 708 {file} 0 EOF\n"), None),
            (format!("1: -> POSIX  ADVISORY  WRITE 708 {file} 0 EOF\n"), None),
            (format!("1: POSIX  ADVISORY  WRITE -1 {file} 0 EOF\n"), None),
            ("1: POSIX\n\u{fffd}\n".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(holder(&root, &FILES, line.as_bytes()), wanted, "{line}");
        }
    }

    #[test]
    fn holder_locked_file_returns_pid() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("var/lib/dpkg")).unwrap();
        let path = dir.path().join("var/lib/dpkg/lock-frontend");
        let file = std::fs::File::create(&path).unwrap();
        let root = Root::open(dir.path()).unwrap();
        let seen = || holder(&root, &FILES, &std::fs::read("/proc/locks").unwrap());
        assert_eq!(seen(), None);
        rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
        assert_eq!(seen(), Some(std::process::id()));
    }
}
