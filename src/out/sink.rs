//! The files of a context: digested while they are written, read back before they are sealed.

use super::partial::{Partial, Scratch, remove_scratch};
use super::place::Place;
use super::room::Room;
use crate::context::{self, COMPLETE};
use crate::error::{Code, Error, Result};
use crate::escape;
use crate::hash::Source;
use crate::pace;
use crate::tree::Sha256;
use rustix::fs::{self, Advice, Mode, OFlags};
use rustix::io::Errno;
use sha2::Digest;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::num::NonZeroU64;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, PoisonError};

/// A context under construction. Dropped before [`Sink::finish`], it leaves nothing behind.
#[derive(Debug)]
pub struct Sink {
    place: Place,
    /// The partial directory once more: what is in `scratch` is for signals.
    directory: OwnedFd,
    scratch: Scratch,
    room: Room,
    digests: BTreeMap<String, Sha256>,
}

impl Sink {
    /// Begins a context that will stand at `place`. Codes as for [`Partial::create`].
    pub fn create(place: Place, room: Room, insecure: bool, scratch: &Scratch) -> Result<Self> {
        place.check_free()?;
        // A signal that comes in between waits until there is something that it can remove.
        let mut growing = scratch.lock().unwrap_or_else(PoisonError::into_inner);
        let partial = Partial::create(&place, insecure)?;
        let directory = rustix::io::fcntl_dupfd_cloexec(partial.directory(), 0);
        let directory = directory
            .inspect_err(|_| drop(partial.remove()))
            .map_err(|cause| Error::io(place.shown(), cause.into()))?;
        *growing = Some(partial);
        drop(growing);
        Ok(Sink { place, directory, scratch: Arc::clone(scratch), room, digests: BTreeMap::new() })
    }

    /// Where it will stand.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The directory that it grows in.
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Device and inode of what is no part of the machine: where it grows, and an empty directory where it will stand.
    pub fn identities(&self) -> impl Iterator<Item = (u64, u64)> {
        let growing = fs::fstat(&self.directory).map(|stat| (stat.st_dev, stat.st_ino)).ok();
        growing.into_iter().chain(self.place.identity())
    }

    /// Refuses (code 10) what does not fit beside what stays for the machine. `least` is in bytes.
    pub fn check_room(&self, least: u64) -> Result<()> {
        self.room.check(self.directory.as_fd(), least, &self.place.shown())
    }

    /// Begins a file that nobody can run; directories in its name are made.
    pub fn file(&mut self, name: &str) -> Result<SinkFile<'_>> {
        self.begin(name, Mode::RUSR | Mode::WUSR)
    }

    /// Begins a program.
    pub fn program(&mut self, name: &str) -> Result<SinkFile<'_>> {
        self.begin(name, Mode::RWXU)
    }

    fn begin(&mut self, name: &str, mode: Mode) -> Result<SinkFile<'_>> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (directory, last) = name.rsplit_once('/').unwrap_or(("", name));
        let opened =
            self.make_directories(directory).and_then(|parent| fs::openat(&parent, last, flags, mode));
        let file = opened.map_err(|cause| Error::io(escape::escape(name.as_bytes()), cause.into()))?;
        Ok(SinkFile {
            sink: self,
            name: name.to_owned(),
            file: BufWriter::new(File::from(file)),
            sha256: sha2::Sha256::new(),
            size: 0,
            pushed: 0,
        })
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

    /// Writes a whole file.
    pub fn write(&mut self, name: &str, content: &[u8]) -> Result<()> {
        let mut file = self.file(name)?;
        file.write_all(content).map_err(|cause| Error::io(escape::escape(name.as_bytes()), cause))?;
        file.finish().map(drop)
    }

    /// The files that are finished.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.digests.keys().map(String::as_str)
    }

    /// A file that is finished, from its beginning and from the disk, not from memory.
    pub fn read_back(&self, name: &str) -> Result<Source> {
        let file = self.open(name).map_err(|cause| Error::io(name, cause.into()))?;
        // Only pages that are on the disk already can go; a file system that cannot do it reads what it has.
        let _ = fs::fadvise(&file, 0, None, Advice::DontNeed);
        Ok(Source::new(File::from(file)))
    }

    fn open(&self, name: &str) -> std::result::Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (directory, last) = name.rsplit_once('/').unwrap_or(("", name));
        let parent = self.make_directories(directory)?;
        fs::openat(&parent, last, flags, Mode::empty())
    }

    /// Proves every file, seals the context and gives it its name.
    ///
    /// Code 5 where the disk gives back something else than was written.
    pub fn finish(mut self) -> Result<()> {
        for (name, digest) in &self.digests {
            let found = context::digest(self.read_back(name)?).map_err(|cause| Error::io(name, cause))?;
            if found != *digest {
                let what = format!("{name}: what was read back is not what was written");
                return Err(Error::new(Code::Differs, what)
                    .hint("the disk or the memory of this machine is damaged; write to another disk"));
            }
        }
        let seal: String =
            self.digests.iter().map(|(name, digest)| context::seal_line(name, digest)).collect();
        self.write(COMPLETE, seal.as_bytes())?;
        let failed = |cause: io::Error| Error::io(self.place.shown(), cause);
        self.sync_directories().map_err(|cause| failed(cause.into()))?;
        let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(partial) = scratch.as_ref() {
            partial.settle(&self.place).map_err(failed)?;
        }
        *scratch = None;
        Ok(())
    }

    /// Names are on the disk only when their directories are.
    fn sync_directories(&self) -> std::result::Result<(), Errno> {
        let mut directories: Vec<&str> = Vec::new();
        for mut name in self.digests.keys().map(String::as_str) {
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

impl Drop for Sink {
    fn drop(&mut self) {
        remove_scratch(&self.scratch);
    }
}

/// One file of the context, hashed while it is written.
pub struct SinkFile<'a> {
    sink: &'a mut Sink,
    name: String,
    file: BufWriter<File>,
    sha256: sha2::Sha256,
    size: u64,
    /// Up to where the content is on its way to the disk.
    pushed: u64,
}

/// Bytes that are sent to the disk at a time: a file that is left to the kernel arrives there all at once.
const STEP: u64 = 256 << 10;

impl SinkFile<'_> {
    /// Puts the content on the disk and returns its size.
    pub fn finish(self) -> Result<u64> {
        let failed = |cause| Error::io(escape::escape(self.name.as_bytes()), cause);
        let file = self.file.into_inner().map_err(|error| failed(error.into_error()))?;
        file.sync_all().map_err(failed)?;
        self.sink.digests.insert(self.name, self.sha256.finalize().into());
        Ok(self.size)
    }

    /// Sends what was written to the disk, without waiting for it to arrive (`posix_fadvise(2)`, "POSIX_FADV_DONTNEED").
    fn push(&mut self) -> io::Result<()> {
        self.file.flush()?;
        let (from, length) = (self.pushed, self.size - self.pushed);
        let _ = fs::fadvise(self.file.get_ref(), from, NonZeroU64::new(length), Advice::DontNeed);
        self.pushed = self.size;
        pace::rest_after_writing(length);
        Ok(())
    }
}

