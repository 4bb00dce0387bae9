//! Reads files with low impact: in small chunks, and without changing the page cache.

use super::throttle;
use crate::model::holes::{ReadHoles, unallocated};
use rustix::fs::{self, Advice, SeekFrom, Stat};
use rustix::io::{Errno, ReadWriteFlags};
use std::fs::File;
use std::io::{self, IoSliceMut, Read, Seek};
use std::num::NonZeroU64;
use std::os::fd::{AsFd, BorrowedFd};

/// Maximum number of bytes per read while this process is throttled.
const CHUNK_SIZE: usize = 64 << 10;

/// File that is read once from start to end.
///
/// Pages that were in the page cache before stay there, because other processes use them. Pages
/// that the kernel read for this process are removed again. A read with `RWF_NOWAIT`
/// (`preadv2(2)`) fails with `EAGAIN` at the first page that is not cached. After this position,
/// all pages are treated as read for this process, because the kernel reads ahead.
#[derive(Debug)]
pub struct CacheNeutralReader {
    file: File,
    position: u64,
    /// Position from which on the file was not in the page cache; `None` if all of it was so far.
    cold_from: Option<u64>,
    /// Whether reads use `RWF_NOWAIT`: this process is throttled, and the file system supports
    /// it.
    uses_nowait: bool,
    /// Size of the file and position of its next data, if it has holes.
    holes: Option<Holes>,
}

/// Data range after the last hole that was found.
#[derive(Debug)]
struct Holes {
    size: u64,
    from: u64,
    until: u64,
}

impl CacheNeutralReader {
    /// Creates a reader at the start of the file.
    pub fn new(file: File) -> Self {
        if throttle::is_throttled() {
            // Disables read-ahead, which is 8 MiB on some machines. Other processes would have to
            // wait for it.
            let _ = fs::fadvise(&file, 0, None::<NonZeroU64>, Advice::Random);
        }
        CacheNeutralReader {
            file,
            position: 0,
            cold_from: None,
            uses_nowait: throttle::is_throttled(),
            holes: None,
        }
    }

    /// Creates a reader that reads only data from the disk and returns zeros for holes.
    pub fn with_holes(file: File, stat: &Stat) -> Self {
        let size = stat.st_size as u64;
        let has_holes = unallocated(size, stat.st_blocks as u64) > 0 && reports_holes(&file, stat);
        let holes = has_holes.then_some(Holes { size, from: 0, until: 0 });
        CacheNeutralReader { holes, ..CacheNeutralReader::new(file) }
    }

    /// Returns the parts of the file that hold data, as offset and length: aligned to `block` bytes
    /// except for the end of the file, ascending and not adjacent. Moves to the beginning of the file.
    ///
    /// Returns `None` if the file has no holes, the file system does not report them, or there are
    /// more than `most` parts.
    pub fn data_parts(&mut self, block: u64, most: usize) -> Option<Vec<(u64, u64)>> {
        let parts = self.find_parts(block, most);
        self.move_to(0);
        parts
    }

    fn find_parts(&mut self, block: u64, most: usize) -> Option<Vec<(u64, u64)>> {
        let mut parts: Vec<(u64, u64)> = Vec::new();
        self.move_to(0);
        loop {
            self.hole();
            let holes = self.holes.as_ref()?;
            if holes.from >= holes.size {
                let size = holes.size;
                return Some(parts).filter(|parts| *parts != [(0, size)]);
            }
            let from = holes.from - holes.from % block;
            let until = holes.until.next_multiple_of(block).min(holes.size);
            let count = parts.len();
            match parts.last_mut() {
                Some((start, length)) if *start + *length >= from => *length = until - *start,
                _ if count == most => return None,
                _ => parts.push((from, until - from)),
            }
            self.position = holes.until;
        }
    }

    fn move_to(&mut self, position: u64) {
        self.position = position;
        // The known hole can be after the new position.
        if let Some(holes) = &mut self.holes {
            (holes.from, holes.until) = (0, 0);
        }
    }

    /// Returns the length of the hole at the current position; 0 if there are data.
    fn hole(&mut self) -> u64 {
        let Some(holes) = &mut self.holes else { return 0 };
        if self.position >= holes.until {
            match fs::seek(&self.file, SeekFrom::Data(self.position)) {
                Ok(from) => {
                    let until = fs::seek(&self.file, SeekFrom::Hole(from)).unwrap_or(holes.size);
                    (holes.from, holes.until) = (from, until);
                }
                // No more data (lseek(2)).
                Err(Errno::NXIO) => (holes.from, holes.until) = (holes.size, holes.size),
                // The file system does not support SEEK_DATA, so all of the file is read.
                Err(_) => {
                    self.holes = None;
                    return 0;
                }
            }
        }
        holes.from.min(holes.size).saturating_sub(self.position)
    }

    /// Returns the file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Returns the file and keeps it in the page cache, for a file that is read again.
    pub fn keep(self) -> File {
        self.file
    }

    /// Returns the file and removes the pages from the page cache that were read for this
    /// process.
    pub fn forget(self) -> File {
        if let Some(from) = self.cold_from {
            // If the advice fails, the pages only use memory.
            let _ = fs::fadvise(&self.file, from, None::<NonZeroU64>, Advice::DontNeed);
        }
        self.file
    }

