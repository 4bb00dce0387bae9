//! Bytes of a database file at any offset, and the errors of reading them.

use std::fmt;
use std::io;

/// Most bytes of one header: rpm's limit of 256 MiB for the data, and of 65,536 entries of 16
/// bytes for the index (`lib/header.c`).
pub const MAX_HEADER: usize = (256 << 20) + (1 << 20) + 8;

/// A file of known length, read by offset. It is never written.
pub trait Source {
    /// Returns the length in bytes. It must not change while the database is read.
    fn length(&self) -> u64;

    /// Fills the buffer from `offset` on. It is an error if the source ends before the buffer is
    /// full.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

impl Source for &[u8] {
    fn length(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).ok();
        let part = start.and_then(|start| self.get(start..)?.get(..buffer.len()));
        buffer.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// A part of a database or header that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Offset in bytes, in the database file or, for an error of a header, in the header.
    pub offset: u64,
    /// Cause, in the form of an error message: lower case, no final period.
    pub reason: String,
}

impl Damage {
    /// Returns the damage at an offset.
    pub fn at(offset: u64, reason: impl Into<String>) -> Self {
        Damage { offset, reason: reason.into() }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} at offset {}", self.reason, self.offset)
    }
}

impl std::error::Error for Damage {}

/// The damaged parts of a database that is readable otherwise. Each one can be a lost package.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damages {
    /// The first [`Damages::LISTED`] ones, in the order of reading.
    pub list: Vec<Damage>,
    /// Number of all damaged parts.
    pub total: u64,
}

impl Damages {
    /// Most entries of the list, because each byte of a damaged file can be an error.
    pub const LISTED: usize = 100;

    /// Adds a damaged part.
    pub fn push(&mut self, damage: Damage) {
        self.total += 1;
        if self.list.len() < Self::LISTED {
            self.list.push(damage);
        }
    }

    /// Adds the damaged parts of another list.
    pub fn append(&mut self, other: Damages) {
        let total = self.total + other.total;
        other.list.into_iter().for_each(|damage| self.push(damage));
        self.total = total;
    }

    /// Whether the database is intact.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }
}

/// Fills the buffer from `offset` on; a short file and a failed read are damage.
pub(crate) fn fill(source: &dyn Source, offset: u64, buffer: &mut [u8]) -> Result<(), Damage> {
    let end = offset.checked_add(buffer.len() as u64);
    if end.is_none_or(|end| end > source.length()) {
        return Err(Damage::at(offset, "the file is truncated"));
    }
    source.read_at(offset, buffer).map_err(|cause| Damage::at(offset, format!("cannot read: {cause}")))
}

/// Byte order of the numbers in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Little,
    Big,
}

impl Order {
    /// Returns the number at a position. `None` if the bytes end before it.
    pub(crate) fn u16(self, bytes: &[u8], at: usize) -> Option<u16> {
        let bytes = bytes.get(at..)?.first_chunk()?;
        Some(match self {
            Order::Little => u16::from_le_bytes(*bytes),
            Order::Big => u16::from_be_bytes(*bytes),
        })
    }

    /// Returns the number at a position. `None` if the bytes end before it.
    pub(crate) fn u32(self, bytes: &[u8], at: usize) -> Option<u32> {
        let bytes = bytes.get(at..)?.first_chunk()?;
        Some(match self {
            Order::Little => u32::from_le_bytes(*bytes),
            Order::Big => u32::from_be_bytes(*bytes),
        })
    }
}

/// A set of page numbers, for pages that may be used only once.
#[derive(Debug)]
pub(crate) struct PageSet {
    words: Vec<u64>,
    count: u32,
}

impl PageSet {
    /// Returns the empty set of the page numbers below `count`: one bit per page.
    pub(crate) fn new(count: u32) -> Self {
        PageSet { words: vec![0; (count as usize).div_ceil(64)], count }
    }

    /// Adds a page. Returns whether it is a page of the file that was not yet in the set.
    pub(crate) fn insert(&mut self, page: u32) -> bool {
        if page >= self.count {
            return false;
        }
        let (word, bit) = (&mut self.words[page as usize / 64], 1 << (page % 64));
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fill_beyond_end_returns_offset() {
        let bytes: &[u8] = b"0123456789";
        let mut buffer = [0; 4];
        assert_eq!(fill(&bytes, 6, &mut buffer), Ok(()));
        assert_eq!(&buffer, b"6789");
        for offset in [7, 10, 11, u64::MAX] {
            assert_eq!(fill(&bytes, offset, &mut buffer).unwrap_err().offset, offset);
        }
        assert!(bytes.read_at(7, &mut buffer).is_err());
    }

    #[test]
    fn page_set_second_insert_and_foreign_page_are_rejected() {
        let mut pages = PageSet::new(65);
        assert!(pages.insert(64) && pages.insert(0));
        assert!(!pages.insert(64) && !pages.insert(65) && !pages.insert(u32::MAX));
    }

    #[test]
    fn damages_more_than_listed_are_counted() {
        let mut damages = Damages::default();
        assert!(damages.is_empty());
        for offset in 0..150 {
            damages.push(Damage::at(offset, "x"));
        }
        assert_eq!((damages.list.len(), damages.total), (Damages::LISTED, 150));
        assert_eq!(damages.list[7].to_string(), "x at offset 7");
    }
}
