//! Opens and reads the machine's files without a trace, and tells whether they held still meanwhile.

use crate::model::digest::Sha256;
use rustix::fs::{self, FileType, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};
use sha2::Digest as _;
use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

/// Pauses before a file that changed is read again; after the last it is given up.
pub const PAUSES: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(100)];
/// Bytes a read.
const BUFFER: usize = 256 << 10;

/// Whether a file that may have changed meanwhile gives the same content once more, though it may have grown since: then it
/// is a state that the file had.
pub fn reads_again(file: &File, before: &fs::Stat, sha256: &Sha256) -> io::Result<bool> {
    let fields =
        |stat: &fs::Stat| (stat.st_dev, stat.st_ino, stat.st_mode, stat.st_nlink, stat.st_uid, stat.st_gid);
    // A write that is under way comes to its end.
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

/// Whether the disk could not give what it should hold.
pub fn is_fault(cause: &io::Error) -> bool {
    cause.raw_os_error() == Some(Errno::IO.raw_os_error())
}

/// When a reading began.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    seconds: i64,
    nanoseconds: i64,
}

impl Moment {
    /// A write sets a file's times before its bytes are there, and times only change with the kernel's tick, of at most
    /// 10 ms: a file written to so shortly before a reading may be written to still, with the same times.
    const TICKS: i64 = 20_000_000;

    /// Now, by the clock that files get their times from.
    pub fn now() -> Self {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        Moment { seconds: now.tv_sec, nanoseconds: now.tv_nsec as i64 }
    }

    /// Whether the file's last change is so long ago that its times tell whether there was another. A change in the future is
    /// a clock that was set, and tells nothing.
    pub fn is_long_after(self, stat: &fs::Stat) -> bool {
        let since = (self.seconds - stat.st_ctime).saturating_mul(1_000_000_000)
            + (self.nanoseconds - stat.st_ctime_nsec as i64);
        !(-Self::TICKS..=Self::TICKS).contains(&since)
    }
}

/// Opens a regular file without following a link, blocking on a FIFO or leaving an access time behind.
/// Anything else in its place is `InvalidInput`.
pub fn open_regular(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    open_with_stat(directory, name).map(|(file, _)| file)
}

/// The same with its stat.
pub fn open_with_stat(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<(OwnedFd, fs::Stat)> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = open_quietly(directory, name, flags)?;
    let stat = retry_on_intr(|| fs::fstat(&file))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok((file, stat)),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// `openat(2)` with `O_NOATIME` where the kernel allows it: to the owner and to root.
pub fn open_quietly(directory: BorrowedFd<'_>, name: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let open = |flags| retry_on_intr(|| fs::openat(directory, name, flags, Mode::empty()));
    match open(flags | OFlags::NOATIME) {
        Err(Errno::PERM) => open(flags),
        result => result,
    }
}

/// Whether nothing that a write touches differs (the set of fields that AIDE compares).
pub fn is_unchanged(before: &fs::Stat, after: &fs::Stat) -> bool {
    let fields = |stat: &fs::Stat| {
        let times = (stat.st_mtime, stat.st_mtime_nsec, stat.st_ctime, stat.st_ctime_nsec);
        (stat.st_dev, stat.st_ino, stat.st_mode, stat.st_nlink, stat.st_uid, stat.st_gid, stat.st_size, times)
    };
    fields(before) == fields(after)
}
