//! Opens files of the machine without changing their access times, and detects whether a file
//! changed while it was read.

use crate::model::digest::Sha256;
use rustix::fs::{self, FileType, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};
use sha2::Digest as _;
use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

/// Pauses before each retry of a file that changed while it was read.
pub const PAUSES: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(100)];
/// Bytes per read.
const BUFFER: usize = 256 << 10;

/// Reads the first `before.st_size` bytes again and returns whether their SHA-256 is `sha256`.
///
/// If so, the content is a consistent state of the file, even if the file has grown since.
pub fn reads_again(file: &File, before: &fs::Stat, sha256: &Sha256) -> io::Result<bool> {
    let fields =
        |stat: &fs::Stat| (stat.st_dev, stat.st_ino, stat.st_mode, stat.st_nlink, stat.st_uid, stat.st_gid);
    // Lets a write that is in progress finish.
    std::thread::sleep(PAUSES[0]);
    let mut digest = sha2::Sha256::new();
    let mut buffer = vec![0; BUFFER];
    let mut at = 0;
    while at < before.st_size as u64 {
        let wanted = buffer.len().min((before.st_size as u64 - at) as usize);
        match rustix::io::pread(file, &mut buffer[..wanted], at)? {
            0 => break,
            got => {
                digest.update(&buffer[..got]);
                at += got as u64;
            }
        }
    }
    let after = fs::fstat(file)?;
    let is_same = fields(before) == fields(&after) && after.st_size >= before.st_size;
    Ok(is_same && <Sha256>::from(digest.finalize()) == *sha256)
}

/// Whether the error is an I/O error of the device (`EIO`).
pub fn is_fault(cause: &io::Error) -> bool {
    cause.raw_os_error() == Some(Errno::IO.raw_os_error())
}

/// Time when reading a file started.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    seconds: i64,
    nanoseconds: i64,
}

impl Moment {
    /// Two kernel ticks of 10 ms, in nanoseconds.
    ///
    /// A write sets the timestamps before it copies the data, and timestamps have the resolution
    /// of a tick. So a file that was written less than two ticks before the read can still change
    /// without a change of its timestamps.
    const TICKS: i64 = 20_000_000;

    /// Returns the time of the clock that the kernel takes file timestamps from.
    pub fn now() -> Self {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        Moment { seconds: now.tv_sec, nanoseconds: now.tv_nsec as i64 }
    }

    /// Whether the last change of the file is at least two ticks away, so that another change
    /// would change its timestamps. A timestamp in the future, after the clock was set back, also
    /// differs from that of another change.
    pub fn is_long_after(self, stat: &fs::Stat) -> bool {
        let since = (self.seconds - stat.st_ctime).saturating_mul(1_000_000_000)
            + (self.nanoseconds - stat.st_ctime_nsec as i64);
        !(-Self::TICKS..=Self::TICKS).contains(&since)
    }
}

/// Opens a regular file.
///
/// Does not follow a symbolic link, block on a FIFO, or change the access time. Fails with
/// `InvalidInput` if the object is not a regular file.
pub fn open_regular(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    open_with_stat(directory, name).map(|(file, _)| file)
}

/// Opens a regular file as [`open_regular`] does, and returns its stat too.
pub fn open_with_stat(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<(OwnedFd, fs::Stat)> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = open_quietly(directory, name, flags)?;
    let stat = retry_on_intr(|| fs::fstat(&file))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok((file, stat)),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// Opens a file with `O_NOATIME` if the kernel allows it: for the owner and for root (open(2)).
pub fn open_quietly(directory: BorrowedFd<'_>, name: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let open = |flags| retry_on_intr(|| fs::openat(directory, name, flags, Mode::empty()));
    match open(flags | OFlags::NOATIME) {
        Err(Errno::PERM) => open(flags),
        result => result,
    }
}

/// Whether no field differs that a write changes. AIDE compares the same fields.
pub fn is_unchanged(before: &fs::Stat, after: &fs::Stat) -> bool {
    let fields = |stat: &fs::Stat| {
        let times = (stat.st_mtime, stat.st_mtime_nsec, stat.st_ctime, stat.st_ctime_nsec);
        (stat.st_dev, stat.st_ino, stat.st_mode, stat.st_nlink, stat.st_uid, stat.st_gid, stat.st_size, times)
    };
    fields(before) == fields(after)
}
