//! Threads that write while a tree is read. The content that they write identifies the states
//! that a file had.

use crate::Result;
use crate::random::Random;
use crate::roots;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Ways to write.
pub const KINDS: &[&str] = &["append", "truncate", "rename", "unlink", "overwrite", "mapped"];
/// Bytes of a file, except of one that grows.
const SIZE: usize = 256 << 10;
/// Bytes that are appended at a time, and the size at which a growing file starts again.
const RECORD: usize = 4096;
const LARGEST: u64 = 1 << 20;
/// Bytes of a line: the number of the version, over and over.
const LINE: usize = 16;
/// Longest pause between two changes.
const PAUSE: Duration = Duration::from_millis(4);

/// One file and how it is written.
pub struct Writer {
    kind: &'static str,
    path: PathBuf,
    version: AtomicU64,
}

impl Writer {
    /// Makes the file in its first version.
    pub fn new(kind: &'static str, path: PathBuf) -> Result<Self> {
        roots::write(&path, &version(1, if kind == "append" { RECORD } else { SIZE }))?;
        Ok(Writer { kind, path, version: AtomicU64::new(1) })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How often it has been changed.
    pub fn changes(&self) -> u64 {
        self.version.load(Relaxed)
    }

    /// Changes the file now and then until it is over.
    pub fn go_on(&self, over: &AtomicBool, seed: u64) -> std::io::Result<()> {
        let mut random = Random::new(seed);
        let mut mapping = if self.kind == "mapped" { Some(Mapping::of(&self.path)?) } else { None };
        while !over.load(Relaxed) {
            let next = self.version.load(Relaxed) + 1;
            match &mut mapping {
                Some(mapping) => mapping.fill(&version(next, SIZE)),
                None => self.change(next)?,
            }
            self.version.store(next, Relaxed);
            std::thread::sleep(Duration::from_micros(random.below(PAUSE.as_micros() as u64)));
        }
        Ok(())
    }

    fn change(&self, next: u64) -> std::io::Result<()> {
        let whole = version(next, SIZE);
        match self.kind {
            "append" => {
                let mut file = File::options().append(true).open(&self.path)?;
                let length = file.metadata()?.len();
                if length >= LARGEST {
                    return self.replace(&version(1, RECORD));
                }
                file.write_all(&version(length / RECORD as u64 + 1, RECORD))
            }
            "truncate" => File::create(&self.path)?.write_all(&whole),
            "rename" => self.replace(&whole),
            "unlink" => {
                fs::remove_file(&self.path)?;
                std::thread::sleep(PAUSE / 8);
                File::create_new(&self.path)?.write_all(&whole)
            }
            // One call: between two of them the file is whole.
            _ => File::options().write(true).open(&self.path)?.write_all_at(&whole, 0),
        }
    }

    fn replace(&self, content: &[u8]) -> std::io::Result<()> {
        let new = self.path.with_extension("new");
        fs::write(&new, content)?;
        fs::rename(new, &self.path)
    }

    /// Whether the content is a state that the file had: one version, or, if the file grows, all
    /// records up to one. The start of a write is visible before its end, so a partial record at
    /// the end is a state too.
    pub fn was_ever(&self, content: &[u8]) -> bool {
        let mut lines = content.chunks(LINE);
        match self.kind {
            "append" => lines.enumerate().all(|(place, line)| {
                let record = place * LINE / RECORD + 1;
                line == &version(record as u64, LINE)[..line.len()]
            }),
            _ => {
                let first = lines.next().unwrap_or_default();
                lines.all(|line| line == &first[..line.len()])
            }
        }
    }
}

/// The content of a version.
fn version(number: u64, size: usize) -> Vec<u8> {
    format!("v{number:014}\n").into_bytes().repeat(size / LINE)
}

/// A file in memory, shared: what is written there changes the file, and not its times.
struct Mapping {
    start: *mut u8,
}

impl Mapping {
    fn of(path: &Path) -> std::io::Result<Self> {
        let file = File::options().read(true).write(true).open(path)?;
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: the kernel selects the address. The file has at least the mapped length and
        // keeps it.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), SIZE, protection, flags, file.as_raw_fd(), 0) };
        if start == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error());
        }
        Ok(Mapping { start: start.cast() })
    }

    fn fill(&mut self, content: &[u8]) {
        for (place, line) in content.chunks(LINE).enumerate().take(SIZE / LINE) {
            // SAFETY: the mapping has SIZE bytes and exists as long as `self`. Only this thread
            // writes to it.
            unsafe { std::ptr::copy_nonoverlapping(line.as_ptr(), self.start.add(place * LINE), line.len()) };
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `of` with this length, and used no more.
        unsafe { libc::munmap(self.start.cast(), SIZE) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_that_were_and_a_mixture() {
        let writer = |kind| Writer { kind, path: PathBuf::new(), version: AtomicU64::new(1) };
        let mixed = [version(1, 64), version(2, 64)].concat();
        assert!(writer("rename").was_ever(&version(7, 64)) && writer("rename").was_ever(b""));
        assert!(!writer("rename").was_ever(&mixed) && !writer("mapped").was_ever(&mixed));
        let grown = [version(1, RECORD), version(2, RECORD)].concat();
        assert!(writer("append").was_ever(&grown) && !writer("append").was_ever(&version(2, RECORD)));
    }
}
