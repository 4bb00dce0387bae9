//! Files with holes: GNU tar manual, "Storing Sparse Files" (old GNU, and PAX 0.0, 0.1 and 1.0).

use super::header::{self, BLOCK, Header};
use super::malformed;
use super::pax::decimal;
use std::io;

/// Pieces of one file; GNU tar itself writes a few thousand at most.
const MAX_PIECES: usize = 1 << 20;

/// Four pieces of 24 bytes, then whether more blocks follow, then the whole size.
const OLD_MAP: header::Field = 386..482;
const OLD_EXTENDED: usize = 482;
const OLD_SIZE: header::Field = 483..495;
/// The same in a block of its own: 21 pieces.
const MORE_MAP: header::Field = 0..504;
const MORE_EXTENDED: usize = 504;

/// Where in the file the bytes that the archive holds belong; the rest are zeros.
#[derive(Debug, Default)]
pub(super) struct Map {
    /// Offset and length, ascending.
    pub(super) pieces: Vec<(u64, u64)>,
    /// Size of the file with its holes.
    pub(super) size: u64,
}

impl Map {
    /// A file without holes.
    pub(super) fn whole(size: u64) -> Self {
        Map { pieces: vec![(0, size)], size }
    }

    /// The map of an old GNU header; `more` reads a further block of the archive.
    pub(super) fn old_gnu(
        first: &Header,
        mut more: impl FnMut() -> io::Result<[u8; BLOCK]>,
    ) -> io::Result<Self> {
        let mut map = Map { pieces: Vec::new(), size: positive(first.number(OLD_SIZE)?)? };
        map.add_old(&first.0[OLD_MAP])?;
        let mut extended = first.0[OLD_EXTENDED] != 0;
        while extended {
            let block = more()?;
            map.add_old(&block[MORE_MAP])?;
            extended = block[MORE_EXTENDED] != 0;
        }
        Ok(map)
    }

    fn add_old(&mut self, entries: &[u8]) -> io::Result<()> {
        for entry in entries.chunks_exact(24).filter(|entry| entry[0] != 0) {
            let offset = positive(header::number(&entry[..12])?)?;
            self.add(offset, positive(header::number(&entry[12..])?)?)?;
        }
        Ok(())
    }

    fn add(&mut self, offset: u64, length: u64) -> io::Result<()> {
        if self.pieces.len() == MAX_PIECES {
            return Err(malformed("a sparse file in more than a million pieces"));
        }
        self.pieces.push((offset, length));
        Ok(())
    }

    /// The map of PAX 0.0 and 0.1 from its numbers: offset, length, offset, length, ...
    pub(super) fn from_numbers(numbers: &[u64], size: u64) -> io::Result<Self> {
        let mut map = Map { pieces: Vec::new(), size };
        if !numbers.len().is_multiple_of(2) {
            return Err(malformed("a sparse map with an odd number of numbers"));
        }
        numbers.chunks_exact(2).try_for_each(|pair| map.add(pair[0], pair[1]))?;
        Ok(map)
    }

    /// Reads the map of PAX 1.0, which precedes the data: lines of decimal numbers, padded to a
    /// block. The first line is the number of chunks.
    pub(super) fn from_data(
        size: u64,
        mut block: impl FnMut() -> io::Result<[u8; BLOCK]>,
    ) -> io::Result<Self> {
        let mut numbers = Vec::new();
        let mut digits = Vec::new();
        let mut wanted = 1;
        while numbers.len() < wanted {
            for byte in block()? {
                if byte != b'\n' {
                    // No 64-bit number is longer, and the data may be as long as the archive.
                    if digits.len() == 20 {
                        return Err(malformed("a sparse map that is not numbers"));
                    }
                    digits.push(byte);
                    continue;
                }
                numbers.push(decimal(&digits).ok_or_else(|| malformed("a sparse map that is not numbers"))?);
                digits.clear();
                if numbers.len() == 1 {
                    let pieces = usize::try_from(numbers[0]).ok().filter(|&pieces| pieces <= MAX_PIECES);
                    wanted = 1 + 2 * pieces
                        .ok_or_else(|| malformed("a sparse file in more than a million pieces"))?;
                }
                if numbers.len() == wanted {
                    break;
                }
            }
        }
        Self::from_numbers(&numbers[1..], size)
    }

    /// Returns the size of all holes in bytes.
    pub(super) fn holes(&self) -> u64 {
        let data = self.pieces.iter().fold(0_u64, |sum, (_, length)| sum.saturating_add(*length));
        self.size.saturating_sub(data)
    }

    /// Returns the map if it is ascending, within the file, and covers exactly the `stored` bytes
    /// of the archive.
    pub(super) fn checked(self, stored: u64, max_holes: u64) -> io::Result<Self> {
        let mut end = 0_u64;
        let mut sum = 0_u64;
        for &(offset, length) in &self.pieces {
            let next = offset.checked_add(length).filter(|_| offset >= end);
            end = next.ok_or_else(|| malformed("a sparse map whose pieces overlap"))?;
            sum += length;
        }
        if end > self.size || sum != stored {
            return Err(malformed("a sparse map that does not match the data"));
        }
        if self.size - sum > max_holes {
            return Err(malformed("a sparse file with more than 64 GiB of holes"));
        }
        Ok(self)
    }
}

pub(super) fn positive(number: i64) -> io::Result<u64> {
    u64::try_from(number).map_err(|_| malformed("a negative size"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(pieces: &[(u64, u64)], size: u64, stored: u64) -> io::Result<Map> {
        Map { pieces: pieces.to_vec(), size }.checked(stored, 64 << 30)
    }

    #[test]
    fn checked_hostile_map_returns_error() {
        assert_eq!(checked(&[(0, 5), (10, 5), (30, 0)], 30, 10).unwrap().holes(), 20);
        for (what, pieces, size, stored) in [
            ("overlap", &[(0, 5), (4, 5)][..], 30, 10),
            ("descending", &[(10, 5), (0, 5)], 30, 10),
            ("the same twice", &[(0, 5), (0, 5)], 30, 10),
            ("beyond the file", &[(28, 5)], 30, 5),
            ("empty beyond the file", &[(31, 0)], 30, 0),
            ("end above 64 bits", &[(u64::MAX, 5)], u64::MAX, 5),
            ("fewer data than stored", &[(0, 5)], 30, 6),
            ("more data than stored", &[(0, 5)], 30, 4),
            ("holes", &[(0, 5)], (64 << 30) + 6, 5),
        ] {
            assert!(checked(pieces, size, stored).is_err(), "{what}");
        }
        assert!(Map { pieces: Vec::new(), size: u64::MAX }.checked(0, u64::MAX).is_ok());
    }

    #[test]
    fn from_data_millions_of_pieces_returns_error_after_first_block() {
        for count in ["1048577", "18446744073709551615", "99999999999999999999"] {
            let mut blocks = 0;
            let map = Map::from_data(1, || {
                blocks += 1;
                let mut block = [b'\n'; BLOCK];
                block[..count.len()].copy_from_slice(count.as_bytes());
                Ok(block)
            });
            assert!(map.is_err() && blocks == 1, "{count}");
        }
    }

    #[test]
    fn from_data_number_longer_than_block_returns_error() {
        let mut blocks = 0;
        let map = Map::from_data(1, || {
            blocks += 1;
            Ok([b'1'; BLOCK])
        });
        assert!(map.is_err());
        assert_eq!(blocks, 1);
    }
}
