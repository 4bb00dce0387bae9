//! Package indexes (`Packages`), scanned in chunks for the queried packages; the rest of their 50
//! MB is not kept.

use crate::model::digest::Sha256;
use crate::model::escape::unhex;
use crate::pkg::Pin;
use memchr::memmem;
use std::collections::{BTreeSet, HashMap};
use std::io::{self, Read};

/// Bytes read at once, and maximum size of a stanza in bytes.
const CHUNK: usize = 1 << 20;
const STANZA_LIMIT: usize = 16 << 20;
/// Maximum uncompressed size of an index in bytes.
const INDEX_LIMIT: u64 = 4 << 30;

/// A package in an index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    /// Name, version and architecture.
    pub pin: Pin,
    /// Path of its file, relative to the repository's address.
    pub filename: String,
    /// Size of the file in bytes; 0 if the index does not state it.
    pub size: u64,
    /// Digest of the file, if the index has a SHA-256.
    pub sha256: Option<Sha256>,
}

/// Queried packages that an index contains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matches {
    /// Packages in the queried version, in the index's order.
    pub records: Vec<Record>,
    /// Names of the packages that it has in any version.
    pub names: BTreeSet<String>,
}

/// A way to read an index.
pub trait Scan: Sync {
    /// Result.
    type Output: Default + Send;

    /// Reads a complete index.
    fn scan_all(&self, reader: &mut dyn Read) -> io::Result<Self::Output>;
}

/// The queried packages.
pub struct PackageSet<'a> {
    by_name: HashMap<&'a [u8], Vec<&'a Pin>>,
    field: memmem::Finder<'static>,
    gap: memmem::Finder<'static>,
}

impl<'a> PackageSet<'a> {
    /// Returns the set of these exact versions.
    pub fn new(pins: &'a BTreeSet<Pin>) -> Self {
        let mut by_name: HashMap<&[u8], Vec<&Pin>> = HashMap::with_capacity(pins.len());
        pins.iter().for_each(|pin| by_name.entry(pin.name.as_bytes()).or_default().push(pin));
        PackageSet { by_name, field: memmem::Finder::new(b"\nPackage:"), gap: memmem::Finder::new(b"\n\n") }
    }

    /// Adds the queried packages of a chunk of complete stanzas.
    pub fn scan(&self, bytes: &[u8], found: &mut Matches) {
        let first = bytes.starts_with(b"Package:").then_some(0);
        // A match starts at the line end before the field.
        for start in first.into_iter().chain(self.field.find_iter(bytes).map(|at| at + 1)) {
            let rest = &bytes[start + b"Package:".len()..];
            let name = rest[..memchr::memchr(b'\n', rest).unwrap_or(rest.len())].trim_ascii();
            let Some(pins) = self.by_name.get(name) else { continue };
            if let Some(pin) = pins.first().filter(|pin| !found.names.contains(&pin.name)) {
                found.names.insert(pin.name.clone());
            }
            let begin = memmem::rfind(&bytes[..start], b"\n\n").map_or(0, |at| at + 2);
            let end = self.gap.find(&bytes[start..]).map_or(bytes.len(), |at| start + at);
            let stanza = &bytes[begin..end];
            let (version, architecture) = (field(stanza, b"Version:"), field(stanza, b"Architecture:"));
            let fits = |pin: &&&Pin| {
                version == Some(pin.version.as_bytes()) && architecture == Some(pin.architecture.as_bytes())
            };
            found.records.extend(pins.iter().filter(fits).map(|&pin| record(pin.clone(), stanza)));
        }
    }
}

impl Scan for PackageSet<'_> {
    type Output = Matches;

    fn scan_all(&self, reader: &mut dyn Read) -> io::Result<Matches> {
        let mut found = Matches::default();
        chunks(reader, &mut |chunk| self.scan(chunk, &mut found))?;
        Ok(found)
    }
}

fn record(pin: Pin, stanza: &[u8]) -> Record {
    let text =
        |name| field(stanza, name).and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default();
    Record {
        pin,
        filename: text(b"Filename:").to_owned(),
        size: text(b"Size:").parse().unwrap_or(0),
        sha256: field(stanza, b"SHA256:").and_then(unhex),
    }
}

