//! Opens files of the machine without changing their access times, and detects whether a file
//! changed while it was read.

use super::cache_neutral::CacheNeutralReader;
use crate::model::digest::Sha256;
use crate::model::holes::{ContentHasher, Coverage, ReadHoles};
use crate::model::size;
use rustix::fs::{self, FileType, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// Pauses before each retry of a file that changed while it was read.
pub const PAUSES: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(100)];
/// Bytes per read.
const BUFFER: usize = 256 << 10;

/// Reads the first `before.st_size` bytes again and returns whether their digest is `sha256`.
///
/// If so, the content is a consistent state of the file, even if the file has grown since.
pub fn reads_again(file: &File, before: &fs::Stat, sha256: &Sha256, coverage: Coverage) -> io::Result<bool> {
    let fields =
        |stat: &fs::Stat| (stat.st_dev, stat.st_ino, stat.st_mode, stat.st_nlink, stat.st_uid, stat.st_gid);
    // Lets a write that is in progress finish.
    std::thread::sleep(PAUSES[0]);
    let mut hasher = ContentHasher::new(coverage);
    let mut buffer = vec![0; BUFFER];
    let mut source = CacheNeutralReader::with_holes(file.try_clone()?, before);
    let mut left = before.st_size as u64;
    while left > 0 {
        let hole = source.skip_hole().min(left);
        hasher.skip_zeros(hole);
        left -= hole;
        let wanted = (buffer.len() as u64).min(left) as usize;
        match source.read(&mut buffer[..wanted])? {
            0 => break,
            got => {
                hasher.update(&buffer[..got]);
                left -= got as u64;
            }
        }
    }
    let after = fs::fstat(file)?;
    let is_same = fields(before) == fields(&after) && after.st_size >= before.st_size;
    Ok(is_same && hasher.finish() == *sha256)
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
        _ => Err(not_regular()),
    }
}

fn not_regular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")
}

/// Opens a file of a context, which can be the work of another user.
///
/// Fails with `InvalidInput` if the last component is not a regular file, for example a FIFO, which
/// would block the run, or a symbolic link, which can lead to a device without end.
pub fn open_untrusted(path: &Path) -> io::Result<File> {
    match open_regular(fs::CWD, path.as_os_str().as_bytes()) {
        Err(cause) if cause.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => Err(not_regular()),
        opened => opened.map(File::from),
    }
}

/// Reads a file as [`open_untrusted`] opens it. Fails with `FileTooLarge` beyond `limit` bytes.
pub fn read_untrusted(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read_at_most(open_untrusted(path)?, limit)
}

/// Opens a file that the user named. Follows symbolic links, and accepts pipes such as `/dev/fd/N`.
///
/// A FIFO without a writer is empty.
pub fn open_named(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = open_quietly(fs::CWD, path.as_os_str().as_bytes(), flags)?;
    // O_NONBLOCK is for open(2), which would wait for a writer. Reads wait for one that exists.
    let flags = fs::fcntl_getfl(&file)?;
    fs::fcntl_setfl(&file, flags - OFlags::NONBLOCK)?;
    Ok(File::from(file))
}

/// Reads a file as [`open_named`] opens it. Fails with `FileTooLarge` beyond `limit` bytes.
pub fn read_named(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read_at_most(open_named(path)?, limit)
}

/// Reads to the end. Fails with `FileTooLarge` beyond `limit` bytes.
pub fn read_at_most(reader: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    reader.take(limit + 1).read_to_end(&mut content)?;
    if content.len() as u64 > limit {
        let text = format!("larger than {}", size::bytes(limit));
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(content)
}

/// Returns `content` as text. Fails with `InvalidData` if it is not UTF-8.
pub fn text(content: Vec<u8>) -> io::Result<String> {
    String::from_utf8(content).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not UTF-8"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_untrusted_other_types_return_error_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("file"), "12345").unwrap();
        std::fs::create_dir(path("directory")).unwrap();
        fs::mknodat(fs::CWD, path("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        std::os::unix::fs::symlink("/dev/zero", path("zero")).unwrap();
        std::os::unix::fs::symlink("file", path("link")).unwrap();
        for name in ["directory", "fifo", "zero", "link"] {
            let cause = read_untrusted(&path(name), 5).unwrap_err();
            assert_eq!(cause.to_string(), "not a regular file", "{name}");
        }
        assert_eq!(read_untrusted(&path("file"), 5).unwrap(), b"12345");
        let cause = read_untrusted(&path("file"), 4).unwrap_err();
        assert_eq!(cause.to_string(), "larger than 4 B");
    }

    #[test]
    fn read_named_device_and_fifo_end() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        fs::mknodat(fs::CWD, &fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert_eq!(read_named(&fifo, 9).unwrap(), b"");
        assert_eq!(read_named(Path::new("/dev/zero"), 9).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        let (pipe, mut writer) = io::pipe().unwrap();
        let named = format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&pipe));
        let later = std::thread::spawn(move || {
            std::thread::sleep(PAUSES[1]);
            io::Write::write_all(&mut writer, b"token").unwrap();
        });
        assert_eq!(read_named(Path::new(&named), 9).unwrap(), b"token");
        later.join().unwrap();
    }
}
