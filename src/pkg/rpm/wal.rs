//! SQLite's write-ahead log, read without changing it (<https://www.sqlite.org/fileformat2.html>,
//! section 4).
//!
//! The log begins with a header of 32 bytes. Frames of 24 bytes and a page follow. A frame counts
//! if its salts are those of the header, if the running checksum over all bytes up to it is right,
//! and if it or a later frame commits the transaction.

use crate::pkg::rpm::source::{Damage, Order, Source, fill};
use std::collections::HashMap;

const HEADER: u64 = 32;
const FRAME_HEADER: u64 = 24;
/// Magic number; the lowest bit is set if the checksums are big-endian.
const MAGIC: u32 = 0x377f_0682;
const VERSION: u32 = 3_007_000;

/// The committed pages of a log.
#[derive(Debug)]
pub(crate) struct Wal {
    /// Page size in bytes.
    pub page_size: usize,
    /// Size of the database in pages after the last committed transaction.
    pub pages: u32,
    /// Offset in the log of the latest committed version of each page.
    pub offsets: HashMap<u32, u64>,
}

impl Wal {
    /// Reads a log. `None` if it has no committed transaction. The error is the reason why SQLite
    /// ignores the log.
    pub(crate) fn read(log: &dyn Source) -> Result<Option<Self>, Damage> {
        if log.length() == 0 {
            return Ok(None);
        }
        let mut header = [0; HEADER as usize];
        fill(log, 0, &mut header)?;
        let number = |at| Order::Big.u32(&header, at).unwrap_or_default();
        let (magic, version, page_size) = (number(0), number(4), number(8));
        if magic & !1 != MAGIC {
            return Err(Damage::at(0, "not a write-ahead log"));
        }
        if version != VERSION {
            return Err(Damage::at(4, format!("write-ahead log version {version} is not supported")));
        }
        if !(512..=65_536).contains(&page_size) || !page_size.is_power_of_two() {
            return Err(Damage::at(8, format!("page size {page_size} is not valid")));
        }
        let order = if magic & 1 == 1 { Order::Big } else { Order::Little };
        let sum = checksum(order, (0, 0), &header[..24]);
        if sum != (number(24), number(28)) {
            return Err(Damage::at(24, "the checksum of the write-ahead log is wrong"));
        }
        read_frames(log, order, sum, (number(16), number(20)), page_size as usize)
    }
}

fn read_frames(
    log: &dyn Source,
    order: Order,
    mut sum: (u32, u32),
    salts: (u32, u32),
    page_size: usize,
) -> Result<Option<Wal>, Damage> {
    let mut wal = Wal { page_size, pages: 0, offsets: HashMap::new() };
    let mut pending = HashMap::new();
    let mut frame = vec![0; FRAME_HEADER as usize + page_size];
    let mut at = HEADER;
    while at + frame.len() as u64 <= log.length() {
        fill(log, at, &mut frame)?;
        let (head, page) = frame.split_at(FRAME_HEADER as usize);
        let number = |at| Order::Big.u32(head, at).unwrap_or_default();
        // Frames with other salts are left from before the last checkpoint, and a wrong checksum
        // is the end of a transaction that was being written: both are normal.
        if number(0) == 0 || (number(8), number(12)) != salts {
            break;
        }
        sum = checksum(order, checksum(order, sum, &head[..8]), page);
        if sum != (number(16), number(20)) {
            break;
        }
        pending.insert(number(0), at + FRAME_HEADER);
        let size_after_commit = number(4);
        if size_after_commit != 0 {
            wal.pages = size_after_commit;
            wal.offsets.extend(pending.drain());
        }
        at += frame.len() as u64;
    }
    Ok((wal.pages != 0).then_some(wal))
}

/// Continues a checksum over bytes whose number is a multiple of 8.
fn checksum(order: Order, (mut first, mut second): (u32, u32), bytes: &[u8]) -> (u32, u32) {
    for pair in bytes.chunks_exact(8) {
        let word = |at| order.u32(pair, at).unwrap_or_default();
        first = first.wrapping_add(word(0)).wrapping_add(second);
        second = second.wrapping_add(word(4)).wrapping_add(first);
    }
    (first, second)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Returns a log with big-endian checksums of these frames: page number, size after the commit
    /// or 0, page.
    pub(crate) fn log(page_size: u32, frames: &[(u32, u32, &[u8])]) -> Vec<u8> {
        let mut log = Vec::new();
        for field in [MAGIC | 1, VERSION, page_size, 0, 0x1111, 0x2222] {
            log.extend_from_slice(&u32::to_be_bytes(field));
        }
        let mut sum = checksum(Order::Big, (0, 0), &log);
        let add_sum = |log: &mut Vec<u8>, sum: (u32, u32)| {
            log.extend_from_slice(&sum.0.to_be_bytes());
            log.extend_from_slice(&sum.1.to_be_bytes());
        };
        add_sum(&mut log, sum);
        for (number, size, page) in frames {
            let head = [number.to_be_bytes(), size.to_be_bytes()].concat();
            sum = checksum(Order::Big, checksum(Order::Big, sum, &head), page);
            log.extend_from_slice(&head);
            log.extend_from_slice(&[0, 0, 0x11, 0x11, 0, 0, 0x22, 0x22]);
            add_sum(&mut log, sum);
            log.extend_from_slice(page);
        }
        log
    }

    fn show(log: &[u8]) -> Option<(u32, Vec<(u32, u64)>)> {
        let wal = Wal::read(&log).unwrap()?;
        let mut offsets: Vec<_> = wal.offsets.into_iter().collect();
        offsets.sort_unstable();
        Some((wal.pages, offsets))
    }

    #[test]
    fn read_uncommitted_stale_or_damaged_frames_do_not_count() {
        let page = [7; 512];
        let frames = [(1, 0, &page[..]), (2, 2, &page), (2, 3, &page), (5, 0, &page)];
        let good = log(512, &frames);
        // The second version of page 2 wins; page 5 is not committed.
        assert_eq!(show(&good), Some((3, vec![(1, 56), (2, 56 + 2 * 536)])));
        assert_eq!(show(&log(512, &frames[..1])), None);
        assert_eq!(show(&good[..good.len() - 1]), show(&good));
        assert_eq!(show(b""), None);
        for offset in [32 + 2 * 536 + 8, 32 + 2 * 536 + 20, 32 + 2 * 536 + 100] {
            let mut bad = good.clone();
            bad[offset] ^= 1;
            assert_eq!(show(&bad), Some((2, vec![(1, 56), (2, 56 + 536)])), "{offset}");
        }
    }

    #[test]
    fn read_damaged_header_returns_offset() {
        let good = log(512, &[(1, 1, &[0; 512])]);
        for (byte, offset) in [(0, 0), (5, 4), (10, 8), (12, 24), (16, 24), (31, 24)] {
            let mut bad = good.clone();
            bad[byte] ^= 1;
            assert_eq!(Wal::read(&bad.as_slice()).unwrap_err().offset, offset, "{byte}");
        }
        assert_eq!(Wal::read(&&good[..20]).unwrap_err().reason, "the file is truncated");
    }
}
