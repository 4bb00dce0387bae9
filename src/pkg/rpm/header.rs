//! RPM headers: the blob that a database has of each package.
//!
//! ```text
//! u32 number of entries, u32 length of the data; all numbers are big-endian
//! entry  u32 tag  u32 type  u32 offset in the data  u32 count    16 bytes
//! ```
//!
//! The entries of the package file are the *immutable region*. The first entry refers to 16 bytes
//! in the data that state its length. The installation added the entries after it (*dribbles*),
//! which replace entries of the region with the same tag (`headerLoad` of rpm).

use crate::pkg::rpm::source::{Damage, MAX_HEADER, Order};
use memchr::memchr;

/// Most entries and most elements of a header (`lib/header.c`).
const MAX_ENTRIES: usize = 0xffff;
const MAX_ELEMENTS: u32 = 0xf_ffff;
/// Tags of regions: `HEADERIMAGE` to `HEADERIMMUTABLE`.
const REGIONS: std::ops::RangeInclusive<u32> = 61..=63;
const ENTRY: usize = 16;

/// Types of values.
const BINARY: u32 = 7;
const STRING: u32 = 6;
const STRINGS: u32 = 8;
const TRANSLATED: u32 = 9;

#[derive(Clone, Copy, Debug)]
struct Entry {
    tag: u32,
    kind: u32,
    /// Offset in the data.
    offset: u32,
    count: u32,
}

/// The index of a header. Values are checked when they are read.
#[derive(Clone, Debug)]
pub struct Header<'a> {
    /// One entry per tag, by tag.
    entries: Vec<Entry>,
    data: &'a [u8],
    /// Offset of the data in the blob.
    start: usize,
}

impl<'a> Header<'a> {
    /// Parses a blob without magic bytes, as databases have it. The error has an offset in the
    /// blob.
    pub fn parse(blob: &'a [u8]) -> Result<Self, Damage> {
        let number = |at: usize| Order::Big.u32(blob, at).map(|number| number as usize);
        let (Some(count), Some(length)) = (number(0), number(4)) else {
            return Err(Damage::at(0, "the header is truncated"));
        };
        if count == 0 || count > MAX_ENTRIES {
            return Err(Damage::at(0, format!("{count} entries are not possible in a header")));
        }
        let start = 8 + ENTRY * count;
        if length > MAX_HEADER {
            return Err(Damage::at(4, format!("{length} bytes of data are not possible in a header")));
        }
        let data = blob.get(start..).and_then(|rest| rest.get(..length));
        let data = data.ok_or_else(|| Damage::at(4, "the header is truncated"))?;
        let entries = blob[8..start].chunks_exact(ENTRY).map(entry).collect();
        let mut header = Header { entries, data, start };
        for (index, entry) in header.entries.iter().enumerate() {
            if !header.is_valid(entry) {
                let reason = format!("the entry of tag {} is damaged", entry.tag);
                return Err(Damage::at((8 + ENTRY * index) as u64, reason));
            }
        }
        let in_region = header.region()?;
        // The sort is stable: the last dribble wins, then the first entry of the region.
        let mut entries = header.entries.split_off(in_region);
        entries.reverse();
        entries.append(&mut header.entries);
        entries.sort_by_key(|entry| entry.tag);
        entries.dedup_by_key(|entry| entry.tag);
        header.entries = entries;
        Ok(header)
    }

    /// Returns the number of entries of the region; all entries if there is no region.
    fn region(&self) -> Result<usize, Damage> {
        let all = self.entries.len();
        let Some(first) = self.entries.first().filter(|first| REGIONS.contains(&first.tag)) else {
            return Ok(all);
        };
        // The oldest regions have no trailer and contain all entries.
        if first.offset == 0 {
            return Ok(all);
        }
        let damage = |reason| Damage::at(8, format!("the region {reason}"));
        if first.kind != BINARY || first.count as usize != ENTRY {
            return Err(damage("has another type"));
        }
        let trailer = self.data.get(first.offset as usize..).and_then(|rest| rest.get(..ENTRY)).map(entry);
        let trailer = trailer.ok_or_else(|| damage("is not in the data"))?;
        // The offset is the negative length of the region's entries.
        let length = trailer.offset.wrapping_neg() as usize;
        if !length.is_multiple_of(ENTRY) || !(1..=all).contains(&(length / ENTRY)) {
            return Err(damage("has a wrong length"));
        }
        Ok(length / ENTRY)
    }

