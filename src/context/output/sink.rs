//! Writes the files of a context and their checksums, and verifies them before `COMPLETE`.

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

/// Context that is being written. If dropped before [`ContextWriter::finish`], its files are
/// removed from this machine.
#[derive(Debug)]
pub struct ContextWriter {
    output: Output,
    digests: BTreeMap<String, Sha256>,
}

#[derive(Debug)]
enum Output {
    Local(LocalOutput),
    Stream(StreamOutput),
}

impl ContextWriter {
    /// Starts a context that gets the path `place`. Fails as [`super::PartialDir::create`] does.
    pub fn create(
        place: OutputPath,
        room: SpaceLimit,
        insecure: bool,
        scratch: &CleanupHandle,
    ) -> Result<Self> {
        let output = Output::Local(LocalOutput::create(place, room, insecure, scratch)?);
        Ok(ContextWriter { output, digests: BTreeMap::new() })
    }

    /// Starts a context that is sent to `to` and not stored on this machine.
    pub fn stream(to: Stream) -> Self {
        ContextWriter { output: Output::Stream(StreamOutput::new(to)), digests: BTreeMap::new() }
    }

    /// Returns the partial directory. `None` if the context is sent.
    pub fn directory(&self) -> Option<BorrowedFd<'_>> {
        self.local().map(LocalOutput::directory)
    }

    fn local(&self) -> Option<&LocalOutput> {
        match &self.output {
            Output::Local(local) => Some(local),
            Output::Stream(_) => None,
        }
    }

    /// Returns device and inode of the directories that the walk must skip: the partial directory
    /// and an empty directory at the output path.
    pub fn identities(&self) -> impl Iterator<Item = (u64, u64)> {
        self.local().into_iter().flat_map(LocalOutput::identities)
    }

    /// Fails with exit code 10 if `least` bytes exceed the space limit.
    pub fn check_room(&self, least: u64) -> Result<()> {
        self.local().map_or(Ok(()), |local| local.check_room(least))
    }

    /// Creates a file that is not executable, and the directories in its name.
    pub fn file(&mut self, name: &str) -> Result<ContextFile<'_>> {
        self.create_file(name, Mode::RUSR | Mode::WUSR)
    }

    /// Creates an executable file.
    pub fn program(&mut self, name: &str) -> Result<ContextFile<'_>> {
        self.create_file(name, Mode::RWXU)
    }

    fn create_file(&mut self, name: &str, mode: Mode) -> Result<ContextFile<'_>> {
        let target = match &mut self.output {
            Output::Local(local) => Target::Local(local.file(name, mode)?, local, sha2::Sha256::new()),
            Output::Stream(stream) => Target::Stream(StreamFile::new(mode.contains(Mode::XUSR)), stream),
        };
        Ok(ContextFile { target, digests: &mut self.digests, name: name.to_owned(), size: 0 })
    }

    /// Writes a file with this content.
    pub fn write(&mut self, name: &str, content: &[u8]) -> Result<()> {
        let mut file = self.file(name)?;
        file.write_all(content).map_err(|cause| Error::io(escape::escape(name.as_bytes()), cause))?;
        file.finish().map(drop)
    }

    /// Returns the names of the finished files; of split files the names of the chunks
    /// ([`reader::chunk_name`]).
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.digests.keys().map(String::as_str)
    }

    /// Opens a finished file. Reads it from the disk, not from the page cache, if it is stored.
    ///
    /// Fails if the file was sent already.
    pub fn read_back(&self, name: &str) -> Result<Box<dyn Read + Send>> {
        match &self.output {
            Output::Local(local) => Ok(Box::new(local.read_back(name)?)),
            Output::Stream(stream) => Ok(Box::new(Cursor::new(stream.held(name)?))),
        }
    }

    /// Verifies every file, writes `COMPLETE` and publishes the context, or sends the held files.
    ///
    /// Fails with exit code 5 if a file that is read back does not match its checksum.
    pub fn finish(mut self) -> Result<()> {
        if self.local().is_some() {
            self.verify()?;
        }
        let checksums: String =
            self.digests.iter().map(|(name, digest)| reader::checksum_line(name, digest)).collect();
        if let Output::Stream(stream) = &mut self.output {
            return stream.publish(&checksums);
        }
        self.write(COMPLETE, checksums.as_bytes())?;
        self.local().map_or(Ok(()), |local| local.publish(self.names()))
    }

    /// Reads every file back and compares its digest.
    fn verify(&self) -> Result<()> {
        for (name, digest) in &self.digests {
            let actual = reader::digest(self.read_back(name)?).map_err(|cause| Error::io(name, cause))?;
            if actual != *digest {
                let what = format!("{name}: checksum mismatch when read back");
                return Err(Error::new(Code::NotEqual, what)
                    .hint("the disk or the memory may be faulty; write to another disk"));
            }
        }
        Ok(())
    }
}

