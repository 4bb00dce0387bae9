//! What is sent: the context's own files and nothing else, each proven to be the one that was sealed.

use crate::archive::Writer;
use crate::context::{BINARY, COMPLETE, Context};
use crate::error::Error;
use crate::net::Failure;
use crate::tree::{Kind, Md5, Node, Sha256, Stat};
use md5::Digest as _;
use std::fs::File;
use std::io::{self, Cursor, PipeReader, Read, Write};
use std::sync::Arc;

/// One object on the server.
#[derive(Clone, Debug)]
pub(super) struct Payload {
    /// Its name below the address; nothing if the address is its own.
    pub(super) name: Option<String>,
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
    /// The whole context as one archive, which is made while it is sent and stored nowhere here.
    pub(super) fn archive(context: &Arc<Context>, name: Option<String>) -> Result<Self, Error> {
        Payload::measure(Source::Archive(Arc::clone(context)), name)
    }

    /// One file.
    pub(super) fn file(context: &Arc<Context>, name: &str) -> Result<Self, Error> {
        Payload::measure(Source::File(Arc::clone(context), name.to_owned()), Some(name.to_owned()))
    }

    /// One file that is only in memory.
    pub(super) fn memory(content: Arc<[u8]>, name: &str) -> Result<Self, Error> {
        Payload::measure(Source::Memory(content), Some(name.to_owned()))
    }

    fn measure(source: Source, name: Option<String>) -> Result<Self, Error> {
        let mut payload = Payload { name, source, length: 0, sha256: [0; 32], md5: [0; 16] };
        let (mut sha256, mut md5) = (sha2::Sha256::new(), md5::Md5::new());
        let mut buffer = vec![0; 256 << 10];
        let failed = |cause| Error::io("the context cannot be read", cause);
        let mut content = payload.source.open().map_err(failed)?;
        loop {
            match content.read(&mut buffer).map_err(failed)? {
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
        let mut whole = Whole { content, left: self.length };
        io::copy(&mut (&mut whole).take(offset), &mut io::sink()).map_err(|cause| unreadable(&cause))?;
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

/// So many bytes as were announced, or an error that carries [`Failure::Source`]: who sends must not take the end of what has
/// become shorter for a pause, nor a disk's fault for the network's.
pub(super) struct Whole {
    content: Box<dyn Read>,
    left: u64,
}

impl Read for Whole {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        match self.content.read(&mut buffer[..most]) {
            Ok(0) if most > 0 => Err(unreadable(&"it has become shorter").into()),
            Ok(got) => {
                self.left -= got as u64;
                Ok(got)
            }
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => Err(cause),
            Err(cause) => Err(unreadable(&cause).into()),
        }
    }
}

/// What a reader's error means; an error of [`Whole`] has said it itself.
pub(super) fn unreadable(cause: &dyn std::fmt::Display) -> Failure {
    Failure::Source { cause: cause.to_string() }
}

/// The archive's bytes, which a thread makes as they are taken.
fn archive(context: Arc<Context>) -> io::Result<PipeReader> {
    let (reader, writer) = io::pipe()?;
    std::thread::Builder::new().name("archive".to_owned()).spawn(move || {
        // Whoever reads notices that the end is missing: the length is known ([`Whole`]).
        let _ = write(&context, writer);
    })?;
    Ok(reader)
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
        if !archive.append_file(&node, &mut file)?.is_whole() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    archive.finish()?.flush()
}
