//! Holes of sparse files: they are neither read nor hashed.
//!
//! SHA-256 cannot skip zeros: 300 GiB of them take minutes. The digest of a file with large holes
//! covers only its data, see [`Coverage::Data`] and `docs/decisions/0018-holes.md`.

use super::digest::Sha256;
use sha2::Digest;
use std::io::{self, Read};

/// Holes of a file from which its digest covers only data, and from which a finding names it, in
/// bytes.
pub const LARGE_HOLES: u64 = 64 << 20;
/// Maximum number of zero bytes of holes that are hashed for one file. They take about a minute;
/// more than that is an attack, because files with [`LARGE_HOLES`] have another digest.
pub const MAX_HASHED: u64 = 64 << 30;
/// Unit of [`Coverage::Data`] in bytes.
const BLOCK: usize = 4096;
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Bytes of a file that its digest covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coverage {
    /// All: the SHA-256 of the content.
    #[default]
    All,
    /// Blocks of 4 KiB that are not all zeros: the SHA-256 of the offset (64 bits, little endian)
    /// and the bytes of each, in order, and of the file's size (64 bits, little endian).
    ///
    /// The value depends only on the content, not on where the file has holes.
    Data,
}

/// Content that knows its holes.
pub trait ReadHoles: Read {
    /// Moves to the end of the hole at the current position. Returns its length in bytes, or 0 if
    /// data follow.
    fn skip_hole(&mut self) -> u64;
}

/// Computes the digest of a file's content.
#[derive(Clone, Debug)]
pub struct ContentHasher {
    sha256: sha2::Sha256,
    coverage: Coverage,
    /// Number of bytes before `partial`.
    offset: u64,
    /// The beginning of the current block; always empty for [`Coverage::All`].
    partial: Vec<u8>,
}

impl ContentHasher {
    /// Returns a hasher at the start of a file.
    pub fn new(coverage: Coverage) -> Self {
        ContentHasher { sha256: sha2::Sha256::new(), coverage, offset: 0, partial: Vec::new() }
    }

    /// Adds the next bytes of the content.
    #[inline]
    pub fn update(&mut self, bytes: &[u8]) {
        match self.coverage {
            Coverage::All => self.sha256.update(bytes),
            Coverage::Data => self.update_data(bytes),
        }
    }

    fn update_data(&mut self, bytes: &[u8]) {
        let mut left = bytes;
        while !left.is_empty() {
            if self.partial.is_empty() && left.len() >= BLOCK {
                let (block, rest) = left.split_at(BLOCK);
                self.add_block(block);
                left = rest;
                continue;
            }
            let (part, rest) = left.split_at(left.len().min(BLOCK - self.partial.len()));
            self.partial.extend_from_slice(part);
            left = rest;
            if self.partial.len() == BLOCK {
                self.add_partial();
            }
        }
    }

    /// Adds `length` zeros. With [`Coverage::Data`], the time does not depend on `length`.
    pub fn skip_zeros(&mut self, length: u64) {
        let mut left = length;
        while left > 0 {
            if self.coverage == Coverage::Data && self.partial.is_empty() && left >= BLOCK as u64 {
                let blocks = left - left % BLOCK as u64;
                self.offset = self.offset.saturating_add(blocks);
                left -= blocks;
                continue;
            }
            // The rest of the current block, or zeros that have to be hashed.
            let most = if self.coverage == Coverage::Data { BLOCK - self.partial.len() } else { ZEROS.len() };
            let zeros = &ZEROS[..left.min(most as u64) as usize];
            self.update(zeros);
            left -= zeros.len() as u64;
        }
    }

    /// Returns the digest.
    pub fn finish(mut self) -> Sha256 {
        if self.coverage == Coverage::Data {
            self.add_partial();
            self.sha256.update(self.offset.to_le_bytes());
        }
        self.sha256.finalize().into()
    }

    fn add_partial(&mut self) {
        let mut block = std::mem::take(&mut self.partial);
        self.add_block(&block);
        block.clear();
        self.partial = block;
    }

