//! Reads that give way to others and leave the page cache as they found it.

use super::throttle;
use rustix::fs::{self, Advice, SeekFrom, Stat};
use rustix::io::{Errno, ReadWriteFlags};
use std::fs::File;
use std::io::{self, IoSliceMut, Read};
use std::num::NonZeroU64;
use std::os::fd::{AsFd, BorrowedFd};

/// The most that is asked of a disk at a time, in bytes, when others may want it.
const PIECE: usize = 64 << 10;

/// A file that is read from beginning to end once.
///
/// What was in memory before stays there, for production has it there; what had to come from the disk for this process goes
/// again. Which is which tells a read that may not wait (`RWF_NOWAIT` in `preadv2(2)`): from the first that would have to
/// on, what is in memory is there because of this process, which the kernel reads ahead for.
#[derive(Debug)]
pub struct CacheNeutralReader {
    file: File,
    position: u64,
    /// From where on the file was not in memory; nothing as long as all of it was.
    cold_from: Option<u64>,
    /// Whether the kernel and the file system can tell, and anybody asks.
    tells: bool,
    /// How long the file is and where its next data are, if it has holes.
    holes: Option<Holes>,
}

/// The data that follow the last hole that was found.
#[derive(Debug)]
struct Holes {
    size: u64,
    from: u64,
    until: u64,
}

impl CacheNeutralReader {
    /// A file, from its beginning.
    pub fn new(file: File) -> Self {
        if throttle::is_throttled() {
            // No reading ahead, which is 8 MiB on some machines: what the disk has begun makes all others wait.
            let _ = fs::fadvise(&file, 0, None::<NonZeroU64>, Advice::Random);
        }
        CacheNeutralReader {
            file,
            position: 0,
            cold_from: None,
            tells: throttle::is_throttled(),
            holes: None,
        }
    }

    /// A file of which only the data are read, and zeros in place of holes that cost no reading.
    pub fn with_holes(file: File, stat: &Stat) -> Self {
        let size = stat.st_size as u64;
        // Blocks of 512 bytes, whatever the file system's are (stat(2)).
        let has_holes = (stat.st_blocks as u64).saturating_mul(512) < size;
        let holes = has_holes.then_some(Holes { size, from: 0, until: 0 });
        CacheNeutralReader { holes, ..CacheNeutralReader::new(file) }
    }

    /// Moves to the end of the hole that begins here, and returns its length.
    pub fn skip_hole(&mut self) -> u64 {
        let length = self.hole();
        self.position += length;
        length
    }

    /// The length of the hole that begins here; 0 if there are data.
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
                // The file system does not know: everything is read.
                Err(_) => {
                    self.holes = None;
                    return 0;
                }
            }
        }
        holes.from.min(holes.size).saturating_sub(self.position)
    }

    /// The file itself.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The file back, with all of it in memory: it will be read once more.
    pub fn keep(self) -> File {
        self.file
    }

    /// The file back, with what only this process has brought into memory out of it again.
    pub fn forget(self) -> File {
        if let Some(from) = self.cold_from {
            // The advice is all: where it is not taken, nothing is lost but memory.
            let _ = fs::fadvise(&self.file, from, None::<NonZeroU64>, Advice::DontNeed);
        }
        self.file
    }

    fn read_once(&mut self, buffer: &mut [u8]) -> Result<usize, Errno> {
        let most = if throttle::is_throttled() { PIECE.min(buffer.len()) } else { buffer.len() };
        let buffer = &mut buffer[..most];
        if self.tells && self.cold_from.is_none() {
            let buffers = &mut [IoSliceMut::new(buffer)];
            match rustix::io::preadv2(&self.file, buffers, self.position, ReadWriteFlags::NOWAIT) {
                Err(Errno::AGAIN) => self.cold_from = Some(self.position),
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => self.tells = false,
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
    /// One read that no signal cuts short.
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

    /// How much of a file is in memory, in pages, as `fincore(1)` tells.
    fn pages(file: &File) -> Option<u64> {
        let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        #[expect(clippy::disallowed_methods, reason = "a test")]
        let output =
            std::process::Command::new("fincore").args(["-nb", "-o", "PAGES", &path]).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    }

    fn read(file: &File) -> u64 {
        let mut source =
            CacheNeutralReader { tells: true, ..CacheNeutralReader::new(file.try_clone().unwrap()) };
        let length = io::copy(&mut source, &mut io::sink()).unwrap();
        source.forget();
        length
    }

    #[test]
    fn what_was_in_memory_stays_and_what_was_not_goes() {
        // Memory is not cleared of what lies only there.
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