    /// Whether an entry has a known type and its value is in the data, as far as that is known
    /// without reading strings.
    fn is_valid(&self, entry: &Entry) -> bool {
        let Some(width) = width(entry.kind) else { return false };
        let end = u64::from(entry.offset) + u64::from(entry.count) * width as u64;
        let is_counted = entry.kind == BINARY || entry.count <= MAX_ELEMENTS;
        entry.count > 0 && is_counted && end <= self.data.len() as u64
    }

    fn find(&self, tag: u32) -> Option<&Entry> {
        self.entries.binary_search_by_key(&tag, |entry| entry.tag).ok().map(|at| &self.entries[at])
    }

    /// Returns the offset of a value in the blob, and its bytes up to the end of the data.
    fn value(&self, entry: &Entry) -> (u64, &'a [u8]) {
        let offset = entry.offset as usize;
        ((self.start + offset) as u64, self.data.get(offset..).unwrap_or_default())
    }

    /// Whether the header has a value with this tag.
    pub fn has(&self, tag: u32) -> bool {
        self.find(tag).is_some()
    }

    /// Returns the strings with this tag. It is an error if the value has another type.
    pub fn strings(&self, tag: u32) -> Result<Option<Strings<'a>>, Damage> {
        let Some(entry) = self.find(tag) else { return Ok(None) };
        let (offset, bytes) = self.value(entry);
        let count = match entry.kind {
            STRING => 1,
            STRINGS | TRANSLATED => entry.count as usize,
            _ => return Err(Damage::at(offset, format!("tag {tag} is not text"))),
        };
        let last = memchr::memchr_iter(0, bytes).nth(count - 1);
        let end = last.ok_or_else(|| Damage::at(offset, format!("a string of tag {tag} has no end")))?;
        Ok(Some(Strings { rest: &bytes[..=end], count, offset }))
    }

    /// Returns the first string with this tag; of a translated one, the untranslated text.
    pub fn string(&self, tag: u32) -> Result<Option<&'a [u8]>, Damage> {
        Ok(self.strings(tag)?.and_then(|mut strings| strings.next()))
    }

    /// Returns the numbers with this tag. It is an error if the value has another type.
    pub fn numbers(&self, tag: u32) -> Result<Option<Numbers<'a>>, Damage> {
        let Some(entry) = self.find(tag) else { return Ok(None) };
        let (offset, bytes) = self.value(entry);
        let width = match (entry.kind, width(entry.kind)) {
            (1..=5, Some(width)) => width,
            _ => return Err(Damage::at(offset, format!("tag {tag} is not a number"))),
        };
        let bytes = bytes.get(..width * entry.count as usize).unwrap_or_default();
        Ok(Some(Numbers { bytes, width, offset }))
    }

    /// Returns the first number with this tag.
    pub fn number(&self, tag: u32) -> Result<Option<u64>, Damage> {
        Ok(self.numbers(tag)?.and_then(|numbers| numbers.get(0)))
    }

    /// Returns the bytes with this tag. It is an error if the value has another type.
    pub fn binary(&self, tag: u32) -> Result<Option<&'a [u8]>, Damage> {
        let Some(entry) = self.find(tag) else { return Ok(None) };
        let (offset, bytes) = self.value(entry);
        if entry.kind != BINARY {
            return Err(Damage::at(offset, format!("tag {tag} is not binary")));
        }
        Ok(bytes.get(..entry.count as usize))
    }
}

fn entry(bytes: &[u8]) -> Entry {
    let number = |at| Order::Big.u32(bytes, at).unwrap_or_default();
    Entry { tag: number(0), kind: number(4), offset: number(8), count: number(12) }
}

/// Returns the least number of bytes of an element. `None` for an unknown type.
fn width(kind: u32) -> Option<usize> {
    match kind {
        1 | 2 | STRING..=TRANSLATED => Some(1),
        3 => Some(2),
        4 => Some(4),
        5 => Some(8),
        _ => None,
    }
}

/// Strings of a header, without their final NUL.
#[derive(Clone, Copy, Debug)]
pub struct Strings<'a> {
    rest: &'a [u8],
    count: usize,
    offset: u64,
}

impl<'a> Strings<'a> {
    /// Returns the offset of the first string in the blob.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the bytes of all remaining strings with their final NULs.
    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Strings<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let end = memchr(0, self.rest)?;
        let string = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        self.count -= 1;
        Some(string)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count, Some(self.count))
    }
}

impl ExactSizeIterator for Strings<'_> {}

/// Numbers of a header.
#[derive(Clone, Copy, Debug)]
pub struct Numbers<'a> {
    bytes: &'a [u8],
    width: usize,
    offset: u64,
}