impl Write for SinkFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Sink { room, directory, place, .. } = &mut *self.sink;
        room.take(directory.as_fd(), bytes.len() as u64, &place.shown())
            .map_err(|error| io::Error::new(io::ErrorKind::StorageFull, error.to_string()))?;
        let length = self.file.write(bytes)?;
        self.sha256.update(&bytes[..length]);
        self.size += length as u64;
        if self.size - self.pushed >= STEP {
            self.push()?;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    fn create(out: &Path) -> Result<Sink> {
        let place = Place::open(out)?;
        let room = Room::of(place.parent(), false).unwrap();
        Sink::create(place, room, false, &Scratch::default())
    }

    #[test]
    fn a_context_appears_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("ctx");
        let mut sink = create(&out).unwrap();
        sink.write("a/b/c", b"x").unwrap();
        assert!(!out.exists());
        drop(sink);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "a dropped sink leaves nothing");

        let mut sink = create(&out).unwrap();
        sink.write("packages/list", b"x").unwrap();
        sink.program(context::BINARY).unwrap().finish().unwrap();
        sink.finish().unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(std::fs::read_dir(&out).unwrap().count(), 3, "the marker is gone");
        let mode = |name: &str| std::fs::metadata(out.join(name)).unwrap().mode() & 0o7777;
        assert_eq!((mode(""), mode("packages"), mode("packages/list")), (0o700, 0o700, 0o600));
        assert_eq!(mode(context::BINARY), 0o700);
        crate::context::Context::open(&out).unwrap().check_all().unwrap();
    }

    #[test]
    fn nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("mine"), "").unwrap();
        assert_eq!(create(dir.path()).unwrap_err().code, Code::Usage);
        let empty = dir.path().join("empty");
        std::fs::create_dir(&empty).unwrap();
        create(&empty).unwrap().finish().unwrap();
        assert!(empty.join(COMPLETE).exists());
        // What stands there since the beginning of the run is not replaced either.
        let late = dir.path().join("late");
        let sink = create(&late).unwrap();
        std::fs::create_dir(&late).unwrap();
        std::fs::write(late.join("mine"), "").unwrap();
        assert!(sink.finish().is_err());
        assert!(late.join("mine").exists() && !late.join(COMPLETE).exists());
    }

    #[test]
    fn what_the_disk_gives_back_wrong_is_not_sealed() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("ctx");
        let mut sink = create(&out).unwrap();
        sink.write("a", b"right").unwrap();
        let partial = std::fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
        std::fs::write(partial.join("a"), "wrong").unwrap();
        assert_eq!(sink.finish().unwrap_err().code, Code::Differs);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
