//! Reads a file once, computes its digests, and detects changes during the read.

use crate::model::digest::{Algorithm, Digest, Sha256};
use crate::model::holes::{ContentHasher, Coverage, ReadHoles};
use crate::policy::content::{Detection, HOLE, Kind, Search};
use crate::system::cache_neutral::CacheNeutralReader;
use crate::system::file::{Moment, PAUSES, is_fault, is_unchanged, open_with_stat, reads_again};
use rustix::fs;
use rustix::io::Errno;
use sha2::Digest as _;
use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::BorrowedFd;

/// Size of one read, in bytes.
const BUFFER: usize = 256 << 10;

thread_local! {
    static BYTES: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER]);
}

/// Properties of a file's content to determine in one read.
#[derive(Clone, Copy, Debug)]
pub struct Aspects {
    /// Bytes that the digest has to cover. `None` if no digest is needed: then a sparse file gets
    /// none, because hashing the zeros of its holes costs more than reading its data.
    pub coverage: Option<Coverage>,
    /// Algorithm of the digest that a package database claims for the file.
    pub claimed: Option<Algorithm>,
    /// Kind of file for the search for secrets; `None` disables the search.
    pub search: Option<Kind>,
}

/// A file that stayed the same while its content was read.
#[derive(Debug)]
pub struct StableFile {
    /// The file, still open.
    pub file: File,
    /// `stat(2)` result from before the read; the one from after it is equal unless the file grew.
    pub stat: fs::Stat,
    /// Bytes that `sha256` covers.
    pub coverage: Coverage,
    /// Number of bytes read; equal to `st_size`.
    pub size: u64,
    /// Digest of the content; `None` if it has holes and [`Aspects::coverage`] is `None`.
    pub sha256: Option<Sha256>,
    /// Digest of the content by the algorithm of [`Aspects::claimed`]; `None` for SHA-256.
    pub claimed: Option<Digest>,
    /// Secret in the content, if the file was searched.
    pub secret: Option<Detection>,
    /// Whether the file grew during the read. The content is that of the start of the read.
    pub growing: bool,
}

/// Result of reading a file.
#[derive(Debug)]
pub enum Reading {
    /// The file was the same before and after the read.
    Stable(Box<StableFile>),
    /// The file changed during each attempt.
    Changing(fs::Stat),
    /// The name no longer belongs to a regular file.
    Replaced,
}

/// Reads the regular file `name` in `directory`.
///
/// Retries after a pause if the file changes during the read or the disk reports a fault. Searches
/// the same bytes for secrets if [`Aspects::search`] is set.
pub fn read(directory: BorrowedFd<'_>, name: &[u8], aspects: Aspects) -> io::Result<Reading> {
    let mut pauses = PAUSES.iter();
    loop {
        let reading = read_once(directory, name, aspects);
        let is_transient = match &reading {
            Ok(reading) => matches!(reading, Reading::Changing(_)),
            Err(cause) => is_fault(cause),
        };
        match pauses.next() {
            Some(pause) if is_transient => std::thread::sleep(*pause),
            _ => return reading,
        }
    }
}

fn read_once(directory: BorrowedFd<'_>, name: &[u8], aspects: Aspects) -> io::Result<Reading> {
    let Some((file, before)) =
        open_with_stat(directory, name).map_or_else(not_regular, |opened| Ok(Some(opened)))?
    else {
        return Ok(Reading::Replaced);
    };
    let began = Moment::now();
    let mut source = CacheNeutralReader::with_holes(File::from(file), &before);
    let Digested { size, sha256, claimed, secret } = digest(&mut source, before.st_size as u64, aspects)?;
    // The archive builder reads unpackaged files again, so their pages stay in the page cache. Files
    // with a claimed digest are usually equal to their package's and are not read again.
    let file = if aspects.claimed.is_some() { source.forget() } else { source.keep() };
    let after = fs::fstat(&file)?;
    let is_whole = size == before.st_size as u64;
    let is_old = is_unchanged(&before, &after) && began.is_long_after(&after);
    // Timestamps have a coarse resolution, so a recent change can hide a second one. A second read
    // decides then. Without a digest to compare with, `read` retries until the change is old.
    let coverage = aspects.coverage.unwrap_or_default();
    let again = |sha256| reads_again(&file, &before, &sha256, coverage);
    let is_stable = is_old || sha256.map_or(Ok(false), again)?;
    if is_whole && is_stable {
        let (stat, growing) = (before, fs::fstat(&file)?.st_size > before.st_size);
        return Ok(Reading::Stable(Box::new(StableFile {
            file,
            stat,
            coverage,
            size,
            sha256,
            claimed,
            secret,
            growing,
        })));
    }
    Ok(Reading::Changing(after))
}

