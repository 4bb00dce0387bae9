//! Sends a context to the upload child ([`crate::transfer::upload::stream`]) while it is written,
//! without a copy on this machine.

use crate::context::reader;
use crate::error::{Error, Result};
use crate::model::digest::Sha256;
use sha2::Digest as _;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

/// Size of a chunk in bytes. The upload child holds one chunk in memory to send it again if the
/// connection breaks.
pub const CHUNK_SIZE: usize = 16 << 20;

/// Maximum size of an object in bytes. The executable is sent as one object and can contain debug
/// information.
pub const LARGEST: usize = 1 << 30;

/// Pipe to the upload child.
pub type Stream = Box<dyn Write + Send>;

/// Output that sends files as objects through a pipe.
pub(super) struct StreamOutput {
    stream: Stream,
    /// Finished files of at most one chunk. They are sent at the end, because the generated text
    /// files are searched for secrets first.
    held: BTreeMap<String, Arc<[u8]>>,
}

impl fmt::Debug for StreamOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamOutput").field("held", &self.held.keys()).finish_non_exhaustive()
    }
}

impl StreamOutput {
    pub(super) fn new(stream: Stream) -> Self {
        StreamOutput { stream, held: BTreeMap::new() }
    }

    /// Returns a finished file. Fails if it was sent already.
    pub(super) fn held(&self, name: &str) -> Result<Arc<[u8]>> {
        let held = self.held.get(name).map(Arc::clone);
        held.ok_or_else(|| Error::io(name, io::ErrorKind::NotFound.into()))
    }

    /// Sends all held files, then `COMPLETE` with this content.
    pub(super) fn publish(&mut self, checksums: &str) -> Result<()> {
        for (name, content) in std::mem::take(&mut self.held) {
            self.send(&name, &content).map_err(|cause| Error::io(name, cause))?;
        }
        self.send(reader::COMPLETE, checksums.as_bytes())
            .and_then(|()| self.stream.flush())
            .map_err(|cause| Error::io(reader::COMPLETE, cause))
    }

    /// Sends one object: a line with its length in bytes and its name, then its content.
    fn send(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        writeln!(self.stream, "{} {name}", content.len())?;
        self.stream.write_all(content)
    }
}

/// File that is being written, sent as one object or as several chunks.
pub(super) struct StreamFile {
    /// Maximum size of a chunk in bytes.
    max: usize,
    chunk: Vec<u8>,
    /// Names and digests of the chunks that were sent.
    sent: Vec<(String, Sha256)>,
}

impl StreamFile {
    /// Starts a file. An executable is not split, so that the user can run it.
    pub(super) fn new(is_executable: bool) -> Self {
        let max = if is_executable { LARGEST } else { CHUNK_SIZE };
        StreamFile { max, chunk: Vec::new(), sent: Vec::new() }
    }

    /// Adds some of `bytes` to the file and returns their number.
    pub(super) fn write(&mut self, to: &mut StreamOutput, name: &str, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(self.max - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..length]);
        if self.chunk.len() == self.max {
            self.send_chunk(to, name)?;
        }
        Ok(length)
    }

    fn send_chunk(&mut self, to: &mut StreamOutput, name: &str) -> io::Result<()> {
        let name = reader::chunk_name(name, self.sent.len());
        to.send(&name, &self.chunk)?;
        self.sent.push((name, sha2::Sha256::digest(&self.chunk).into()));
        self.chunk.clear();
        Ok(())
    }

    /// Finishes the file and returns names and digests of its objects.
    pub(super) fn finish(mut self, to: &mut StreamOutput, name: String) -> io::Result<Vec<(String, Sha256)>> {
        if self.sent.is_empty() {
            let digest = sha2::Sha256::digest(&self.chunk).into();
            to.held.insert(name.clone(), self.chunk.into());
            return Ok(vec![(name, digest)]);
        }
        if !self.chunk.is_empty() {
            self.send_chunk(to, &name)?;
        }
        Ok(self.sent)
    }
}
