//! What is sent: the context's own files and nothing else, each proven to be the one that was sealed.

use crate::archive::Writer;
use crate::context::{BINARY, COMPLETE, Context};
use crate::error::{Error, Result};
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
    pub(super) fn archive(context: &Arc<Context>, name: Option<String>) -> Result<Self> {
        Payload::measure(Source::Archive(Arc::clone(context)), name)
    }

    /// One file.
    pub(super) fn file(context: &Arc<Context>, name: &str) -> Result<Self> {
        Payload::measure(Source::File(Arc::clone(context), name.to_owned()), Some(name.to_owned()))
    }

    /// One file that is only in memory.
    pub(super) fn memory(content: Arc<[u8]>, name: &str) -> Result<Self> {
        Payload::measure(Source::Memory(content), Some(name.to_owned()))
    }

    fn measure(source: Source, name: Option<String>) -> Result<Self> {
        let mut payload = Payload { name, source, length: 0, sha256: [0; 32], md5: [0; 16] };
        let (mut sha256, mut md5) = (sha2::Sha256::new(), md5::Md5::new());
        let mut buffer = vec![0; 256 << 10];
        let failed = |cause| Error::io("the context cannot be read", cause);
        let mut content = payload.open().map_err(failed)?;
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

    /// Its bytes, from the beginning.
    pub(super) fn open(&self) -> io::Result<Box<dyn Read>> {
        match &self.source {
            Source::File(context, name) => Ok(Box::new(File::open(context.path(name))?)),
            Source::Archive(context) => Ok(Box::new(archive(Arc::clone(context))?)),
            Source::Memory(content) => Ok(Box::new(Cursor::new(Arc::clone(content)))),
        }
    }

    /// Its bytes from some place on.
    pub(super) fn open_at(&self, offset: u64) -> io::Result<Box<dyn Read>> {
        let mut content = self.open()?;
        let skipped = io::copy(&mut (&mut content).take(offset), &mut io::sink())?;
        if skipped == offset { Ok(content) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

/// The archive's bytes, which a thread makes as they are taken.
fn archive(context: Arc<Context>) -> io::Result<PipeReader> {
    let (reader, writer) = io::pipe()?;
    std::thread::Builder::new().name("archive".to_owned()).spawn(move || {
        // Whoever reads notices that the end is missing: the length is known.
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