/// Returns `None` for the errors of `open(2)` that mean "not a regular file": `ELOOP` for a
/// symbolic link, `ENXIO` for a socket, and `InvalidInput` for other types.
fn not_regular<T>(cause: io::Error) -> io::Result<Option<T>> {
    let replaced = cause.kind() == io::ErrorKind::InvalidInput
        || cause.raw_os_error() == Some(Errno::LOOP.raw_os_error())
        || cause.raw_os_error() == Some(Errno::NXIO.raw_os_error());
    if replaced { Ok(None) } else { Err(cause) }
}

/// Computes the digest that a package claims, in addition to the SHA-256.
enum ClaimedHasher {
    Md5(md5::Md5),
    Sha1(sha1::Sha1),
}

impl ClaimedHasher {
    /// Returns `None` for SHA-256, because [`digest`] always computes it.
    fn new(algorithm: Algorithm) -> Option<Self> {
        match algorithm {
            Algorithm::Md5 => Some(ClaimedHasher::Md5(md5::Md5::new())),
            Algorithm::Sha1 => Some(ClaimedHasher::Sha1(sha1::Digest::new())),
            Algorithm::Sha256 => None,
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            ClaimedHasher::Md5(md5) => md5.update(bytes),
            ClaimedHasher::Sha1(sha1) => sha1::Digest::update(sha1, bytes),
        }
    }

    fn finish(self) -> Digest {
        match self {
            ClaimedHasher::Md5(md5) => Digest::Md5(md5.finalize().into()),
            ClaimedHasher::Sha1(sha1) => Digest::Sha1(sha1::Digest::finalize(sha1).into()),
        }
    }
}

struct Digested {
    size: u64,
    sha256: Option<Sha256>,
    claimed: Option<Digest>,
    secret: Option<Detection>,
}

