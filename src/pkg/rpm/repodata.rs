//! Metadata of RPM repositories: `repomd.xml`, and the list `primary` as XML.
//!
//! The list is read as a stream, one package at a time; callers decompress it and verify its
//! checksum. Errors have the offset in the decompressed text.

use crate::pkg::rpm::source::{Damage, Damages};
use crate::pkg::rpm::xml::{Event, XmlReader, attribute};
use std::io::BufRead;

/// Most lists of a repository.
const MAX_LISTS: usize = 1000;
const INCOMPLETE: &str = "a package has no name or version";

/// A checksum as the metadata states it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checksum {
    /// Algorithm: `sha256`, `sha` for SHA-1.
    pub algorithm: Vec<u8>,
    /// Hexadecimal digits; not checked.
    pub digits: Vec<u8>,
}

/// The contents of `repomd.xml`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repomd {
    /// Lists of the repository.
    pub lists: Vec<List>,
}

/// A file of metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    /// Kind: `primary`, `filelists`, `modules`, `primary_db`, ...
    pub kind: Vec<u8>,
    /// Path relative to the repository; not checked.
    pub location: Vec<u8>,
    /// Checksum of the file.
    pub checksum: Checksum,
    /// Size of the file in bytes, if it is stated.
    pub size: Option<u64>,
}

/// Identity of a package that a repository offers. Texts are empty if the list does not state
/// them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OfferedPackage {
    /// Name.
    pub name: Vec<u8>,
    /// Architecture.
    pub architecture: Vec<u8>,
    /// Epoch, `0` if the package has none.
    pub epoch: Vec<u8>,
    /// Version.
    pub version: Vec<u8>,
    /// Release.
    pub release: Vec<u8>,
}

/// Parses `repomd.xml`.
pub fn parse_repomd(input: &mut dyn BufRead) -> Result<Repomd, Damage> {
    let mut reader = XmlReader::new(input);
    let mut repomd = Repomd::default();
    let mut list = List::default();
    let mut algorithm = Vec::new();
    expect_root(&mut reader, b"repomd")?;
    loop {
        match reader.next()? {
            Event::Finished => return Ok(repomd),
            Event::Start(2, b"data", attributes) => {
                list = List { kind: attribute(attributes, "type").to_vec(), ..List::default() };
            }
            Event::Start(3, b"location", attributes) => {
                list.location = attribute(attributes, "href").to_vec()
            }
            Event::Start(3, b"checksum", attributes) => algorithm = attribute(attributes, "type").to_vec(),
            Event::End(2, b"data", _) if repomd.lists.len() == MAX_LISTS => {
                return Err(Damage::at(reader.offset(), "the repository has too many lists"));
            }
            Event::End(2, b"data", _) => repomd.lists.push(std::mem::take(&mut list)),
            Event::End(3, b"checksum", text) => {
                let digits = text.trim_ascii().to_vec();
                list.checksum = Checksum { algorithm: std::mem::take(&mut algorithm), digits };
            }
            Event::End(3, b"size", text) => list.size = number(text),
            Event::Start(..) | Event::End(..) => {}
        }
    }
}

/// Passes each package of `primary.xml` to `visit`. Returns the packages that have no name or
/// version. After an error, the packages before it were passed.
pub fn read_primary(
    input: &mut dyn BufRead,
    visit: &mut dyn FnMut(&OfferedPackage),
) -> Result<Damages, Damage> {
    let mut reader = XmlReader::new(input);
    let mut damages = Damages::default();
    let mut package = OfferedPackage::default();
    expect_root(&mut reader, b"metadata")?;
    loop {
        match reader.next()? {
            Event::Finished => return Ok(damages),
            Event::Start(2, b"package", _) => package = OfferedPackage::default(),
            Event::Start(3, b"version", attributes) => {
                let text = |name| attribute(attributes, name).to_vec();
                package = OfferedPackage {
                    epoch: text("epoch"),
                    version: text("ver"),
                    release: text("rel"),
                    ..package
                };
            }
            Event::End(3, b"name", text) => package.name = text.to_vec(),
            Event::End(3, b"arch", text) => package.architecture = text.to_vec(),
            Event::End(2, b"package", _) => match package.name.is_empty() || package.version.is_empty() {
                true => damages.push(Damage::at(reader.offset(), INCOMPLETE)),
                false => visit(&package),
            },
            Event::Start(..) | Event::End(..) => {}
        }
    }
}

fn expect_root(reader: &mut XmlReader<'_>, expected: &[u8]) -> Result<(), Damage> {
    match reader.next()? {
        Event::Start(_, name, _) if name == expected => Ok(()),
        _ => Err(Damage::at(0, "the document has another root element")),
    }
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text.trim_ascii()).ok()?.parse().ok()
}
