//! Objects to upload: the files that `COMPLETE` lists, each verified with its checksum.

use crate::context::reader::{BINARY, COMPLETE, Context, damaged};
use crate::context::tar::Writer;
use crate::error::Error;
use crate::model::digest::{Md5, Sha256};
use crate::model::tree::{Kind, Node, Stat};
use crate::transfer::net::Failure;
use md5::Digest as _;
use std::io::{self, Cursor, PipeReader, Read, Write};
use std::sync::Arc;
use std::thread::JoinHandle;

/// Object to store on the server.
#[derive(Clone, Debug)]
pub(super) struct Payload {
    /// Name below a directory URL.
    pub(super) name: String,
    source: Source,
    /// Length in bytes.
    pub(super) length: u64,
    pub(super) sha256: Sha256,
    /// S3-compatible storage returns it as the entity tag (ETag) of an object.
    pub(super) md5: Md5,
}

#[derive(Clone, Debug)]
enum Source {
    /// File of a context.
    File(Arc<Context>, String),
    /// Tar archive of all files of a context, `COMPLETE` last.
    Archive(Arc<Context>),
    /// Content in memory.
    Memory(Arc<[u8]>),
}

impl Payload {
    /// Returns the context as one tar archive, which is generated each time it is read.
    ///
    /// Fails with exit code 1 if a file does not match its checksum in `COMPLETE`.
    pub(super) fn archive(context: &Arc<Context>, name: String) -> Result<Self, Error> {
        Payload::measure(Source::Archive(Arc::clone(context)), name)
    }

    /// Returns one file of the context.
    ///
    /// Fails with exit code 1 if the file does not match its checksum in `COMPLETE`.
    pub(super) fn file(context: &Arc<Context>, name: &str) -> Result<Self, Error> {
        let payload = Payload::measure(Source::File(Arc::clone(context), name.to_owned()), name.to_owned())?;
        match context.digest(name) == Some(payload.sha256) {
            true => Ok(payload),
            false => Err(unusable(io::Error::other(damaged(name)))),
        }
    }

    /// Returns an object with this content.
    pub(super) fn memory(content: Arc<[u8]>, name: &str) -> Result<Self, Error> {
        Payload::measure(Source::Memory(content), name.to_owned())
    }

    /// Reads the source once for its length and digests.
    fn measure(source: Source, name: String) -> Result<Self, Error> {
        let mut payload = Payload { name, source, length: 0, sha256: [0; 32], md5: [0; 16] };
        let (mut sha256, mut md5) = (sha2::Sha256::new(), md5::Md5::new());
        let mut buffer = vec![0; 256 << 10];
        let mut content = payload.source.open().map_err(unusable)?;
        loop {
            match content.read(&mut buffer).map_err(unusable)? {
                0 => break,
                got => {
                    sha256.update(&buffer[..got]);
                    md5.update(&buffer[..got]);
                    payload.length += got as u64;
                }
            }
        }
        (payload.sha256, payload.md5) = (sha256.finalize().into(), md5.finalize().into());
        Ok(payload)
    }

    /// Opens the content at `offset` bytes.
    ///
    /// Reads the bytes before `offset` too because the digest covers them.
    pub(super) fn open_at(&self, offset: u64) -> Result<VerifiedReader, Failure> {
        let content = self.source.open().map_err(|cause| unreadable(&cause))?;
        let mut reader =
            VerifiedReader { content, left: self.length, sha256: sha2::Sha256::new(), expected: self.sha256 };
        io::copy(&mut (&mut reader).take(offset), &mut io::sink()).map_err(|cause| source_failure(&cause))?;
        Ok(reader)
    }
}

impl Source {
    /// Opens the content at its start.
    fn open(&self) -> io::Result<Box<dyn Read>> {
        match self {
            Source::File(context, name) => Ok(Box::new(context.open_file(name)?)),
            Source::Archive(context) => Ok(Box::new(archive(Arc::clone(context))?)),
            Source::Memory(content) => Ok(Box::new(Cursor::new(Arc::clone(content)))),
        }
    }
}

fn unusable(cause: io::Error) -> Error {
    Error::io("cannot send the context", cause)
        .hint("the context is damaged or incomplete; copy it again from the converted machine")
}

/// Reader that returns exactly the measured bytes or an error that contains [`Failure::Source`].
///
/// The sender can then distinguish a file that changed or cannot be read from a network failure.
pub(super) struct VerifiedReader {
    content: Box<dyn Read>,
    left: u64,
    sha256: sha2::Sha256,
    expected: Sha256,
}

impl Read for VerifiedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let max = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        match self.content.read(&mut buffer[..max]) {
            Ok(0) if max > 0 => Err(unreadable(&"the file was truncated").into()),
            Ok(got) => {
                self.left -= got as u64;
                self.sha256.update(&buffer[..got]);
                // Withholds the last bytes if the digest differs: the server then never receives
                // the announced length, and does not store the object.
                if got > 0 && self.left == 0 && self.sha256.clone().finalize()[..] != self.expected {
                    return Err(unreadable(&"the file has changed").into());
                }
                Ok(got)
            }
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => Err(cause),
            Err(cause) => Err(unreadable(&cause).into()),
        }
    }
}

