//! NDB: the file `Packages.db` of SUSE 15 and later.
//!
//! Numbers are little-endian. A block has 16 bytes, a page of slots 4,096.
//!
//! ```text
//! header  "RpmP"  4 version  8 generation  12 number of slot pages  16 next number    32 bytes
//! slot    "Slot"  4 package number  8 first block, 0 if free  12 number of blocks    16 bytes
//! blob    "BlbS"  4 package number  8 time  12 length, then the header, zeros, and in the last
//!         12 bytes of the blocks: Adler-32 of all bytes before it, length, "BlbE"
//! ```

use crate::pkg::rpm::source::{Damage, Damages, MAX_HEADER, Order, Source, fill};
use std::collections::HashSet;

const MAGIC: &[u8] = b"RpmP";
const BLOCK: u64 = 16;
const PAGE: u64 = 4096;
const BLOB_HEAD: usize = 16;
const BLOB_TAIL: usize = 12;

/// Whether a file that begins with these 16 bytes is such a database.
pub fn is_format(head: &[u8]) -> bool {
    head.starts_with(MAGIC)
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// Offset of the slot in the file.
    offset: u64,
    package: u32,
    first_block: u64,
    blocks: u64,
}

/// Passes the number and the header of each package to `visit`. Returns what is damaged.
///
/// The error is the reason why nothing can be read.
pub fn read(source: &dyn Source, visit: &mut dyn FnMut(u32, &[u8])) -> Result<Damages, Damage> {
    let mut damages = Damages::default();
    let (mut slots, first_block) = read_slots(source, &mut damages)?;
    slots.sort_by_key(|slot| slot.first_block);
    let mut numbers = HashSet::new();
    let mut next_block = first_block;
    for slot in &slots {
        // Blobs that overlap could make a small file expand without limit.
        if slot.first_block < next_block {
            damages.push(Damage::at(slot.offset, format!("the blocks of package {} overlap", slot.package)));
            continue;
        }
        if !numbers.insert(slot.package) {
            damages.push(Damage::at(slot.offset, format!("package {} occurs twice", slot.package)));
            continue;
        }
        match read_blob(source, slot, &mut damages) {
            Ok(blob) => {
                next_block = slot.first_block + slot.blocks;
                visit(slot.package, &blob);
            }
            Err(damage) => damages.push(damage),
        }
    }
    Ok(damages)
}

/// Returns the slots in use, and the first block after all slots.
fn read_slots(source: &dyn Source, damages: &mut Damages) -> Result<(Vec<Slot>, u64), Damage> {
    let mut header = [0; 32];
    fill(source, 0, &mut header)?;
    if !header.starts_with(MAGIC) {
        return Err(Damage::at(0, "not an NDB file"));
    }
    let number = |bytes: &[u8], at| Order::Little.u32(bytes, at).unwrap_or_default();
    let (version, stated) = (number(&header, 4), u64::from(number(&header, 12)));
    if version != 0 {
        return Err(Damage::at(4, format!("NDB version {version} is not supported")));
    }
    let pages = stated.min(source.length() / PAGE);
    if pages < stated {
        let reason = format!("the file is truncated: {pages} of {stated} slot pages are present");
        damages.push(Damage::at(source.length(), reason));
    }
    let mut slots = Vec::new();
    let mut page = [0; PAGE as usize];
    for index in 0..pages {
        if let Err(damage) = fill(source, index * PAGE, &mut page) {
            damages.push(damage);
            continue;
        }
        let skipped = if index == 0 { header.len() } else { 0 };
        for at in (skipped..page.len()).step_by(BLOCK as usize) {
            let bytes = &page[at..at + BLOCK as usize];
            let offset = index * PAGE + at as u64;
            let slot = Slot {
                offset,
                package: number(bytes, 4),
                first_block: u64::from(number(bytes, 8)),
                blocks: u64::from(number(bytes, 12)),
            };
            if !bytes.starts_with(b"Slot") {
                damages.push(Damage::at(offset, "a slot is damaged"));
            } else if slot.first_block != 0 {
                slots.push(slot);
            }
        }
    }
    Ok((slots, pages * PAGE / BLOCK))
}

/// Reads the header of a package. A wrong checksum is reported, and the header is used anyway, as
/// rpm does.
fn read_blob(source: &dyn Source, slot: &Slot, damages: &mut Damages) -> Result<Vec<u8>, Damage> {
    let package = slot.package;
    let start = slot.first_block * BLOCK;
    let length = slot.blocks * BLOCK;
    if package == 0 || length < (BLOB_HEAD + BLOB_TAIL) as u64 {
        return Err(Damage::at(slot.offset, "a slot is damaged"));
    }
    let room = source.length().saturating_sub(start);
    if length > room {
        let reason = format!("package {package} has {length} bytes, but the file ends after {room} of them");
        return Err(Damage::at(slot.offset, reason));
    }
    if length > (MAX_HEADER + BLOB_HEAD + BLOB_TAIL) as u64 + BLOCK {
        return Err(Damage::at(slot.offset, format!("a header of {length} bytes is longer than possible")));
    }
    let mut blob = vec![0; length as usize];
    fill(source, start, &mut blob)?;
    let number = |at| Order::Little.u32(&blob, at).unwrap_or_default();
    if !blob.starts_with(b"BlbS") || number(4) != package {
        return Err(Damage::at(start, format!("there is no header of package {package}")));
    }
    let size = number(12);
    let tail = blob.len() - BLOB_TAIL;
    let needed = (u64::from(size) + (BLOB_HEAD + BLOB_TAIL) as u64).div_ceil(BLOCK);
    if needed != slot.blocks || number(tail + 4) != size || !blob.ends_with(b"BlbE") {
        return Err(Damage::at(start + 12, format!("the length of package {package} is damaged")));
    }
    if adler32(&blob[..tail]) != number(tail) {
        damages.push(Damage::at(start + tail as u64, format!("the checksum of package {package} is wrong")));
    }
    blob.truncate(BLOB_HEAD + size as usize);
    blob.drain(..BLOB_HEAD);
    Ok(blob)
}