/// File of the context that is being written.
pub struct ContextFile<'a> {
    target: Target<'a>,
    digests: &'a mut BTreeMap<String, Sha256>,
    name: String,
    size: u64,
}

enum Target<'a> {
    Local(LocalFile, &'a mut LocalOutput, sha2::Sha256),
    Stream(StreamFile, &'a mut StreamOutput),
}

impl ContextFile<'_> {
    /// Syncs the file to the disk, or hands it to the stream. Returns its size in bytes.
    pub fn finish(self) -> Result<u64> {
        let shown = escape::escape(self.name.as_bytes());
        let finished = match self.target {
            Target::Local(file, _, sha256) => {
                file.finish().map(|()| vec![(self.name, sha256.finalize().into())])
            }
            Target::Stream(file, stream) => file.finish(stream, self.name),
        };
        self.digests.extend(finished.map_err(|cause| Error::io(shown, cause))?);
        Ok(self.size)
    }
}

impl Write for ContextFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = match &mut self.target {
            Target::Local(file, local, sha256) => {
                let length = file.write(local, bytes)?;
                sha256.update(&bytes[..length]);
                length
            }
            Target::Stream(file, stream) => file.write(stream, &self.name, bytes)?,
        };
        self.size += length as u64;
        Ok(length)
    }

    /// Does nothing: both targets write in steps of bounded size, and the rest in `finish`.
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
    fn context_writer_finish_publishes_complete_context() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("ctx");
        let mut writer = create(&out).unwrap();
        writer.write("a/b/c", b"x").unwrap();
        assert!(!out.exists());
        drop(writer);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "a dropped writer leaves nothing");

        let mut writer = create(&out).unwrap();
        writer.write("packages/list", b"x").unwrap();
        writer.program(reader::BINARY).unwrap().finish().unwrap();
        writer.finish().unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(std::fs::read_dir(&out).unwrap().count(), 3, "the marker file is removed");
        let mode = |name: &str| std::fs::metadata(out.join(name)).unwrap().mode() & 0o7777;
        assert_eq!((mode(""), mode("packages"), mode("packages/list")), (0o700, 0o700, 0o600));
        assert_eq!(mode(reader::BINARY), 0o700);
        let context = reader::Context::open(&out).unwrap();
        context.names().try_for_each(|name| context.check(name)).unwrap();
    }

    #[test]
    fn context_writer_existing_files_are_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("mine"), "").unwrap();
        assert_eq!(create(dir.path()).unwrap_err().code, Code::Usage);
        let empty = dir.path().join("empty");
        std::fs::create_dir(&empty).unwrap();
        create(&empty).unwrap().finish().unwrap();
        assert!(empty.join(COMPLETE).exists());
        // A directory that was created during the run is not replaced either.
        let late = dir.path().join("late");
        let writer = create(&late).unwrap();
        std::fs::create_dir(&late).unwrap();
        std::fs::write(late.join("mine"), "").unwrap();
        assert!(writer.finish().is_err());
        assert!(late.join("mine").exists() && !late.join(COMPLETE).exists());
    }

    #[test]
    fn context_writer_finish_changed_file_is_not_equal() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("ctx");
        let mut writer = create(&out).unwrap();
        writer.write("a", b"right").unwrap();
        let partial = std::fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
        std::fs::write(partial.join("a"), "wrong").unwrap();
        assert_eq!(writer.finish().unwrap_err().code, Code::NotEqual);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
