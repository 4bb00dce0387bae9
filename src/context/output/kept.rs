//! A context that grows on a disk: private, pushed there while it is written, under its final name only when it is whole.

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

/// The directory that a context grows in. Dropped before [`LocalOutput::settle`], it leaves nothing behind.
#[derive(Debug)]
pub(super) struct LocalOutput {
    place: OutputPath,
    /// The partial directory once more: what is in `scratch` is for signals.
    directory: OwnedFd,
    scratch: CleanupHandle,
    room: SpaceLimit,
}

impl LocalOutput {
    /// Begins a context that will stand at `place`. Codes as for [`PartialDir::create`].
    pub(super) fn create(
        place: OutputPath,
        room: SpaceLimit,
        insecure: bool,
        scratch: &CleanupHandle,
    ) -> Result<Self> {
        place.check_free()?;
        // A signal that comes in between waits until there is something that it can remove.
        let mut growing = scratch.lock().unwrap_or_else(PoisonError::into_inner);
        let partial = PartialDir::create(&place, insecure)?;
        let directory = rustix::io::fcntl_dupfd_cloexec(partial.directory(), 0);
        let directory = directory
            .inspect_err(|_| drop(partial.remove()))
            .map_err(|cause| Error::io(place.shown(), cause.into()))?;
        *growing = Some(partial);
        drop(growing);
        Ok(LocalOutput { place, directory, scratch: Arc::clone(scratch), room })
    }

    /// The directory that it grows in.
    pub(super) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Device and inode of what is no part of the machine: where it grows, and an empty directory where it will stand.
    pub(super) fn identities(&self) -> impl Iterator<Item = (u64, u64)> {
        let growing = fs::fstat(&self.directory).map(|stat| (stat.st_dev, stat.st_ino)).ok();
        growing.into_iter().chain(self.place.identity())
    }

    /// Refuses (code 10) what does not fit beside what stays for the machine. `least` is in bytes.
    pub(super) fn check_room(&self, least: u64) -> Result<()> {
        self.room.check(self.directory.as_fd(), least, &self.place.shown())
    }

    /// Begins a file; directories in its name are made.
    pub(super) fn file(&self, name: &str, mode: Mode) -> Result<LocalFile> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (directory, last) = name.rsplit_once('/').unwrap_or(("", name));
        let opened =
            self.make_directories(directory).and_then(|parent| fs::openat(&parent, last, flags, mode));
        let file = opened.map_err(|cause| Error::io(escape::escape(name.as_bytes()), cause.into()))?;
        Ok(LocalFile { file: BufWriter::new(File::from(file)), size: 0, pushed: 0 })
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

    /// A file that is finished, from its beginning and from the disk, not from memory.
    pub(super) fn read_back(&self, name: &str) -> Result<CacheNeutralReader> {
        let file = self.open(name).map_err(|cause| Error::io(name, cause.into()))?;
        // Only pages that are on the disk already can go; a file system that cannot do it reads what it has.
        let _ = fs::fadvise(&file, 0, None, Advice::DontNeed);
        Ok(CacheNeutralReader::new(File::from(file)))
    }

    fn open(&self, name: &str) -> std::result::Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (directory, last) = name.rsplit_once('/').unwrap_or(("", name));
        let parent = self.make_directories(directory)?;
        fs::openat(&parent, last, flags, Mode::empty())
    }

    /// Gives the context, whose files have these `names`, its own.
    pub(super) fn settle<'a>(&self, names: impl Iterator<Item = &'a str>) -> Result<()> {
        let failed = |cause: io::Error| Error::io(self.place.shown(), cause);
        self.sync_directories(names).map_err(|cause| failed(cause.into()))?;
        let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(partial) = scratch.as_ref() {
            partial.settle(&self.place).map_err(failed)?;
        }
        *scratch = None;
        Ok(())
    }

    /// Names are on the disk only when their directories are.
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

/// How a directory of the context is opened.
const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Drop for LocalOutput {
    fn drop(&mut self) {
        remove_scratch(&self.scratch);
    }
}

/// One file on its way to the disk.
pub(super) struct LocalFile {
    file: BufWriter<File>,
    size: u64,
    /// Up to where the content is on its way to the disk.
    pushed: u64,
}

/// Bytes that are sent to the disk at a time: a file that is left to the kernel arrives there all at once.
const STEP: u64 = 256 << 10;

impl LocalFile {
    /// Writes some of `bytes`, if there is room, and says how many.
    pub(super) fn write(&mut self, to: &mut LocalOutput, bytes: &[u8]) -> io::Result<usize> {
        let LocalOutput { room, directory, place, .. } = to;
        room.take(directory.as_fd(), bytes.len() as u64, &place.shown())
            .map_err(|error| io::Error::new(io::ErrorKind::StorageFull, error.to_string()))?;
        let length = self.file.write(bytes)?;
        self.size += length as u64;
        if self.size - self.pushed >= STEP {
            self.push()?;
        }
        Ok(length)
    }

    /// Sends what was written to the disk, without waiting for it to arrive (`posix_fadvise(2)`, "POSIX_FADV_DONTNEED").
    fn push(&mut self) -> io::Result<()> {
        self.file.flush()?;
        let (from, length) = (self.pushed, self.size - self.pushed);
        let _ = fs::fadvise(self.file.get_ref(), from, NonZeroU64::new(length), Advice::DontNeed);
        self.pushed = self.size;
        throttle::pause_after_writing(length);
        Ok(())
    }

    /// Puts the content on the disk.
    pub(super) fn finish(self) -> io::Result<()> {
        self.file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    }
}