fn unreadable(cause: &dyn std::fmt::Display) -> Failure {
    Failure::Source { cause: cause.to_string() }
}

/// Returns the failure inside an error of [`VerifiedReader`].
pub(super) fn source_failure(error: &io::Error) -> Failure {
    Failure::from_io(error).cloned().unwrap_or_else(|| unreadable(error))
}

/// Tar archive that a thread writes into a pipe. Reading the end returns the error of the thread.
struct ArchiveReader {
    bytes: PipeReader,
    writer: Option<JoinHandle<io::Result<()>>>,
}

impl Read for ArchiveReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.bytes.read(buffer)?;
        if got == 0
            && !buffer.is_empty()
            && let Some(writer) = self.writer.take()
        {
            writer
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("internal error: archive thread failed")))?;
        }
        Ok(got)
    }
}

fn archive(context: Arc<Context>) -> io::Result<ArchiveReader> {
    let (bytes, pipe) = io::pipe()?;
    let thread = std::thread::Builder::new().name("archive".to_owned());
    let writer = thread.spawn(move || write(&context, pipe))?;
    Ok(ArchiveReader { bytes, writer: Some(writer) })
}

/// Writes the archive with fixed UID, GID, permissions and timestamps.
///
/// The archive is read several times (digest, each attempt), so its bytes must always be the
/// same.
fn write(context: &Context, out: impl Write) -> io::Result<()> {
    let mut archive = Writer::new(out);
    for name in context.names().chain([COMPLETE]) {
        let mut file = context.open_file(name)?;
        let mode = if name == BINARY || name.ends_with(".sh") { 0o700 } else { 0o600 };
        let stat = Stat { mode, uid: 0, gid: 0, mtime: 0, mtime_nsec: 0 };
        let kind = Kind::File { size: file.metadata()?.len(), sha256: None };
        let node = Node { path: name.as_bytes().into(), kind, stat, group: 0, xattrs: None };
        let written = archive.append_file(&node, &mut file)?;
        if !written.is_whole() || context.digest(name) != Some(written.sha256) {
            return Err(written.cause.unwrap_or_else(|| io::Error::other(damaged(name))));
        }
    }
    archive.finish()?.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::reader::{checksum_line, digest};

    fn context() -> (tempfile::TempDir, Arc<Context>) {
        let dir = tempfile::tempdir().unwrap();
        let mut checksums = String::new();
        for (name, content) in [("a", "first"), (BINARY, "#!"), ("z", "last")] {
            std::fs::write(dir.path().join(name), content).unwrap();
            checksums += &checksum_line(name, &digest(content.as_bytes()).unwrap());
        }
        std::fs::write(dir.path().join(COMPLETE), checksums).unwrap();
        let context = Arc::new(Context::open(dir.path()).unwrap());
        (dir, context)
    }

    fn read(payload: &Payload, offset: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        payload.open_at(offset)?.read_to_end(&mut bytes).map(|_| bytes)
    }

    #[test]
    fn payload_open_at_any_offset_returns_measured_bytes() {
        let (_dir, context) = context();
        for payload in [
            Payload::archive(&context, "x.tar".to_owned()).unwrap(),
            Payload::file(&context, "a").unwrap(),
            Payload::file(&context, COMPLETE).unwrap(),
            Payload::memory(Arc::from(*b"in memory"), "x").unwrap(),
            Payload::memory(Arc::from(*b""), "empty").unwrap(),
        ] {
            let whole = read(&payload, 0).unwrap();
            assert_eq!((whole.len() as u64, digest(&*whole).unwrap()), (payload.length, payload.sha256));
            for offset in [1, payload.length / 2, payload.length] {
                let offset = offset.min(payload.length);
                assert_eq!(read(&payload, offset).unwrap(), whole[offset as usize..]);
            }
        }
    }

    #[test]
    fn payload_open_at_changed_file_returns_error() {
        for (name, content) in [("a", "First"), ("a", "fi"), ("z", "last and more"), (COMPLETE, "")] {
            let (dir, context) = context();
            let before = [
                Payload::archive(&context, "x.tar".to_owned()).unwrap(),
                Payload::file(&context, name).unwrap(),
            ];
            std::fs::write(dir.path().join(name), content).unwrap();
            for payload in before {
                // Bytes after the measured length are not sent.
                if payload.name == name && content.starts_with("last") {
                    assert_eq!(read(&payload, 0).unwrap(), b"last");
                    continue;
                }
                for offset in [0, 1] {
                    let text = read(&payload, offset).unwrap_err().to_string();
                    assert!(
                        ["changed", "damaged", "truncated"].iter().any(|word| text.contains(word)),
                        "{name}: {text}"
                    );
                    assert_eq!(text.matches("cannot read").count(), 1, "{text}");
                }
            }
            // A new payload of the changed context fails too.
            assert!(Payload::archive(&context, "x.tar".to_owned()).is_err(), "{name}");
            assert!(Payload::file(&context, name).is_err(), "{name}");
        }
    }
}