fn field<'a>(stanza: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    stanza.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(name)).map(<[u8]>::trim_ascii)
}

/// Reads an index from start to end in chunks of complete stanzas.
pub fn chunks(reader: &mut dyn Read, visit: &mut dyn FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = Vec::new();
    let mut total = 0;
    loop {
        let read = (&mut *reader).take(CHUNK as u64).read_to_end(&mut buffer)?;
        total += read as u64;
        if read == 0 {
            visit(&buffer);
            return Ok(());
        }
        match memmem::rfind(&buffer, b"\n\n") {
            Some(gap) => {
                visit(&buffer[..=gap]);
                buffer.drain(..gap + 2);
            }
            None if buffer.len() > STANZA_LIMIT => return Err(io::Error::other("not a package index")),
            None => {}
        }
        if total > INDEX_LIMIT {
            return Err(io::Error::other("larger than 4 GiB"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(text: &str) -> Pin {
        let words: Vec<&str> = text.split(' ').collect();
        Pin { name: words[0].into(), version: words[1].into(), architecture: words[2].into() }
    }

    fn asked() -> BTreeSet<Pin> {
        ["bash 5.2-1 amd64", "bash 5.1-1 amd64", "zsh 5 amd64", "tzdata 2024a all", "last 1 all"]
            .map(pin)
            .into()
    }

    const INDEX: &str = "Package: bash\nArchitecture: amd64\nVersion: 5.2-1\nDescription: x\n Package: zsh\n\n\
        Version: 2024a\nPackage: tzdata\nArchitecture: all\n\nPackage: zsh\nVersion: 5\nArchitecture: i386\n\n\
        Package: bashful\nVersion: 5.1-1\nArchitecture: amd64\n\nPackage: last\nVersion: 1\nArchitecture: all";

    fn matches(bytes: &[u8]) -> Matches {
        let (asked, mut found) = (asked(), Matches::default());
        PackageSet::new(&asked).scan(bytes, &mut found);
        found
    }

    fn scan(bytes: &[u8]) -> BTreeSet<Pin> {
        matches(bytes).records.into_iter().map(|record| record.pin).collect()
    }

    fn expected() -> BTreeSet<Pin> {
        ["bash 5.2-1 amd64", "tzdata 2024a all", "last 1 all"].map(pin).into()
    }

    #[test]
    fn scan_other_version_or_architecture_is_skipped() {
        assert_eq!(scan(INDEX.as_bytes()), expected());
        assert_eq!(Vec::from_iter(matches(INDEX.as_bytes()).names), ["bash", "last", "tzdata", "zsh"]);
        assert!(scan(b"").is_empty());
        for length in 0..INDEX.len() {
            assert!(scan(&INDEX.as_bytes()[..length]).is_subset(&expected()), "{length}");
        }
    }

    #[test]
    fn scan_returns_filename_size_and_digest() {
        let text = "Package: last\nVersion: 1\nArchitecture: all\nFilename: pool/l/last_1_all.deb\nSize: 7\n\
            SHA256: 00000000000000000000000000000000000000000000000000000000000000ff\n";
        let found = matches(text.as_bytes()).records;
        let mut sha256 = [0; 32];
        sha256[31] = 255;
        let filename = "pool/l/last_1_all.deb".to_owned();
        assert_eq!(found, [Record { pin: pin("last 1 all"), filename, size: 7, sha256: Some(sha256) }]);
    }

    #[test]
    fn scan_all_stanza_across_chunks_is_found() {
        let long = format!("Package: pad\nDescription: {}\n\n", "x".repeat(CHUNK - 60));
        let text = [long.as_str(), INDEX, "\n\n", &long, &long].concat();
        let index = asked();
        let read = |text: String| PackageSet::new(&index).scan_all(&mut text.as_bytes());
        let found: BTreeSet<Pin> = read(text).unwrap().records.into_iter().map(|record| record.pin).collect();
        assert_eq!(found, expected());
        assert!(read("x".repeat(STANZA_LIMIT + 2 * CHUNK)).is_err());
    }
}