impl Numbers<'_> {
    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.width
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Returns the offset of the first number in the blob.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns a number; numbers of headers have no sign.
    pub fn get(&self, index: usize) -> Option<u64> {
        let bytes = self.bytes.get(index * self.width..)?.get(..self.width)?;
        Some(bytes.iter().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::pkg::rpm::Package;
    use proptest::prelude::*;

    /// Value of an entry.
    #[derive(Clone, Copy)]
    pub(crate) enum Value<'a> {
        Text(&'a str),
        Texts(&'a [&'a str]),
        Numbers32(&'a [u32]),
        Numbers16(&'a [u16]),
    }

    /// Returns a header with these values. Those of `region` are in the immutable region.
    pub(crate) fn header(region: &[(u32, Value<'_>)], dribbles: &[(u32, Value<'_>)]) -> Vec<u8> {
        let (mut index, mut data) = (Vec::new(), Vec::new());
        let mut push = |values: &[(u32, Value<'_>)], data: &mut Vec<u8>| {
            for (tag, value) in values {
                let (kind, bytes, count) = match value {
                    Value::Text(text) => (STRING, format!("{text}\0").into_bytes(), 1),
                    Value::Texts(texts) => {
                        (STRINGS, format!("{}\0", texts.join("\0")).into_bytes(), texts.len())
                    }
                    Value::Numbers32(numbers) => {
                        (4, numbers.iter().flat_map(|number| number.to_be_bytes()).collect(), numbers.len())
                    }
                    Value::Numbers16(numbers) => {
                        (3, numbers.iter().flat_map(|number| number.to_be_bytes()).collect(), numbers.len())
                    }
                };
                index.extend([*tag, kind, data.len() as u32, count as u32]);
                data.extend(bytes);
            }
        };
        push(region, &mut data);
        let entries = region.len() as u32 + 1;
        let trailer = data.len() as u32;
        data.extend(
            [63, BINARY, (entries * 16).wrapping_neg(), 16]
                .iter()
                .flat_map(|field: &u32| field.to_be_bytes()),
        );
        push(dribbles, &mut data);
        let mut header = vec![entries + dribbles.len() as u32, data.len() as u32, 63, BINARY, trailer, 16];
        header.append(&mut index);
        let mut header: Vec<u8> = header.iter().flat_map(|field| field.to_be_bytes()).collect();
        header.append(&mut data);
        header
    }

    /// Values of a package with two files.
    const PACKAGE: [(u32, Value<'_>); 9] = [
        (1000, Value::Text("bash")),
        (1001, Value::Text("5.1")),
        (1002, Value::Text("2")),
        (1003, Value::Numbers32(&[3])),
        (1028, Value::Numbers32(&[7, 0])),
        (1030, Value::Numbers16(&[0o100_755, 0o120_777])),
        (1116, Value::Numbers32(&[1, 0])),
        (1117, Value::Texts(&["bash", "sh"])),
        (1118, Value::Texts(&["/bin/", "/usr/bin/"])),
    ];

    #[test]
    fn parse_dribble_replaces_value_of_region() {
        let dribbles = [(1118, Value::Texts(&["/opt/", "/srv/"])), (5094, Value::Numbers32(&[1]))];
        for (dribbles, paths, automatic) in
            [(&[][..], ["/usr/bin/bash", "/bin/sh"], None), (&dribbles, ["/srv/bash", "/opt/sh"], Some(true))]
        {
            let blob = header(&PACKAGE, dribbles);
            let package = Package::parse(&blob).unwrap();
            let found: Vec<_> =
                package.files.iter().map(|file| String::from_utf8(file.path()).unwrap()).collect();
            assert_eq!(found, paths);
            assert_eq!((package.automatic, package.full_version()), (automatic, b"3:5.1-2".to_vec()));
            assert_eq!(package.files.iter().map(|file| file.size).collect::<Vec<_>>(), [7, 0]);
            assert!(package.files.iter().next().unwrap().is_regular());
        }
    }

    #[test]
    fn parse_old_file_names_are_split() {
        let values = [&PACKAGE[..3], &[(1027, Value::Texts(&["/usr/bin/a", "/b", "c"]))]].concat();
        let blob = header(&values, &[]);
        let files: Vec<_> =
            Package::parse(&blob).unwrap().files.iter().map(|file| (file.directory, file.name)).collect();
        let show = |text: &'static str| text.as_bytes();
        assert_eq!(files, [(show("/usr/bin/"), show("a")), (show("/"), show("b")), (show(""), show("c"))]);
    }

    #[test]
    fn parse_damaged_header_returns_offset_and_reason() {
        let without = |tag| PACKAGE.iter().copied().filter(|(other, _)| *other != tag).collect::<Vec<_>>();
        let with = |value: (u32, Value<'static>)| [without(value.0), vec![value]].concat();
        let long = format!("/{}/", "x".repeat(4096));
        let directories = ["/bin/", long.as_str()];
        for (values, reason) in [
            (without(1000), "the header has no name"),
            (with((1000, Value::Numbers32(&[1]))), "tag 1000 is not text"),
            (with((1003, Value::Text("3"))), "tag 1003 is not a number"),
            (without(1118), "the files have no directories"),
            (without(1116), "the files have no directories"),
            (with((1116, Value::Numbers32(&[0]))), "the files have another number of directories"),
            (with((1116, Value::Numbers32(&[0, 2]))), "a file has no directory"),
            (with((1116, Value::Numbers32(&[0, u32::MAX]))), "a file has no directory"),
            (with((1028, Value::Numbers32(&[1, 2, 3]))), "tag 1028 has 3 elements for 2 files"),
            (with((1039, Value::Texts(&["root"]))), "tag 1039 has 1 elements for 2 files"),
            (
                [without(1118), vec![(1118, Value::Texts(&directories))]].concat(),
                "a path is longer than possible",
            ),
            (
                [&PACKAGE[..], &[(1049, Value::Texts(&["a", "b"])), (1048, Value::Numbers32(&[0]))]].concat(),
                "the relations of tag 1049 have different numbers of elements",
            ),
        ] {
            assert_eq!(Package::parse(&header(&values, &[])).unwrap_err().reason, reason);
        }
    }

    #[test]
    fn parse_damaged_index_returns_offset_and_reason() {
        let good = header(&PACKAGE, &[]);
        let entry = |index: usize, field: usize| 8 + 16 * index + 4 * field;
        for (at, value, expected) in [
            (0, 0, "0 entries are not possible in a header at offset 0"),
            (0, 0x1_0000, "65536 entries are not possible in a header at offset 0"),
            (4, u32::MAX, "4294967295 bytes of data are not possible in a header at offset 4"),
            (4, 0x1000, "the header is truncated at offset 4"),
            (entry(1, 1), 10, "the entry of tag 1000 is damaged at offset 24"),
            (entry(1, 1), 0, "the entry of tag 1000 is damaged at offset 24"),
            (entry(1, 2), 0xffff, "the entry of tag 1000 is damaged at offset 24"),
            (entry(4, 3), 0x4000_0001, "the entry of tag 1003 is damaged at offset 72"),
            (entry(4, 3), 0, "the entry of tag 1003 is damaged at offset 72"),
            (entry(0, 1), 4, "the entry of tag 63 is damaged at offset 8"),
            (entry(0, 3), 12, "the region has another type at offset 8"),
            (entry(0, 2), 3, "the region has a wrong length at offset 8"),
        ] {
            let mut bad = good.clone();
            bad[at..at + 4].copy_from_slice(&u32::to_be_bytes(value));
            assert_eq!(Header::parse(&bad).unwrap_err().to_string(), expected, "{at}");
        }
        for length in 0..good.len() {
            assert!(Header::parse(&good[..length]).is_err());
        }
    }

    #[test]
    fn strings_without_end_returns_damage() {
        let mut blob = header(&[(1000, Value::Text("a"))], &[(1001, Value::Text("b"))]);
        *blob.last_mut().unwrap() = b'x';
        let header = Header::parse(&blob).unwrap();
        assert_eq!(header.string(1000).unwrap(), Some(&b"a"[..]));
        assert_eq!(header.strings(1001).unwrap_err().reason, "a string of tag 1001 has no end");
        assert_eq!(header.string(1002).unwrap(), None);
        assert!(!header.has(1002) && header.binary(63).unwrap().is_some());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn parse_changed_header_never_panics(changes in proptest::collection::vec((0_usize..700, any::<u8>()), 1..6)) {
            let dribbles = [
                (1023, Value::Text("exit 0")), (1065, Value::Texts(&["x"])), (1066, Value::Texts(&["a", "b"])),
                (1069, Value::Numbers32(&[0, 9])), (1049, Value::Texts(&["c"])), (1156, Value::Texts(&["d"])),
                (1096, Value::Numbers32(&[1, 1])),
            ];
            let mut blob = header(&PACKAGE, &dribbles);
            for (at, value) in changes {
                let length = blob.len();
                blob[at % length] = value;
            }
            if let Ok(package) = Package::parse(&blob) {
                crate::pkg::rpm::database_tests::read_everything(&package);
            }
        }
    }
}
