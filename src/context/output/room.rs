//! Space limit of the output: keeps free space for the machine's own services.

use crate::error::{Code, Error, Result};
use crate::model::size;
use rustix::fs;
use std::os::fd::BorrowedFd;

/// Divisor of the file system size: 1/20 (5 %) of a file system of the machine stays free.
const RESERVED_DIVISOR: u64 = 20;
/// Maximum number of bytes that stay free.
const RESERVED_MAX: u64 = 1 << 30;
/// Divisor of the available memory: the output uses at most 1/4 of it on a memory file system.
/// More could make the kernel kill processes of the machine.
const MEMORY_DIVISOR: u64 = 4;
/// Bytes written between two checks of the free space.
const STEP: u64 = 16 << 20;
/// `f_type` of tmpfs and ramfs (`statfs(2)`).
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// Space limit of one output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpaceLimit {
    /// Bytes that must stay free.
    reserved: u64,
    /// Maximum size of the output in bytes.
    max: u64,
    written: u64,
    /// Value of `written` at the last check of the free space.
    checked: u64,
}

impl SpaceLimit {
    /// Returns the limit for an output in `directory`.
    ///
    /// `is_machines` is whether the machine uses this file system. Nothing is reserved on other
    /// ones, such as a USB drive.
    pub fn of(directory: BorrowedFd<'_>, is_machines: bool) -> std::io::Result<Self> {
        let stat = fs::fstatvfs(directory)?;
        let reserved = if is_machines {
            (stat.f_blocks * stat.f_frsize / RESERVED_DIVISOR).min(RESERVED_MAX)
        } else {
            0
        };
        let kind = fs::fstatfs(directory)?.f_type as u64;
        let max = if IN_MEMORY.contains(&kind) { available_memory() / MEMORY_DIVISOR } else { u64::MAX };
        Ok(SpaceLimit { reserved, max, written: 0, checked: 0 })
    }

    /// Fails with exit code 10 if `needed` bytes do not fit. `name` is the output path for the
    /// message.
    pub fn check(&self, directory: BorrowedFd<'_>, needed: u64, name: &str) -> Result<()> {
        let free = free(directory)?;
        if needed > self.max {
            return Err(self.memory(name));
        }
        if needed <= free.saturating_sub(self.reserved) { Ok(()) } else { Err(self.full(needed, free, name)) }
    }

    /// Counts bytes that are about to be written, and checks the free space every [`STEP`] bytes.
    pub(super) fn take(&mut self, directory: BorrowedFd<'_>, bytes: u64, name: &str) -> Result<()> {
        self.written += bytes;
        if self.written > self.max {
            return Err(self.memory(name));
        }
        if self.written - self.checked < STEP {
            return Ok(());
        }
        self.checked = self.written;
        let free = free(directory)?;
        if free >= self.reserved { Ok(()) } else { Err(self.full(self.written, free, name)) }
    }

    fn full(&self, needed: u64, free: u64, name: &str) -> Error {
        let what = format!(
            "{name} needs at least {}; {} are free, of which {} are reserved for the machine",
            size::bytes(needed),
            size::bytes(free),
            size::bytes(self.reserved.min(free))
        );
        Error::new(Code::NoSpace, what)
            .hint("choose another file system with --out; --dry-run lists the largest files")
    }

    fn memory(&self, name: &str) -> Error {
        let what = format!(
            "{name} is in memory; the context is limited to {} (a quarter of the available memory)",
            size::bytes(self.max)
        );
        Error::new(Code::NoSpace, what).hint("choose a file system on a disk with --out")
    }
}

/// Returns the free bytes without the blocks that are reserved for root (statvfs(3)).
fn free(directory: BorrowedFd<'_>) -> Result<u64> {
    let stat = fs::fstatvfs(directory)
        .map_err(|cause| Error::io("cannot determine the free space", cause.into()))?;
    Ok(stat.f_bavail * stat.f_frsize)
}

/// Returns `MemAvailable` of `/proc/meminfo` (`proc_meminfo(5)`) in bytes, or the free memory.
///
/// Kernels before 3.14 do not have `MemAvailable`.
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
    fn space_limit_reserved_space_is_no_space() {
        let dir = tempfile::tempdir().unwrap();
        let directory = std::fs::File::open(dir.path()).unwrap();
        let directory = directory.as_fd();
        let free = free(directory).unwrap();
        let limit = SpaceLimit { reserved: free / 2, max: u64::MAX, written: 0, checked: 0 };
        assert!(limit.check(directory, free / 4, "x").is_ok());
        let error = limit.check(directory, free / 4 * 3, "x").unwrap_err();
        assert_eq!(error.code, Code::NoSpace);
        assert!(error.to_string().contains("reserved for the machine"), "{error}");
        let mut full = SpaceLimit { reserved: u64::MAX / 2, ..limit.clone() };
        assert!(full.take(directory, STEP - 1, "x").is_ok(), "not yet checked");
        assert_eq!(full.take(directory, 1, "x").unwrap_err().code, Code::NoSpace);
    }

    #[test]
    fn space_limit_memory_file_system_counts_each_byte() {
        let dir = tempfile::tempdir().unwrap();
        let directory = std::fs::File::open(dir.path()).unwrap();
        let mut limit = SpaceLimit { reserved: 0, max: 100, written: 0, checked: 0 };
        assert!(limit.take(directory.as_fd(), 100, "x").is_ok());
        let error = limit.take(directory.as_fd(), 1, "x").unwrap_err();
        assert!(error.code == Code::NoSpace && error.to_string().contains("in memory"), "{error}");
        assert!(available_memory() > 1 << 20);
    }
}
