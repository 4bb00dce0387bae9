//! The files of a context: digested while they are written, read back before they are sealed.

use super::kept::{LocalFile, LocalOutput};
use super::partial::CleanupHandle;
use super::place::OutputPath;
use super::room::SpaceLimit;
use super::sent::{Stream, StreamFile, StreamOutput};
use crate::context::reader::{self, COMPLETE};
use crate::error::{Code, Error, Result};
use crate::model::digest::Sha256;
use crate::model::escape;
use rustix::fs::Mode;
use sha2::Digest;
use std::collections::BTreeMap;
use std::io::{self, Cursor, Read, Write};
use std::os::fd::BorrowedFd;

/// A context under construction. Dropped before [`ContextWriter::finish`], it leaves nothing behind on this machine.
#[derive(Debug)]
pub struct ContextWriter {
    store: Output,
    digests: BTreeMap<String, Sha256>,
}

#[derive(Debug)]
enum Output {
    LocalOutput(LocalOutput),
    StreamOutput(StreamOutput),
}

impl ContextWriter {
    /// Begins a context that will stand at `place`. Codes as for [`super::PartialDir::create`].
    pub fn create(
        place: OutputPath,
        room: SpaceLimit,
        insecure: bool,
        scratch: &CleanupHandle,
    ) -> Result<Self> {
        let store = Output::LocalOutput(LocalOutput::create(place, room, insecure, scratch)?);
        Ok(ContextWriter { store, digests: BTreeMap::new() })
    }

    /// Begins a context that is kept nowhere here.
    pub fn stream(to: Stream) -> Self {
        ContextWriter { store: Output::StreamOutput(StreamOutput::new(to)), digests: BTreeMap::new() }
    }

    /// The directory that it grows in; nothing if it is sent.
    pub fn directory(&self) -> Option<BorrowedFd<'_>> {
        self.kept().map(LocalOutput::directory)
    }

    fn kept(&self) -> Option<&LocalOutput> {
        match &self.store {
            Output::LocalOutput(kept) => Some(kept),
            Output::StreamOutput(_) => None,
        }
    }

    /// Device and inode of what is no part of the machine: where it grows, and an empty directory where it will stand.
    pub fn identities(&self) -> impl Iterator<Item = (u64, u64)> {
        self.kept().into_iter().flat_map(LocalOutput::identities)
    }

    /// Refuses (code 10) what does not fit beside what stays for the machine. `least` is in bytes.
    pub fn check_room(&self, least: u64) -> Result<()> {
        self.kept().map_or(Ok(()), |kept| kept.check_room(least))
    }

    /// Begins a file that nobody can run; directories in its name are made.
    pub fn file(&mut self, name: &str) -> Result<ContextFile<'_>> {
        self.begin(name, Mode::RUSR | Mode::WUSR)
    }

    /// Begins a program.
    pub fn program(&mut self, name: &str) -> Result<ContextFile<'_>> {
        self.begin(name, Mode::RWXU)
    }

    fn begin(&mut self, name: &str, mode: Mode) -> Result<ContextFile<'_>> {
        let to = match &mut self.store {
            Output::LocalOutput(kept) => To::Disk(kept.file(name, mode)?, kept, sha2::Sha256::new()),
            Output::StreamOutput(sent) => To::Away(StreamFile::new(mode.contains(Mode::XUSR)), sent),
        };
        Ok(ContextFile { to, digests: &mut self.digests, name: name.to_owned(), size: 0 })
    }

    /// Writes a whole file.
    pub fn write(&mut self, name: &str, content: &[u8]) -> Result<()> {
        let mut file = self.file(name)?;
        file.write_all(content).map_err(|cause| Error::io(escape::escape(name.as_bytes()), cause))?;
        file.finish().map(drop)
    }

    /// The files that are finished; pieces by the names of pieces ([`reader::piece`]).
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.digests.keys().map(String::as_str)
    }

    /// A file that is finished, from its beginning: from the disk, not from memory, where it is on one. What was sent already
    /// cannot be had.
    pub fn read_back(&self, name: &str) -> Result<Box<dyn Read + Send>> {
        match &self.store {
            Output::LocalOutput(kept) => Ok(Box::new(kept.read_back(name)?)),
            Output::StreamOutput(sent) => Ok(Box::new(Cursor::new(sent.held(name)?))),
        }
    }

    /// Proves every file, seals the context and gives it its name, or sends what is not sent yet.
    ///
    /// Code 5 where the disk gives back something else than was written.
    pub fn finish(mut self) -> Result<()> {
        if self.kept().is_some() {
            self.prove()?;
        }
        let seal: String =
            self.digests.iter().map(|(name, digest)| reader::seal_line(name, digest)).collect();
        if let Output::StreamOutput(sent) = &mut self.store {
            return sent.settle(&seal);
        }
        self.write(COMPLETE, seal.as_bytes())?;
        self.kept().map_or(Ok(()), |kept| kept.settle(self.names()))
    }

    fn prove(&self) -> Result<()> {
        for (name, digest) in &self.digests {
            let found = reader::digest(self.read_back(name)?).map_err(|cause| Error::io(name, cause))?;
            if found != *digest {
                let what = format!("{name}: what was read back is not what was written");
                return Err(Error::new(Code::NotEqual, what)
                    .hint("the disk or the memory of this machine is damaged; write to another disk"));
            }
        }
        Ok(())
    }
}

/// One file of the context, hashed while it is written.
pub struct ContextFile<'a> {
    to: To<'a>,
    digests: &'a mut BTreeMap<String, Sha256>,
    name: String,
    size: u64,
}

enum To<'a> {
    Disk(LocalFile, &'a mut LocalOutput, sha2::Sha256),
    Away(StreamFile, &'a mut StreamOutput),
}

impl ContextFile<'_> {
    /// Puts the content on the disk, or on its way, and returns its size.
    pub fn finish(self) -> Result<u64> {
        let shown = escape::escape(self.name.as_bytes());
        let finished = match self.to {
            To::Disk(file, _, sha256) => file.finish().map(|()| vec![(self.name, sha256.finalize().into())]),
            To::Away(file, sent) => file.finish(sent, self.name),
        };
        self.digests.extend(finished.map_err(|cause| Error::io(shown, cause))?);
        Ok(self.size)
    }
}

impl Write for ContextFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = match &mut self.to {
            To::Disk(file, kept, sha256) => {
                let length = file.write(kept, bytes)?;
                sha256.update(&bytes[..length]);
                length
            }
            To::Away(file, sent) => file.write(sent, &self.name, bytes)?,
        };
        self.size += length as u64;
        Ok(length)
    }

    /// Nothing waits for long: a file goes piece by piece, and at its end.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    fn create(out: &Path) -> Result<ContextWriter> {
        let place = OutputPath::open(out)?;
        let room = SpaceLimit::of(place.parent(), false).unwrap();
        ContextWriter::create(place, room, false, &CleanupHandle::default())
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
        sink.program(reader::BINARY).unwrap().finish().unwrap();
        sink.finish().unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(std::fs::read_dir(&out).unwrap().count(), 3, "the marker is gone");
        let mode = |name: &str| std::fs::metadata(out.join(name)).unwrap().mode() & 0o7777;
        assert_eq!((mode(""), mode("packages"), mode("packages/list")), (0o700, 0o700, 0o600));
        assert_eq!(mode(reader::BINARY), 0o700);
        let context = reader::Context::open(&out).unwrap();
        context.names().try_for_each(|name| context.check(name)).unwrap();
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
        assert_eq!(sink.finish().unwrap_err().code, Code::NotEqual);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
