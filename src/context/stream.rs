//! Readers around readers.

use crate::model::digest::Sha256;
use sha2::Digest;
use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

/// A piece that passes from the reading thread to the other; at most [`PIECES`] wait.
const PIECE: usize = 256 << 10;
const PIECES: usize = 8;

/// Digests and counts what is read through it.
pub(crate) struct Hashing<R> {
    inner: R,
    hasher: sha2::Sha256,
    length: u64,
}

impl<R: Read> Hashing<R> {
    pub(crate) fn new(inner: R) -> Self {
        Hashing { inner, hasher: sha2::Sha256::new(), length: 0 }
    }

    /// Digest and length of what was read.
    pub(crate) fn finish(self) -> (Sha256, u64) {
        (self.hasher.finalize().into(), self.length)
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..got]);
        self.length += got as u64;
        Ok(got)
    }
}

/// Runs `work` on what `source` gives while another thread reads ahead (decompresses, digests).
///
/// `source` is read to its end only if `work` does so.
pub(crate) fn read_ahead<T>(source: &mut (dyn Read + Send), work: impl FnOnce(&mut dyn Read) -> T) -> T {
    let (sender, receiver) = sync_channel(PIECES);
    let (used_sender, used_receiver) = channel();
    std::thread::scope(|scope| {
        scope.spawn(move || send_all(source, &sender, &used_receiver));
        work(&mut Received { receiver, used_pieces: used_sender, piece: Vec::new(), used: 0 })
    })
}

/// Sends all pieces of `source`, in buffers that the receiver has returned as far as there are
/// any.
fn send_all(
    source: &mut (dyn Read + Send),
    sender: &SyncSender<io::Result<Vec<u8>>>,
    used_pieces: &Receiver<Vec<u8>>,
) {
    loop {
        let mut piece = used_pieces.try_recv().unwrap_or_default();
        piece.resize(PIECE, 0);
        let result = read_full(source, &mut piece).map(|got| {
            piece.truncate(got);
            piece
        });
        let last = result.as_ref().map_or(true, |piece| piece.len() < PIECE);
        if sender.send(result).is_err() || last {
            return;
        }
    }
}

struct Received {
    receiver: Receiver<io::Result<Vec<u8>>>,
    used_pieces: Sender<Vec<u8>>,
    piece: Vec<u8>,
    used: usize,
}

impl Read for Received {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.used == self.piece.len() {
            let Ok(piece) = self.receiver.recv() else { return Ok(0) };
            let used = std::mem::replace(&mut self.piece, piece?);
            self.used = 0;
            // The sender is gone at the end of the source; it needs no buffers then.
            let _ = self.used_pieces.send(used);
        }
        let count = buffer.len().min(self.piece.len() - self.used);
        buffer[..count].copy_from_slice(&self.piece[self.used..self.used + count]);
        self.used += count;
        Ok(count)
    }
}

/// Fills the buffer as far as the reader goes.
pub(crate) fn read_full<R: Read + ?Sized>(reader: &mut R, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(got) => filled += got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Reader that fails if its source has more than a number of bytes.
#[derive(Debug)]
pub struct Limited<R> {
    inner: R,
    left: u64,
}

impl<R> Limited<R> {
    /// Limits `inner` to `limit` bytes.
    pub fn new(inner: R, limit: u64) -> Self {
        Limited { inner, left: limit }
    }
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        let left = self.left.checked_sub(got as u64);
        self.left = left.ok_or_else(|| {
            io::Error::new(io::ErrorKind::FileTooLarge, "expands to too many bytes for its compressed size")
        })?;
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_ahead_gives_the_same_bytes_and_errors() {
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 20 * PIECE] {
            let data: Vec<u8> = (0..length).map(|place| place as u8).collect();
            let mut hashing = Hashing::new(data.as_slice());
            let mut copy = Vec::new();
            read_ahead(&mut hashing, |ahead| ahead.read_to_end(&mut copy)).unwrap();
            assert!(copy == data);
            assert_eq!(hashing.finish(), (sha2::Sha256::digest(&data).into(), length as u64));
        }
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::from_raw_os_error(5))
            }
        }
        let error = read_ahead(&mut Broken, |ahead| io::copy(ahead, &mut io::sink())).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(5));
    }

    #[test]
    fn work_may_end_before_the_source() {
        read_ahead(&mut io::repeat(1), |ahead| ahead.read_exact(&mut [0; 10])).unwrap();
    }
}
