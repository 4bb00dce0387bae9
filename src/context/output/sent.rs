//! A context that is sent while it is made: to the process that delivers it ([`crate::transfer::upload::stream`]), and nowhere on this machine.

use crate::context::reader;
use crate::error::{Error, Result};
use crate::model::digest::Sha256;
use sha2::Digest as _;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

/// Bytes of a piece, which is held in memory until it is there: what is lost on the way is sent once more.
pub const CHUNK_SIZE: usize = 16 << 20;

/// No object is larger: this program is one, and may have been built with all that a debugger wants to know.
pub const LARGEST: usize = 1 << 30;

/// What takes one object after the other.
pub type Stream = Box<dyn Write + Send>;

/// Files that are on their way.
pub(super) struct StreamOutput {
    stream: Stream,
    /// What is whole and no larger than a piece waits: descriptions are searched before anybody sees them.
    held: BTreeMap<String, Arc<[u8]>>,
}

impl fmt::Debug for StreamOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sent").field("held", &self.held.keys()).finish_non_exhaustive()
    }
}

impl StreamOutput {
    pub(super) fn new(stream: Stream) -> Self {
        StreamOutput { stream, held: BTreeMap::new() }
    }

    /// A file that is finished, if it is not sent yet.
    pub(super) fn held(&self, name: &str) -> Result<Arc<[u8]>> {
        let held = self.held.get(name).map(Arc::clone);
        held.ok_or_else(|| Error::io(name, io::ErrorKind::NotFound.into()))
    }

    /// Sends all that waits, and the seal.
    pub(super) fn settle(&mut self, seal: &str) -> Result<()> {
        for (name, content) in std::mem::take(&mut self.held) {
            self.send(&name, &content).map_err(|cause| Error::io(name, cause))?;
        }
        let sealed = self.send(reader::COMPLETE, seal.as_bytes()).and_then(|()| self.stream.flush());
        sealed.map_err(|cause| Error::io(reader::COMPLETE, cause))
    }

    fn send(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        writeln!(self.stream, "{} {name}", content.len())?;
        self.stream.write_all(content)
    }
}

/// One file: in one piece, or in as many as it takes.
pub(super) struct StreamFile {
    /// Bytes of a piece.
    most: usize,
    piece: Vec<u8>,
    /// Digests of the pieces that are gone.
    gone: Vec<(String, Sha256)>,
}

impl StreamFile {
    /// A program is run as it is, and so in one piece.
    pub(super) fn new(is_program: bool) -> Self {
        let most = if is_program { LARGEST } else { CHUNK_SIZE };
        StreamFile { most, piece: Vec::new(), gone: Vec::new() }
    }

    pub(super) fn write(&mut self, to: &mut StreamOutput, name: &str, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(self.most - self.piece.len());
        self.piece.extend_from_slice(&bytes[..length]);
        if self.piece.len() == self.most {
            self.let_go(to, name)?;
        }
        Ok(length)
    }

    fn let_go(&mut self, to: &mut StreamOutput, name: &str) -> io::Result<()> {
        let name = reader::piece(name, self.gone.len());
        to.send(&name, &self.piece)?;
        self.gone.push((name, sha2::Sha256::digest(&self.piece).into()));
        self.piece.clear();
        Ok(())
    }

    /// Returns the names and digests of what it became.
    pub(super) fn finish(mut self, to: &mut StreamOutput, name: String) -> io::Result<Vec<(String, Sha256)>> {
        if self.gone.is_empty() {
            let digest = sha2::Sha256::digest(&self.piece).into();
            to.held.insert(name.clone(), self.piece.into());
            return Ok(vec![(name, digest)]);
        }
        if !self.piece.is_empty() {
            self.let_go(to, &name)?;
        }
        Ok(self.gone)
    }
}
