//! Metadata of RPM repositories: `repomd.xml`, and the lists `primary` and `filelists` as XML.
//!
//! The lists are read as streams, one package at a time; callers decompress them (gzip, xz,
//! zstd) and verify their checksums. Errors have the offset in the decompressed text.

use crate::pkg::rpm::package::RelationKind;
use crate::pkg::rpm::relation::Sense;
use crate::pkg::rpm::source::{Damage, Damages};
use crate::pkg::rpm::xml::{Attribute, Event, XmlReader, attribute};
use std::io::BufRead;

/// Most parts of one package (relations and files), and most lists of a repository.
const MAX_PARTS: usize = 4_000_000;
const MAX_LISTS: usize = 1000;
const INCOMPLETE: &str = "a package has no name, version or checksum";

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
    /// Revision, usually the time of creation in seconds since 1970.
    pub revision: Vec<u8>,
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
    /// Checksum of the decompressed file, if it is stated.
    pub open_checksum: Checksum,
    /// Size of the file in bytes, if it is stated.
    pub size: Option<u64>,
    /// Size of the decompressed file in bytes, if it is stated.
    pub open_size: Option<u64>,
    /// Time of creation, in seconds since 1970.
    pub timestamp: Option<u64>,
}

/// A package of a repository. Texts are empty if the list does not state them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepositoryPackage {
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
    /// Checksum of the package file, which is its ID in the other lists.
    pub checksum: Checksum,
    /// Path relative to the repository, or to `base`; not checked.
    pub location: Vec<u8>,
    /// URL that replaces the repository's, if the location has one.
    pub base: Vec<u8>,
    /// Size of the package file in bytes.
    pub package_bytes: u64,
    /// Size of the installed files in bytes.
    pub installed_bytes: u64,
    /// Offsets in the package file at which its header begins and ends.
    pub header_range: Option<(u64, u64)>,
    /// File name of the source package.
    pub source_rpm: Vec<u8>,
    /// Vendor.
    pub vendor: Vec<u8>,
    /// Relations.
    pub relations: Vec<OwnedRelation>,
    /// Paths: in `primary` those of programs and configuration, in `filelists` all.
    pub files: Vec<RepositoryFile>,
}

impl RepositoryPackage {
    fn is_complete(&self) -> bool {
        !self.name.is_empty() && !self.version.is_empty() && !self.checksum.digits.is_empty()
    }
}

/// A relation of a package of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedRelation {
    /// Kind.
    pub kind: RelationKind,
    /// Name, or a rich dependency.
    pub name: Vec<u8>,
    /// Comparison.
    pub sense: Sense,
    /// `[epoch:]version[-release]`; empty if there is none.
    pub version: Vec<u8>,
}

/// A path of a package of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryFile {
    /// Absolute path.
    pub path: Vec<u8>,
    /// Whether it is a directory.
    pub is_directory: bool,
    /// Whether the package only owns the path (`%ghost`).
    pub is_ghost: bool,
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
            Event::Start(_, _, attributes) => algorithm = attribute(attributes, "type").to_vec(),
            Event::End(2, b"data", _) if repomd.lists.len() == MAX_LISTS => {
                return Err(Damage::at(reader.offset(), "the repository has too many lists"));
            }
            Event::End(2, b"data", _) => repomd.lists.push(std::mem::take(&mut list)),
            Event::End(2, b"revision", text) => repomd.revision = text.to_vec(),
            Event::End(3, b"checksum", text) => list.checksum = checksum(&mut algorithm, text),
            Event::End(3, b"open-checksum", text) => list.open_checksum = checksum(&mut algorithm, text),
            Event::End(3, b"size", text) => list.size = number(text),
            Event::End(3, b"open-size", text) => list.open_size = number(text),
            Event::End(3, b"timestamp", text) => list.timestamp = number(text),
            Event::End(..) => {}
        }
    }
}

/// Passes each package of `primary.xml` to `visit`. Returns the packages that have no name, version
/// or checksum. After an error, the packages before it were passed.
pub fn read_primary(
    input: &mut dyn BufRead,
    visit: &mut dyn FnMut(&RepositoryPackage),
) -> Result<Damages, Damage> {
    let mut reader = XmlReader::new(input);
    let mut damages = Damages::default();
    let mut package = RepositoryPackage::default();
    let mut algorithm = Vec::new();
    let mut relations = None;
    let mut file = None;
    expect_root(&mut reader, b"metadata")?;
    loop {
        match reader.next()? {
            Event::Finished => return Ok(damages),
            Event::Start(depth, name, attributes) => {
                match (depth, name) {
                    (2, b"package") => package = RepositoryPackage::default(),
                    (4, b"file") => file = Some(file_of(attributes)),
                    (3, b"checksum") => algorithm = attribute(attributes, "type").to_vec(),
                    (5, b"entry") => {
                        package.relations.extend(relations.and_then(|kind| relation_of(kind, attributes)))
                    }
                    (4, _) => relations = relation_kind(name),
                    _ => {}
                }
                if matches!(depth, 3 | 4) {
                    take_attributes(&mut package, name, attributes);
                }
            }
            Event::End(2, b"package", _) => match package.is_complete() {
                true => visit(&package),
                false => damages.push(Damage::at(reader.offset(), INCOMPLETE)),
            },
            Event::End(depth, name, text) => match (depth, name) {
                (3, b"name") => package.name = text.to_vec(),
                (3, b"arch") => package.architecture = text.to_vec(),
                (3, b"checksum") => package.checksum = checksum(&mut algorithm, text),
                (4, b"sourcerpm") => package.source_rpm = text.to_vec(),
                (4, b"vendor") => package.vendor = text.to_vec(),
                (4, b"file") => package
                    .files
                    .extend(file.take().map(|file| RepositoryFile { path: text.to_vec(), ..file })),
                (4, _) => relations = None,
                _ => {}
            },
        }
        check_parts(&package, reader.offset())?;
    }
}