/// Returns the Adler-32 checksum (RFC 1950, section 8.2).
fn adler32(bytes: &[u8]) -> u32 {
    const MODULUS: u32 = 65_521;
    let (mut low, mut high) = (1_u32, 0_u32);
    // 5,552 bytes are the most that cannot overflow 32 bits.
    for chunk in bytes.chunks(5552) {
        for &byte in chunk {
            low += u32::from(byte);
            high += low;
        }
        low %= MODULUS;
        high %= MODULUS;
    }
    high << 16 | low
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a database of these packages: number, first block, header.
    fn database(packages: &[(u32, u32, &[u8])]) -> Vec<u8> {
        let mut file = vec![0; 4096];
        file[..4].copy_from_slice(MAGIC);
        file[12] = 1;
        for at in (32..4096).step_by(16) {
            file[at..at + 4].copy_from_slice(b"Slot");
        }
        for (index, (number, block, header)) in packages.iter().enumerate() {
            let blocks = (header.len() + 28).div_ceil(16);
            let mut blob =
                [b"BlbS", &number.to_le_bytes()[..], &[0; 4], &(header.len() as u32).to_le_bytes()].concat();
            blob.extend_from_slice(header);
            blob.resize(blocks * 16 - 12, 0);
            blob.extend_from_slice(&adler32(&blob.clone()).to_le_bytes());
            blob.extend_from_slice(&(header.len() as u32).to_le_bytes());
            blob.extend_from_slice(b"BlbE");
            let at = 36 + index * 16;
            for (field, value) in [*number, *block, blocks as u32].iter().enumerate() {
                file[at + 4 * field..at + 4 * field + 4].copy_from_slice(&value.to_le_bytes());
            }
            let start = *block as usize * 16;
            if file.len() < start + blob.len() {
                file.resize(start + blob.len(), 0);
            }
            file[start..start + blob.len()].copy_from_slice(&blob);
        }
        file
    }

    fn show(file: &[u8]) -> (Vec<(u32, Vec<u8>)>, Vec<String>) {
        let mut found = Vec::new();
        let damages = read(&file, &mut |number, header| found.push((number, header.to_vec()))).unwrap();
        (found, damages.list.iter().map(Damage::to_string).collect())
    }

    #[test]
    fn read_damaged_slot_or_blob_keeps_the_other_packages() {
        let good = database(&[(3, 256, b"first"), (1, 260, b"second header")]);
        let first = (3, b"first".to_vec());
        let second = (1, b"second header".to_vec());
        assert_eq!(show(&good), (vec![first.clone(), second.clone()], vec![]));
        for (offset, reason, expected) in [
            (32, "a slot is damaged at offset 32", vec![&second]),
            (4096, "there is no header of package 3 at offset 4096", vec![&second]),
            (4100, "there is no header of package 3 at offset 4096", vec![&second]),
            (4108, "the length of package 3 is damaged at offset 4108", vec![&second]),
            (4096 + 48 - 1, "the length of package 3 is damaged at offset 4108", vec![&second]),
            (4096 + 48 - 12, "the checksum of package 3 is wrong at offset 4132", vec![&first, &second]),
        ] {
            let mut bad = good.clone();
            bad[offset] ^= 0x40;
            let (found, damages) = show(&bad);
            assert_eq!(damages, [reason], "{offset}");
            assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{offset}");
        }
    }

    #[test]
    fn read_other_version_or_truncated_file_states_it() {
        let mut file = database(&[(1, 256, b"x")]);
        file[4] = 9;
        let error = read(&file.as_slice(), &mut |_, _| ()).unwrap_err();
        assert_eq!(error.to_string(), "NDB version 9 is not supported at offset 4");
        let file = database(&[(1, 256, b"x"), (2, 300, b"y")]);
        let (found, damages) = show(&file[..4800]);
        assert_eq!(found, [(1, b"x".to_vec())]);
        assert_eq!(damages, ["package 2 has 32 bytes, but the file ends after 0 of them at offset 48"]);
        let mut file = database(&[(1, 256, b"x")]);
        file[12] = 2;
        let truncated = "the file is truncated: 1 of 2 slot pages are present at offset 4128";
        assert_eq!(show(&file), (vec![(1, b"x".to_vec())], vec![truncated.to_owned()]));
    }

    #[test]
    fn read_overlapping_blobs_uses_the_first() {
        let mut file = database(&[(1, 256, b"x"), (2, 300, b"y")]);
        // The second slot refers to the blob of the first one.
        file.copy_within(32..48, 48);
        let (found, damages) = show(&file);
        assert_eq!(found, [(1, b"x".to_vec())]);
        assert_eq!(damages, ["the blocks of package 1 overlap at offset 48"]);
    }

    #[test]
    fn adler32_known_text_returns_its_checksum() {
        assert_eq!(adler32(b"Wikipedia"), 0x11e6_0398);
    }
}