    fn add_block(&mut self, block: &[u8]) {
        if block != &ZEROS[..block.len()] {
            self.sha256.update(self.offset.to_le_bytes());
            self.sha256.update(block);
        }
        self.offset = self.offset.saturating_add(block.len() as u64);
    }
}

/// Reads `content` to its end without its holes and returns its digest.
pub fn digest(content: &mut impl ReadHoles, coverage: Coverage) -> io::Result<Sha256> {
    let mut hasher = ContentHasher::new(coverage);
    // An archive has thousands of small members: a larger buffer would cost more to clear than to
    // fill.
    let mut buffer = [0; 32 << 10];
    loop {
        hasher.skip_zeros(content.skip_hole());
        match content.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            length => hasher.update(&buffer[..length]),
        }
    }
}

/// Returns the bytes of a regular file for which no blocks are allocated, from `st_size` and
/// `st_blocks` of `stat(2)`.
pub fn unallocated(size: u64, blocks: u64) -> u64 {
    // Blocks of 512 bytes, whatever the unit of the file system is.
    size.saturating_sub(blocks.saturating_mul(512))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition of [`Coverage::Data`], without any shortcut.
    fn plain(content: &[u8]) -> Sha256 {
        let mut sha256 = sha2::Sha256::new();
        for (number, block) in content.chunks(BLOCK).enumerate() {
            if block.iter().any(|&byte| byte != 0) {
                sha256.update(((number * BLOCK) as u64).to_le_bytes());
                sha256.update(block);
            }
        }
        sha256.update((content.len() as u64).to_le_bytes());
        sha256.finalize().into()
    }

    #[test]
    fn content_hasher_any_division_equals_definition() {
        let head = BLOCK + 100;
        for hole in [0, 1, 100, BLOCK - 100, BLOCK, 3 * BLOCK - 100, (64 << 10) + 1] {
            for tail in [0, 1, BLOCK, 2 * BLOCK + 7] {
                let mut content = vec![7; head];
                content.resize(head + hole, 0);
                content.resize(head + hole + tail, 9);
                for step in [1, 1000, BLOCK, 1 << 20] {
                    let mut hasher = ContentHasher::new(Coverage::Data);
                    content[..head].chunks(step).for_each(|bytes| hasher.update(bytes));
                    let mut with_zeros = hasher.clone();
                    hasher.skip_zeros(hole as u64);
                    content[head..].chunks(step).for_each(|bytes| with_zeros.update(bytes));
                    content[head + hole..].chunks(step).for_each(|bytes| hasher.update(bytes));
                    assert_eq!(hasher.finish(), plain(&content), "{hole} {tail} {step}");
                    assert_eq!(with_zeros.finish(), plain(&content), "{hole} {tail} {step}, no hole");
                }
                let mut all = ContentHasher::new(Coverage::All);
                all.update(&content[..head]);
                all.skip_zeros(hole as u64);
                all.update(&content[head + hole..]);
                assert_eq!(all.finish(), <Sha256>::from(sha2::Sha256::digest(&content)));
            }
        }
    }

    #[test]
    fn content_hasher_other_place_or_size_is_other_digest() {
        let digest = |parts: &[(u64, &[u8])]| {
            let mut hasher = ContentHasher::new(Coverage::Data);
            for (zeros, bytes) in parts {
                hasher.skip_zeros(*zeros);
                hasher.update(bytes);
            }
            hasher.finish()
        };
        let all = [
            digest(&[]),
            digest(&[(300 << 30, b"")]),
            digest(&[((300 << 30) + 1, b"")]),
            digest(&[(300 << 30, b"x")]),
            digest(&[((300 << 30) + 1, b"x")]),
            digest(&[((300 << 30) + BLOCK as u64, b"x")]),
            digest(&[(0, b"x"), (300 << 30, b"")]),
        ];
        let different: std::collections::BTreeSet<Sha256> = all.into_iter().collect();
        assert_eq!(different.len(), all.len());
    }
}
