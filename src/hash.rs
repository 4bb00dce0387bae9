//! Reads a file once and tells what it is, or that it would not hold still.

mod abreast;

pub use abreast::{Abreast, Wanted};

use crate::policy::content::{Detection, Kind, Search};
use crate::tree::{Md5, Sha256};
use md5::Digest as _;
use rustix::fs::{self, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

/// Pauses before a file that changed is read again; after the last it is given up.
pub const PAUSES: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(100)];
/// Bytes a read.
const BUFFER: usize = 256 << 10;

thread_local! {
    static BYTES: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER]);
}

/// A file that stayed the same while its content was read.
#[derive(Debug)]
pub struct StableFile {
    /// The file, still open.
    pub file: File,
    /// Its stat, before and after.
    pub stat: fs::Stat,
    /// Bytes read; equal to the size.
    pub size: u64,
    /// SHA-256 of the content.
    pub sha256: Sha256,
    /// MD5 of the content, if asked for.
    pub md5: Option<Md5>,
    /// The secret that it holds, if it was searched.
    pub secret: Option<Detection>,
}

/// What came of reading a file.
#[derive(Debug)]
pub enum Reading {
    /// The same before and after.
    Stable(Box<StableFile>),
    /// Changed during each of the tries.
    Changing(fs::Stat),
    /// Not a regular file (any more).
    Replaced,
}

/// Reads the regular file `name` in `directory`, again if it changes meanwhile, and searches the same bytes for secrets if
/// told what kind of file it is.
pub fn read(
    directory: BorrowedFd<'_>,
    name: &[u8],
    with_md5: bool,
    search: Option<Kind>,
) -> io::Result<Reading> {
    let mut pauses = PAUSES.iter();
    loop {
        let Some((file, before)) =
            open_with_stat(directory, name).map_or_else(not_regular, |opened| Ok(Some(opened)))?
        else {
            return Ok(Reading::Replaced);
        };
        let file = File::from(file);
        let content = digest(&file, before.st_size as u64, with_md5, search)?;
        let after = fs::fstat(&file)?;
        if is_unchanged(&before, &after) && content.size == after.st_size as u64 {
            let Digested { size, sha256, md5, secret } = content;
            return Ok(Reading::Stable(Box::new(StableFile {
                file,
                stat: after,
                size,
                sha256,
                md5,
                secret,
            })));
        }
        match pauses.next() {
            Some(pause) => std::thread::sleep(*pause),
            None => return Ok(Reading::Changing(after)),
        }
    }
}

/// Opens a regular file without following a link, blocking on a FIFO or leaving an access time behind.
/// Anything else in its place is `InvalidInput`.
pub fn open_regular(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    open_with_stat(directory, name).map(|(file, _)| file)
}

fn open_with_stat(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<(OwnedFd, fs::Stat)> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = open_quietly(directory, name, flags)?;
    let stat = fs::fstat(&file)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok((file, stat)),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// `openat(2)` with `O_NOATIME` where the kernel allows it: to the owner and to root.
pub fn open_quietly(directory: BorrowedFd<'_>, name: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    match fs::openat(directory, name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => fs::openat(directory, name, flags, Mode::empty()),
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

/// A link (`ELOOP`) or another type has taken the file's place.
fn not_regular<T>(cause: io::Error) -> io::Result<Option<T>> {
    let replaced = cause.kind() == io::ErrorKind::InvalidInput
        || cause.raw_os_error() == Some(Errno::LOOP.raw_os_error())
        || cause.raw_os_error() == Some(Errno::NXIO.raw_os_error());
    if replaced { Ok(None) } else { Err(cause) }
}

struct Digested {
    size: u64,
    sha256: Sha256,
    md5: Option<Md5>,
    secret: Option<Detection>,
}

/// At `expected` bytes the file is taken to end: a longer one has another size afterwards.
fn digest(file: &File, expected: u64, with_md5: bool, search: Option<Kind>) -> io::Result<Digested> {
    let mut sha256 = sha2::Sha256::new();
    let mut md5 = with_md5.then(md5::Md5::new);
    let mut search = search.map(Search::new);
    let mut size = 0;
    BYTES.with_borrow_mut(|buffer| {
        loop {
            let got = read_some(file, buffer)?;
            let bytes = &buffer[..got];
            size += got as u64;
            if let Some(search) = &mut search {
                search.feed(bytes);
            }
            match &mut md5 {
                None => sha256.update(bytes),
                // Block by block, the processor works on both at once: 1.2 times as fast as one after the other.
                Some(md5) => bytes.chunks(64).for_each(|block| {
                    sha256.update(block);
                    md5.update(block);
                }),
            }
            if got == 0 || size == expected {
                return Ok::<(), io::Error>(());
            }
        }
    })?;
    Ok(Digested {
        size,
        sha256: sha256.finalize().into(),
        md5: md5.map(|md5| md5.finalize().into()),
        secret: search.and_then(Search::finish),
    })
}

/// One read that no signal cuts short.
fn read_some(mut file: &File, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(buffer) {
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::escape::hex;
    use std::io::{Seek, Write};
    use std::os::fd::AsFd;

    fn directory() -> (tempfile::TempDir, File) {
        let dir = tempfile::tempdir().unwrap();
        let fd = File::open(dir.path()).unwrap();
        (dir, fd)
    }

    #[test]
    fn one_read_gives_both_digests() {
        let (dir, fd) = directory();
        std::fs::write(dir.path().join("f"), "abc").unwrap();
        let Reading::Stable(read) = read(fd.as_fd(), b"f", true, None).unwrap() else { panic!("not stable") };
        assert_eq!(hex(&read.md5.unwrap()), "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(hex(&read.sha256), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(read.size, 3);
    }

    #[test]
    fn links_fifos_and_directories_are_not_read() {
        let (dir, fd) = directory();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link")).unwrap();
        fs::mknodat(&fd, "fifo", FileType::Fifo, Mode::RUSR, 0).unwrap();
        std::fs::create_dir(dir.path().join("dir")).unwrap();
        for name in ["link", "fifo", "dir"] {
            assert!(
                matches!(read(fd.as_fd(), name.as_bytes(), false, None).unwrap(), Reading::Replaced),
                "{name}"
            );
        }
        assert_eq!(read(fd.as_fd(), b"none", false, None).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_file_that_never_holds_still_is_given_up() {
        let (dir, fd) = directory();
        let path = dir.path().join("busy");
        std::fs::write(&path, vec![0; 8 << 20]).unwrap();
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                let mut file = File::options().write(true).open(&path).unwrap();
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    file.rewind().unwrap();
                    file.write_all(b"x").unwrap();
                    std::thread::sleep(Duration::from_micros(200));
                }
            });
            let reading = read(fd.as_fd(), b"busy", false, None).unwrap();
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(matches!(reading, Reading::Changing(_)), "{reading:?}");
        });
    }
}
