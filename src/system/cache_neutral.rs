//! Reads that give way to others and leave the page cache as they found it.

use super::throttle;
use rustix::fs::{self, Advice};
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
}

impl CacheNeutralReader {
    /// A file, from its beginning.
    pub fn new(file: File) -> Self {
        if throttle::is_throttled() {
            // No reading ahead, which is 8 MiB on some machines: what the disk has begun makes all others wait.
            let _ = fs::fadvise(&file, 0, None::<NonZeroU64>, Advice::Random);
        }
        CacheNeutralReader { file, position: 0, cold_from: None, tells: throttle::is_throttled() }
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
