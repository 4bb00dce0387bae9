//! Stores a context in a private directory on disk and publishes it when it is complete.

use super::partial::{CleanupHandle, PartialDir, remove_scratch};
use super::place::OutputPath;
use super::room::SpaceLimit;
use crate::error::{Error, Result};
use crate::model::escape;
use crate::system::cache_neutral::CacheNeutralReader;
use crate::system::throttle;
use rustix::fs::{self, Advice, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::num::NonZeroU64;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, PoisonError};

/// Output in a partial directory. If dropped before [`LocalOutput::publish`], it is removed.
#[derive(Debug)]
pub(super) struct LocalOutput {
    place: OutputPath,
    /// Duplicate of the descriptor in `cleanup`, which the signal handler can take at any time.
    directory: OwnedFd,
    cleanup: CleanupHandle,
    limit: SpaceLimit,
}

impl LocalOutput {
    /// Creates a partial directory for `place`. Fails as [`PartialDir::create`] does.
    pub(super) fn create(
        place: OutputPath,
        limit: SpaceLimit,
        insecure: bool,
        cleanup: &CleanupHandle,
    ) -> Result<Self> {
        place.check_free()?;
        // The signal handler waits for the lock, so it never misses a directory that is just
        // created.
        let mut shared = cleanup.lock().unwrap_or_else(PoisonError::into_inner);
        let partial = PartialDir::create(&place, insecure)?;
        let directory = rustix::io::fcntl_dupfd_cloexec(partial.directory(), 0);
        let directory = directory
            .inspect_err(|_| drop(partial.remove()))
            .map_err(|cause| Error::io(place.shown(), cause.into()))?;
        *shared = Some(partial);
        drop(shared);
        Ok(LocalOutput { place, directory, cleanup: Arc::clone(cleanup), limit })
    }

    /// Returns the partial directory.
    pub(super) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Returns device and inode of the partial directory and of a directory at the output path.
    pub(super) fn identities(&self) -> impl Iterator<Item = (u64, u64)> {
        let partial = fs::fstat(&self.directory).map(|stat| (stat.st_dev, stat.st_ino)).ok();
        partial.into_iter().chain(self.place.identity())
    }

    /// Fails with exit code 10 if `least` bytes exceed the space limit.
    pub(super) fn check_room(&self, least: u64) -> Result<()> {
        self.limit.check(self.directory.as_fd(), least, &self.place.shown())
    }

    /// Creates a file and the directories in its name.
    pub(super) fn file(&self, name: &str, mode: Mode) -> Result<LocalFile> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (directory, last) = name.rsplit_once('/').unwrap_or(("", name));
        let opened =
            self.make_directories(directory).and_then(|parent| fs::openat(&parent, last, flags, mode));
        let file = opened.map_err(|cause| Error::io(escape::escape(name.as_bytes()), cause.into()))?;
        Ok(LocalFile { file: BufWriter::new(File::from(file)), size: 0, flushed: 0 })
    }

    fn make_directories(&self, path: &str) -> std::result::Result<OwnedFd, Errno> {
        let mut here = rustix::io::fcntl_dupfd_cloexec(&self.directory, 0)?;
        for component in path.split('/').filter(|component| !component.is_empty()) {
            match fs::mkdirat(&here, component, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(cause) => return Err(cause),
            }
            here = fs::openat(&here, component, DIRECTORY, Mode::empty())?;
        }
        Ok(here)
    }

    /// Opens a finished file to read it from the disk, not from the page cache.
    pub(super) fn read_back(&self, name: &str) -> Result<CacheNeutralReader> {
        let file = self.open(name).map_err(|cause| Error::io(name, cause.into()))?;
        // Drops the pages of the file from the cache (posix_fadvise(2)). If a file system does
        // not support that, the cached pages are read.
        let _ = fs::fadvise(&file, 0, None, Advice::DontNeed);
        Ok(CacheNeutralReader::new(File::from(file)))
    }

    fn open(&self, name: &str) -> std::result::Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (directory, last) = name.rsplit_once('/').unwrap_or(("", name));
        let parent = self.make_directories(directory)?;
        fs::openat(&parent, last, flags, Mode::empty())
    }

    /// Renames the partial directory to the output path. `names` are all files in it.
    pub(super) fn publish<'a>(&self, names: impl Iterator<Item = &'a str>) -> Result<()> {
        let failed = |cause: io::Error| Error::io(self.place.shown(), cause);
        self.sync_directories(names).map_err(|cause| failed(cause.into()))?;
        let mut cleanup = self.cleanup.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(partial) = cleanup.as_ref() {
            partial.publish(&self.place).map_err(failed)?;
        }
        *cleanup = None;
        Ok(())
    }

    /// Syncs all directories, because fsync(2) of a file does not sync its directory entry.
    fn sync_directories<'a>(&self, names: impl Iterator<Item = &'a str>) -> std::result::Result<(), Errno> {
        let mut directories: Vec<&str> = Vec::new();
        for mut name in names {
            while let Some((directory, _)) = name.rsplit_once('/') {
                directories.push(directory);
                name = directory;
            }
        }
        directories.sort_unstable();
        directories.dedup();
        for directory in directories {
            fs::fsync(self.make_directories(directory)?)?;
        }
        fs::fsync(&self.directory)
    }
}

/// Flags to open a directory of the context.
const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Drop for LocalOutput {
    fn drop(&mut self) {
        remove_scratch(&self.cleanup);
    }
}

/// File that is being written.
pub(super) struct LocalFile {
    file: BufWriter<File>,
    size: u64,
    /// Number of bytes for which writeback has started.
    flushed: u64,
}

/// Bytes after which writeback starts. Left to itself, the kernel would write a large file in one
/// burst, which delays the disk access of other processes.
const STEP: u64 = 256 << 10;

impl LocalFile {
    /// Writes some of `bytes` and returns their number. Fails if the space limit is reached.
    pub(super) fn write(&mut self, to: &mut LocalOutput, bytes: &[u8]) -> io::Result<usize> {
        let LocalOutput { limit, directory, place, .. } = to;
        limit
            .take(directory.as_fd(), bytes.len() as u64, &place.shown())
            .map_err(|error| io::Error::new(io::ErrorKind::StorageFull, error.to_string()))?;
        let length = self.file.write(bytes)?;
        self.size += length as u64;
        if self.size - self.flushed >= STEP {
            self.start_writeback()?;
        }
        Ok(length)
    }

    /// Starts to write new pages to the disk and does not wait (`POSIX_FADV_DONTNEED`,
    /// posix_fadvise(2)).
    fn start_writeback(&mut self) -> io::Result<()> {
        self.file.flush()?;
        let (from, length) = (self.flushed, self.size - self.flushed);
        let _ = fs::fadvise(self.file.get_ref(), from, NonZeroU64::new(length), Advice::DontNeed);
        self.flushed = self.size;
        throttle::pause_after_writing(length);
        Ok(())
    }

    /// Writes the rest and waits until the file is on the disk (fsync(2)).
    pub(super) fn finish(self) -> io::Result<()> {
        self.file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    }
}
