//! What is sent: the context's own files and nothing else, each proven to be the one that was sealed.

use crate::context::reader::{BINARY, COMPLETE, Context, damaged};
use crate::context::tar::Writer;
use crate::error::Error;
use crate::model::digest::{Md5, Sha256};
use crate::model::tree::{Kind, Node, Stat};
use crate::transfer::net::Failure;
use md5::Digest as _;
use std::fs::File;
use std::io::{self, Cursor, PipeReader, Read, Write};
use std::sync::Arc;
use std::thread::JoinHandle;

/// One object on the server.
#[derive(Clone, Debug)]
pub(super) struct Payload {
    /// Its name below the address of a directory.
    pub(super) name: String,
    source: Source,
    /// Bytes.
    pub(super) length: u64,
    pub(super) sha256: Sha256,
    /// S3 and its like call it the object's tag.
    pub(super) md5: Md5,
}

#[derive(Clone, Debug)]
enum Source {
    /// One file of a context.
    File(Arc<Context>, String),
    /// All of them as an archive, `COMPLETE` last.
    Archive(Arc<Context>),
    /// What is on no disk.
    Memory(Arc<[u8]>),
}

impl Payload {
    /// The whole context as one archive, which is made while it is sent and stored nowhere here. Code 1, here and in [`Self::file`],
    /// for what is not as it was sealed.
    pub(super) fn archive(context: &Arc<Context>, name: String) -> Result<Self, Error> {
        Payload::measure(Source::Archive(Arc::clone(context)), name)
    }

    /// One file.
    pub(super) fn file(context: &Arc<Context>, name: &str) -> Result<Self, Error> {
        let payload = Payload::measure(Source::File(Arc::clone(context), name.to_owned()), name.to_owned())?;
        match context.digest(name) == Some(payload.sha256) {
            true => Ok(payload),
            false => Err(unusable(io::Error::other(damaged(name)))),
        }
    }

    /// One file that is only in memory.
    pub(super) fn memory(content: Arc<[u8]>, name: &str) -> Result<Self, Error> {
        Payload::measure(Source::Memory(content), name.to_owned())
    }

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

    /// Its bytes from some place on.
    pub(super) fn open_at(&self, offset: u64) -> Result<Whole, Failure> {
        let content = self.source.open().map_err(|cause| unreadable(&cause))?;
        let mut whole =
            Whole { content, left: self.length, sha256: sha2::Sha256::new(), wanted: self.sha256 };
        io::copy(&mut (&mut whole).take(offset), &mut io::sink()).map_err(|cause| source_failure(&cause))?;
        Ok(whole)
    }
}

impl Source {
    /// Its bytes, from the beginning.
    fn open(&self) -> io::Result<Box<dyn Read>> {
        match self {
            Source::File(context, name) => Ok(Box::new(File::open(context.path(name))?)),
            Source::Archive(context) => Ok(Box::new(archive(Arc::clone(context))?)),
            Source::Memory(content) => Ok(Box::new(Cursor::new(Arc::clone(content)))),
        }
    }
}

fn unusable(cause: io::Error) -> Error {
    Error::io("the context cannot be sent", cause)
        .hint("it is damaged or not all there; copy it again from where it was made")
}

/// The bytes that were announced and no others, or an error that carries [`Failure::Source`]: who sends must not take the end of what
/// has become shorter for a pause, nor a disk's fault for the network's, nor what has changed for what the server has made of it.
pub(super) struct Whole {
    content: Box<dyn Read>,
    left: u64,
    sha256: sha2::Sha256,
    wanted: Sha256,
}

impl Read for Whole {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        match self.content.read(&mut buffer[..most]) {
            Ok(0) if most > 0 => Err(unreadable(&"it has become shorter").into()),
            Ok(got) => {
                self.left -= got as u64;
                self.sha256.update(&buffer[..got]);
                // The last byte stays here where the others were not the right ones.
                if got > 0 && self.left == 0 && self.sha256.clone().finalize()[..] != self.wanted {
                    return Err(unreadable(&"it has changed").into());
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

/// What an error of [`Whole`] means.
pub(super) fn source_failure(error: &io::Error) -> Failure {
    Failure::from_io(error).cloned().unwrap_or_else(|| unreadable(error))
}

/// An archive's bytes, which a thread makes as they are taken. Its end is an error where the thread has failed.
struct Packed {
    bytes: PipeReader,
    packer: Option<JoinHandle<io::Result<()>>>,
}

impl Read for Packed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.bytes.read(buffer)?;
        if got == 0
            && !buffer.is_empty()
            && let Some(packer) = self.packer.take()
        {
            packer.join().unwrap_or_else(|_| Err(io::Error::other("the archive's thread has ended")))?;
        }
        Ok(got)
    }
}

fn archive(context: Arc<Context>) -> io::Result<Packed> {
    let (bytes, writer) = io::pipe()?;
    let packer = std::thread::Builder::new().name("archive".to_owned());
    let packer = packer.spawn(move || write(&context, writer))?;
    Ok(Packed { bytes, packer: Some(packer) })
}

/// The same bytes for the same context: owners and times are no part of it.
fn write(context: &Context, out: impl Write) -> io::Result<()> {
    let mut archive = Writer::new(out);
    for name in context.names().chain([COMPLETE]) {
        let mut file = File::open(context.path(name))?;
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
    use crate::context::reader::{digest, seal_line};

    fn context() -> (tempfile::TempDir, Arc<Context>) {
        let dir = tempfile::tempdir().unwrap();
        let mut seal = String::new();
        for (name, content) in [("a", "first"), (BINARY, "#!"), ("z", "last")] {
            std::fs::write(dir.path().join(name), content).unwrap();
            seal += &seal_line(name, &digest(content.as_bytes()).unwrap());
        }
        std::fs::write(dir.path().join(COMPLETE), seal).unwrap();
        let context = Arc::new(Context::open(dir.path()).unwrap());
        (dir, context)
    }

    fn read(payload: &Payload, offset: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        payload.open_at(offset)?.read_to_end(&mut bytes).map(|_| bytes)
    }

    #[test]
    fn it_gives_what_was_measured_from_anywhere_on() {
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
    fn what_changes_after_it_was_measured_is_not_given_to_the_end() {
        for (name, content) in [("a", "First"), ("a", "fi"), ("z", "last and more"), (COMPLETE, "")] {
            let (dir, context) = context();
            let before = [
                Payload::archive(&context, "x.tar".to_owned()).unwrap(),
                Payload::file(&context, name).unwrap(),
            ];
            std::fs::write(dir.path().join(name), content).unwrap();
            for payload in before {
                // Bytes behind the end are nobody's.
                if payload.name == name && content.starts_with("last") {
                    assert_eq!(read(&payload, 0).unwrap(), b"last");
                    continue;
                }
                for offset in [0, 1] {
                    let text = read(&payload, offset).unwrap_err().to_string();
                    assert!(
                        ["changed", "damaged", "shorter"].iter().any(|word| text.contains(word)),
                        "{name}: {text}"
                    );
                    assert_eq!(text.matches("cannot be read").count(), 1, "{text}");
                }
            }
            // Nor is it measured anew.
            assert!(Payload::archive(&context, "x.tar".to_owned()).is_err(), "{name}");
            assert!(Payload::file(&context, name).is_err(), "{name}");
        }
    }
}