/// Passes each package of `filelists.xml` to `visit`: identity, checksum without algorithm, and
/// files. Returns the packages that have no name, version or checksum. After an error, the packages
/// before it were passed.
pub fn read_filelists(
    input: &mut dyn BufRead,
    visit: &mut dyn FnMut(&RepositoryPackage),
) -> Result<Damages, Damage> {
    let mut reader = XmlReader::new(input);
    let mut damages = Damages::default();
    let mut package = RepositoryPackage::default();
    let mut file = None;
    expect_root(&mut reader, b"filelists")?;
    loop {
        match reader.next()? {
            Event::Finished => return Ok(damages),
            Event::Start(2, b"package", attributes) => {
                let text = |name| attribute(attributes, name).to_vec();
                let checksum = Checksum { digits: text("pkgid"), ..Checksum::default() };
                package = RepositoryPackage {
                    name: text("name"),
                    architecture: text("arch"),
                    checksum,
                    ..Default::default()
                };
            }
            Event::Start(3, b"file", attributes) => file = Some(file_of(attributes)),
            Event::Start(3, name, attributes) => take_attributes(&mut package, name, attributes),
            Event::End(3, b"file", text) => {
                package.files.extend(file.take().map(|file| RepositoryFile { path: text.to_vec(), ..file }));
            }
            Event::End(2, b"package", _) => match package.is_complete() {
                true => visit(&package),
                false => damages.push(Damage::at(reader.offset(), INCOMPLETE)),
            },
            Event::Start(..) | Event::End(..) => {}
        }
        check_parts(&package, reader.offset())?;
    }
}

fn check_parts(package: &RepositoryPackage, offset: u64) -> Result<(), Damage> {
    if package.files.len() + package.relations.len() > MAX_PARTS {
        return Err(Damage::at(offset, "a package has too many files or relations"));
    }
    Ok(())
}

fn expect_root(reader: &mut XmlReader<'_>, expected: &[u8]) -> Result<(), Damage> {
    match reader.next()? {
        Event::Start(_, name, _) if name == expected => Ok(()),
        _ => Err(Damage::at(0, "the document has another root element")),
    }
}

/// Takes the values that both lists have in attributes.
fn take_attributes(package: &mut RepositoryPackage, name: &[u8], attributes: &[Attribute]) {
    let text = |name| attribute(attributes, name);
    match name {
        b"version" => {
            package.epoch = text("epoch").to_vec();
            package.version = text("ver").to_vec();
            package.release = text("rel").to_vec();
        }
        b"location" => {
            package.location = text("href").to_vec();
            package.base = text("xml:base").to_vec();
        }
        b"size" => {
            package.package_bytes = number(text("package")).unwrap_or_default();
            package.installed_bytes = number(text("installed")).unwrap_or_default();
        }
        b"header-range" => package.header_range = number(text("start")).zip(number(text("end"))),
        _ => {}
    }
}

fn file_of(attributes: &[Attribute]) -> RepositoryFile {
    let kind = attribute(attributes, "type");
    RepositoryFile { path: Vec::new(), is_directory: kind == b"dir", is_ghost: kind == b"ghost" }
}

fn relation_kind(element: &[u8]) -> Option<RelationKind> {
    Some(match element {
        b"provides" => RelationKind::Provides,
        b"requires" => RelationKind::Requires,
        b"conflicts" => RelationKind::Conflicts,
        b"obsoletes" => RelationKind::Obsoletes,
        b"recommends" => RelationKind::Recommends,
        b"suggests" => RelationKind::Suggests,
        b"supplements" => RelationKind::Supplements,
        b"enhances" => RelationKind::Enhances,
        _ => return None,
    })
}

/// Returns a relation. `None` if it has no name.
fn relation_of(kind: RelationKind, attributes: &[Attribute]) -> Option<OwnedRelation> {
    let text = |name| attribute(attributes, name);
    let name = text("name");
    let sense = match text("flags") {
        b"EQ" => Sense::EQUAL.0,
        b"LT" => Sense::LESS.0,
        b"GT" => Sense::GREATER.0,
        b"LE" => Sense::LESS.0 | Sense::EQUAL.0,
        b"GE" => Sense::GREATER.0 | Sense::EQUAL.0,
        _ => 0,
    };
    let mut version = Vec::new();
    if !text("ver").is_empty() {
        if !text("epoch").is_empty() {
            version.extend_from_slice(text("epoch"));
            version.push(b':');
        }
        version.extend_from_slice(text("ver"));
        if !text("rel").is_empty() {
            version.push(b'-');
            version.extend_from_slice(text("rel"));
        }
    }
    (!name.is_empty()).then(|| OwnedRelation { kind, name: name.to_vec(), sense: Sense(sense), version })
}

fn checksum(algorithm: &mut Vec<u8>, digits: &[u8]) -> Checksum {
    Checksum { algorithm: std::mem::take(algorithm), digits: digits.trim_ascii().to_vec() }
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text.trim_ascii()).ok()?.parse().ok()
}