/// Reads `file` up to `expected` bytes, so that a growing file has an end.
fn digest(file: &mut CacheNeutralReader, expected: u64, aspects: Aspects) -> io::Result<Digested> {
    let mut hasher = ContentHasher::new(aspects.coverage.unwrap_or_default());
    let mut claimed = aspects.claimed.and_then(ClaimedHasher::new);
    let mut search = aspects.search.map(Search::new);
    let (mut size, mut is_complete) = (0, true);
    BYTES.with_borrow_mut(|buffer| {
        loop {
            let hole = if claimed.is_none() { file.skip_hole() } else { 0 };
            if hole > 0 {
                size += hole;
                match aspects.coverage {
                    Some(_) => hasher.skip_zeros(hole),
                    None => is_complete = false,
                }
                search.iter_mut().for_each(|search| search.feed(&HOLE));
            }
            let rest = expected.saturating_sub(size).min(buffer.len() as u64) as usize;
            let got = file.read(&mut buffer[..rest])?;
            let bytes = &buffer[..got];
            size += got as u64;
            if let Some(search) = &mut search {
                search.feed(bytes);
            }
            match &mut claimed {
                None => hasher.update(bytes),
                // With alternating blocks the CPU computes both digests in parallel: 1.2 times as
                // fast as one digest after the other.
                Some(claimed) => bytes.chunks(64).for_each(|block| {
                    hasher.update(block);
                    claimed.update(block);
                }),
            }
            if got == 0 || size == expected {
                return Ok::<(), io::Error>(());
            }
        }
    })?;
    Ok(Digested {
        size,
        sha256: is_complete.then(|| hasher.finish()),
        claimed: claimed.map(ClaimedHasher::finish),
        secret: search.and_then(Search::finish),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::escape::hex;
    use rustix::fs::{FileType, Mode};
    use std::io::{Seek, Write};
    use std::os::fd::AsFd;
    use std::time::Duration;

    const CONTENT: Aspects = Aspects { coverage: Some(Coverage::All), claimed: None, search: None };

    fn directory() -> (tempfile::TempDir, File) {
        let dir = tempfile::tempdir().unwrap();
        let fd = File::open(dir.path()).unwrap();
        (dir, fd)
    }

    #[test]
    fn read_growing_file_returns_content_of_the_start() {
        let (dir, fd) = directory();
        let path = dir.path().join("log");
        std::fs::write(&path, "one\n").unwrap();
        let before = fs::stat(&path).unwrap();
        let digest = |content: &str| -> Sha256 { sha2::Sha256::digest(content).into() };
        let again = |content| {
            let file = File::open(&path).unwrap();
            reads_again(&file, &before, &digest(content), Coverage::All).unwrap()
        };
        assert!(again("one\n"));
        File::options().append(true).open(&path).unwrap().write_all(b"two\n").unwrap();
        assert!(again("one\n"));
        assert!(!again("eno\n"), "the start of the file differs");
        File::options().write(true).open(&path).unwrap().set_len(2).unwrap();
        assert!(!again("on"), "the file is shorter");
        // 4 MiB take long enough to read for the writer to append meanwhile.
        std::fs::write(&path, vec![b'.'; 4 << 20]).unwrap();
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut log = File::options().append(true).open(&path).unwrap();
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    log.write_all(b"x").unwrap();
                    std::thread::sleep(Duration::from_micros(100));
                }
            });
            let readings: Vec<Reading> = (0..5).map(|_| read(fd.as_fd(), b"log", CONTENT).unwrap()).collect();
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            let mut grew = 0;
            for reading in readings {
                let Reading::Stable(read) = reading else { panic!("not stable") };
                grew += u32::from(read.growing);
                assert_eq!(read.stat.st_size as u64, read.size);
            }
            assert!(grew > 0, "the file did not grow during any read");
        });
    }

    #[test]
    fn read_claimed_algorithm_returns_both_digests() {
        let (dir, fd) = directory();
        std::fs::write(dir.path().join("f"), "abc").unwrap();
        let Reading::Stable(read) =
            read(fd.as_fd(), b"f", Aspects { claimed: Some(Algorithm::Md5), ..CONTENT }).unwrap()
        else {
            panic!("not stable")
        };
        let Some(Digest::Md5(md5)) = read.claimed else { panic!("no MD5") };
        assert_eq!(hex(&md5), "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(
            hex(&read.sha256.unwrap()),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(read.size, 3);
        let read = |algorithm| match super::read(
            fd.as_fd(),
            b"f",
            Aspects { claimed: Some(algorithm), ..CONTENT },
        ) {
            Ok(Reading::Stable(read)) => read.claimed,
            other => panic!("{other:?}"),
        };
        let Some(Digest::Sha1(sha1)) = read(Algorithm::Sha1) else { panic!("no SHA-1") };
        assert_eq!(hex(&sha1), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(read(Algorithm::Sha256), None);
    }

    #[test]
    fn read_file_with_holes_reads_only_its_data() {
        // Not every file system in memory reports holes (lseek(2)); /var/tmp is usually on a disk.
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let fd = File::open(dir.path()).unwrap();
        let mut content = vec![0; 3 << 20];
        let file = File::create(dir.path().join("f")).unwrap();
        for (at, text) in [(0, "begin"), (1 << 20, "middle")] {
            std::os::unix::fs::FileExt::write_all_at(&file, text.as_bytes(), at as u64).unwrap();
            content[at..at + text.len()].copy_from_slice(text.as_bytes());
        }
        file.set_len(3 << 20).unwrap();
        file.sync_all().unwrap();
        let read = |aspects| match read(fd.as_fd(), b"f", aspects).unwrap() {
            Reading::Stable(read) => (read.size, read.sha256),
            other => panic!("{other:?}"),
        };
        let digest: Sha256 = sha2::Sha256::digest(&content).into();
        assert_eq!(read(CONTENT), (3 << 20, Some(digest)));
        assert_eq!(read(Aspects { coverage: None, ..CONTENT }), (3 << 20, None));
        let large = File::options().write(true).open(dir.path().join("f")).unwrap();
        large.set_len(4 << 40).unwrap();
        // 4 TiB of holes must take no time.
        assert_eq!(read(Aspects { coverage: None, ..CONTENT }), (4 << 40, None));
        let mut hasher = ContentHasher::new(Coverage::Data);
        hasher.update(&content);
        hasher.skip_zeros((4 << 40) - (3 << 20));
        let data = Aspects { coverage: Some(Coverage::Data), ..CONTENT };
        assert_eq!(read(data), (4 << 40, Some(hasher.finish())));
    }

    #[test]
    fn read_other_file_type_returns_replaced() {
        let (dir, fd) = directory();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link")).unwrap();
        fs::mknodat(&fd, "fifo", FileType::Fifo, Mode::RUSR, 0).unwrap();
        std::fs::create_dir(dir.path().join("dir")).unwrap();
        for name in ["link", "fifo", "dir"] {
            assert!(
                matches!(read(fd.as_fd(), name.as_bytes(), CONTENT).unwrap(), Reading::Replaced),
                "{name}"
            );
        }
        assert_eq!(read(fd.as_fd(), b"none", CONTENT).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn read_file_changed_during_each_attempt_returns_changing() {
        let (dir, fd) = directory();
        let path = dir.path().join("busy");
        // 32 MiB take long enough for the writer to run during each read, also on a busy machine.
        std::fs::write(&path, vec![0; 32 << 20]).unwrap();
        let stop = std::sync::atomic::AtomicBool::new(false);
        let start = std::sync::Barrier::new(2);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                let mut file = File::options().write(true).open(&path).unwrap();
                let mut number = 0_u64;
                start.wait();
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    number += 1;
                    file.rewind().unwrap();
                    file.write_all(&number.to_le_bytes()).unwrap();
                    std::thread::sleep(Duration::from_micros(200));
                }
            });
            start.wait();
            let reading = read(fd.as_fd(), b"busy", CONTENT).unwrap();
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(matches!(reading, Reading::Changing(_)), "{reading:?}");
        });
    }
}
