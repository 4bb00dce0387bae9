//! Reads files with low impact: in small chunks, and without changing the page cache.

use super::throttle;
use rustix::fs::{self, Advice, SeekFrom, Stat};
use rustix::io::{Errno, ReadWriteFlags};
use std::fs::File;
use std::io::{self, IoSliceMut, Read};
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
        // The unit is 512 bytes on all file systems (stat(2)).
        let has_holes = (stat.st_blocks as u64).saturating_mul(512) < size;
        let holes = has_holes.then_some(Holes { size, from: 0, until: 0 });
        CacheNeutralReader { holes, ..CacheNeutralReader::new(file) }
    }

    /// Moves to the end of the hole at the current position and returns its length.
    pub fn skip_hole(&mut self) -> u64 {
        let length = self.hole();
        self.position += length;
        length
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

impl AsFd for CacheNeutralReader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
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