    fn read_once(&mut self, buffer: &mut [u8]) -> Result<usize, Errno> {
        let most = if throttle::is_throttled() { CHUNK_SIZE.min(buffer.len()) } else { buffer.len() };
        let buffer = &mut buffer[..most];
        if self.uses_nowait && self.cold_from.is_none() {
            let buffers = &mut [IoSliceMut::new(buffer)];
            match rustix::io::preadv2(&self.file, buffers, self.position, ReadWriteFlags::NOWAIT) {
                Err(Errno::AGAIN) => self.cold_from = Some(self.position),
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => self.uses_nowait = false,
                result => return result,
            }
        }
        rustix::io::pread(&self.file, buffer, self.position)
    }
}

/// Whether the file system reports the holes of the file correctly.
///
/// OpenZFS before 2.1.14 and 2.2.2 can report new data as a hole until they are on the disk
/// (issue 15526), which takes seconds.
fn reports_holes(file: &File, stat: &Stat) -> bool {
    const ZFS: u64 = 0x2fc1_2fc1;
    const SECONDS: i64 = 60;
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse).tv_sec;
    let is_new = (now - stat.st_ctime).abs() < SECONDS;
    !is_new || fs::fstatfs(file).is_ok_and(|system| system.f_type as u64 != ZFS)
}

impl AsFd for CacheNeutralReader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl ReadHoles for CacheNeutralReader {
    fn skip_hole(&mut self) -> u64 {
        let length = self.hole();
        self.position += length;
        length
    }
}

impl Seek for CacheNeutralReader {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        let position = match to {
            io::SeekFrom::Start(position) => Some(position),
            io::SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
            io::SeekFrom::End(offset) => self.file.metadata()?.len().checked_add_signed(offset),
        };
        self.move_to(position.ok_or(io::ErrorKind::InvalidInput)?);
        Ok(self.position)
    }
}

impl Read for CacheNeutralReader {
    /// Reads once, and again if a signal interrupts the read.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let hole = self.hole();
        if hole > 0 {
            let zeros = (buffer.len() as u64).min(hole) as usize;
            buffer[..zeros].fill(0);
            self.position += zeros as u64;
            return Ok(zeros);
        }
        let got = loop {
            match self.read_once(buffer) {
                Err(Errno::INTR) => {}
                result => break result?,
            }
        };
        self.position += got as u64;
        throttle::pause(got);
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsRawFd;

    /// Returns the number of pages of a file in the page cache, from `fincore(1)`.
    fn pages(file: &File) -> Option<u64> {
        let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        #[expect(clippy::disallowed_methods, reason = "a test")]
        let output =
            std::process::Command::new("fincore").args(["-nb", "-o", "PAGES", &path]).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    }

    fn read(file: &File) -> u64 {
        let mut source =
            CacheNeutralReader { uses_nowait: true, ..CacheNeutralReader::new(file.try_clone().unwrap()) };
        let length = io::copy(&mut source, &mut io::sink()).unwrap();
        source.forget();
        length
    }

    #[test]
    fn data_parts_file_with_holes_returns_aligned_data() {
        // Not every file system in memory reports holes (lseek(2)); /var/tmp is usually on a disk.
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let path = dir.path().join("f");
        let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        for offset in [0, 1 << 20, (3 << 20) - 10] {
            std::os::unix::fs::FileExt::write_all_at(&file, &[7; 10], offset).unwrap();
        }
        file.sync_all().unwrap();
        let stat = fs::fstat(&file).unwrap();
        let mut source = CacheNeutralReader::with_holes(file, &stat);
        let parts = source.data_parts(512, 3).unwrap();
        assert_eq!(parts.len(), 3, "{parts:?}");
        assert_eq!((parts[0].0, parts[1].0), (0, 1 << 20));
        assert_eq!(parts[2].0 + parts[2].1, 3 << 20);
        let is_aligned = |&(offset, length): &(u64, u64)| offset % 512 == 0 && length % 512 == 0;
        assert!(parts.iter().all(is_aligned), "{parts:?}");
        let mut content = Vec::new();
        source.read_to_end(&mut content).unwrap();
        assert_eq!(content.len(), 3 << 20, "the reader is at the beginning again");
        assert_eq!(source.data_parts(512, 2), None, "too many");
        assert_eq!(CacheNeutralReader::new(source.keep()).data_parts(512, 3), None);
    }

    #[test]
    fn forget_cached_pages_stay_and_others_are_removed() {
        // Not on tmpfs, whose pages cannot be removed from memory.
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let mut file =
            File::options().read(true).write(true).create_new(true).open(dir.path().join("f")).unwrap();
        file.write_all(&vec![7; 8 << 20]).unwrap();
        file.sync_all().unwrap();
        let Some(hot) = pages(&file) else { panic!("fincore (util-linux) is needed") };
        assert_eq!(hot, 2048, "just written");
        assert_eq!(read(&file), 8 << 20);
        assert_eq!(pages(&file), Some(2048), "production had it in memory");
        fs::fadvise(&file, 0, None::<NonZeroU64>, Advice::DontNeed).unwrap();
        assert_eq!(pages(&file), Some(0));
        assert_eq!(read(&file), 8 << 20);
        assert!(pages(&file).unwrap() < 64, "only this process brought it there");
    }
}
