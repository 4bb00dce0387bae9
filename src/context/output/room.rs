//! How much of a file system the output may take: production comes first.

use crate::error::{Code, Error, Result};
use crate::model::size;
use rustix::fs;
use std::os::fd::BorrowedFd;

/// Of a file system in use by the machine so much stays free for those that work on it, as a divisor of its size.
const KEPT_SHARE: u64 = 20;
/// And never more than this.
const KEPT_MOST: u64 = 1 << 30;
/// Of a file system in memory no more than this share of the memory that is left: the machine would kill for it.
const MEMORY_SHARE: u64 = 4;
/// So many bytes go by between two looks at what is free.
const STEP: u64 = 16 << 20;
/// `f_type` of tmpfs and ramfs (`statfs(2)`).
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// The room for one output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpaceLimit {
    /// Bytes that must stay free.
    kept: u64,
    /// Bytes that may be written in all.
    most: u64,
    written: u64,
    /// Written when the free space was looked at last.
    looked: u64,
}

impl SpaceLimit {
    /// The room beside production in an opened directory. `is_machines` is whether its file system is one that the
    /// machine itself lives on, rather than a disk that was brought.
    pub fn of(directory: BorrowedFd<'_>, is_machines: bool) -> std::io::Result<Self> {
        let stat = fs::fstatvfs(directory)?;
        let kept = if is_machines { (stat.f_blocks * stat.f_frsize / KEPT_SHARE).min(KEPT_MOST) } else { 0 };
        let kind = fs::fstatfs(directory)?.f_type as u64;
        let most = if IN_MEMORY.contains(&kind) { available_memory() / MEMORY_SHARE } else { u64::MAX };
        Ok(SpaceLimit { kept, most, written: 0, looked: 0 })
    }

    /// Whether so many bytes fit; `name` is where, for the message.
    pub fn check(&self, directory: BorrowedFd<'_>, needed: u64, name: &str) -> Result<()> {
        let free = free(directory)?;
        if needed > self.most {
            return Err(self.memory(name));
        }
        if needed <= free.saturating_sub(self.kept) { Ok(()) } else { Err(self.full(needed, free, name)) }
    }

    /// Counts what is about to be written, and looks at what is free from time to time.
    pub(super) fn take(&mut self, directory: BorrowedFd<'_>, bytes: u64, name: &str) -> Result<()> {
        self.written += bytes;
        if self.written > self.most {
            return Err(self.memory(name));
        }
        if self.written - self.looked < STEP {
            return Ok(());
        }
        self.looked = self.written;
        let free = free(directory)?;
        if free >= self.kept { Ok(()) } else { Err(self.full(self.written, free, name)) }
    }

    fn full(&self, needed: u64, free: u64, name: &str) -> Error {
        let what = format!(
            "{name} needs at least {}; {} are free, of which {} stay for the machine",
            size::bytes(needed),
            size::bytes(free),
            size::bytes(self.kept.min(free))
        );
        Error::new(Code::NoSpace, what)
            .hint("choose another file system with --out; --dry-run shows what is large")
    }

    fn memory(&self, name: &str) -> Error {
        let what = format!(
            "{name} is in memory, of which the context may take {} (a quarter of what is left)",
            size::bytes(self.most)
        );
        Error::new(Code::NoSpace, what).hint("choose a file system on a disk with --out")
    }
}

/// What any user may still write: root's reserve is not for this.
fn free(directory: BorrowedFd<'_>) -> Result<u64> {
    let stat = fs::fstatvfs(directory).map_err(|cause| Error::io("free space", cause.into()))?;
    Ok(stat.f_bavail * stat.f_frsize)
}

/// `MemAvailable` of `/proc/meminfo` (`proc_meminfo(5)`) in bytes; without it, what is free.
fn available_memory() -> u64 {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = meminfo.lines().find_map(|line| {
        line.strip_prefix("MemAvailable:")?.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
    });
    let info = rustix::system::sysinfo();
    kib.map_or(info.freeram as u64 * u64::from(info.mem_unit), |kib| kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn what_is_kept_for_the_machine_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let directory = std::fs::File::open(dir.path()).unwrap();
        let directory = directory.as_fd();
        let free = free(directory).unwrap();
        let room = SpaceLimit { kept: free / 2, most: u64::MAX, written: 0, looked: 0 };
        assert!(room.check(directory, free / 4, "x").is_ok());
        let error = room.check(directory, free / 4 * 3, "x").unwrap_err();
        assert_eq!(error.code, Code::NoSpace);
        assert!(error.to_string().contains("stay for the machine"), "{error}");
        let mut full = SpaceLimit { kept: u64::MAX / 2, ..room.clone() };
        assert!(full.take(directory, STEP - 1, "x").is_ok(), "not yet looked at");
        assert_eq!(full.take(directory, 1, "x").unwrap_err().code, Code::NoSpace);
    }

    #[test]
    fn memory_is_counted_to_the_byte() {
        let dir = tempfile::tempdir().unwrap();
        let directory = std::fs::File::open(dir.path()).unwrap();
        let mut room = SpaceLimit { kept: 0, most: 100, written: 0, looked: 0 };
        assert!(room.take(directory.as_fd(), 100, "x").is_ok());
        let error = room.take(directory.as_fd(), 1, "x").unwrap_err();
        assert!(error.code == Code::NoSpace && error.to_string().contains("in memory"), "{error}");
        assert!(available_memory() > 1 << 20);
    }
}
