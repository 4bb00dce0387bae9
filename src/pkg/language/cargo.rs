//! Rust: the registry that Cargo keeps, and vendored crates.

use super::{Records, record, written};
use crate::model::digest::Digest;
use crate::model::escape;
use crate::model::tree;
use crate::system::root::Root;
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Checksums {
    files: BTreeMap<String, String>,
    /// The digest of the crate in the registry; a crate from another source has none.
    package: Option<String>,
}

/// Returns the directory of the crate: `registry/src/REGISTRY/CRATE-VERSION`.
pub fn places(path: &[u8]) -> Vec<usize> {
    registry(path, b"registry/src").and_then(|length| super::next(path, length)).into_iter().collect()
}

/// Reads the mark that Cargo writes after the crate is unpacked.
pub fn read(root: &Root, directory: &[u8]) -> Records {
    let time = written(root, &tree::join(directory, b".cargo-ok"));
    Records { listed: time.map(|time| (Box::default(), time)).into_iter().collect(), ..Records::default() }
}

/// Returns the directory of downloaded crates: `registry/cache/REGISTRY`.
pub fn download_places(path: &[u8]) -> Vec<usize> {
    registry(path, b"registry/cache").into_iter().collect()
}

/// Returns the downloaded crates that Cargo unpacked after checking their digests.
pub fn read_downloads(root: &Root, directory: &[u8]) -> Records {
    let mut records = Records::default();
    let registry = tree::file_name(directory);
    let registries = tree::parent(tree::parent(directory));
    for name in root.list(directory).unwrap_or_default() {
        let Some(package) = name.strip_suffix(b".crate") else { continue };
        let mark = [registries, b"/src/", registry, b"/", package, b"/.cargo-ok"].concat();
        if let Some(time) = written(root, &mark) {
            records.listed.insert(name.into(), time);
        }
    }
    records
}

/// Returns the directory of crates.io below `kind`. Other registries can be private.
fn registry(path: &[u8], kind: &[u8]) -> Option<usize> {
    super::named(path, kind).into_iter().find_map(|length| {
        let name = path.get(length + 1..)?;
        let is_public = name.starts_with(b"index.crates.io-") || name.starts_with(b"github.com-");
        super::next(path, length).filter(|_| is_public)
    })
}

/// Returns the directory of a vendored crate: `vendor/CRATE`.
pub fn vendor_places(path: &[u8]) -> Vec<usize> {
    super::named(path, b"vendor").into_iter().filter_map(|length| super::next(path, length)).collect()
}

/// Reads the checksums of a vendored crate.
pub fn read_vendored(root: &Root, directory: &[u8]) -> Records {
    let checksums = record(root, &tree::join(directory, b".cargo-checksum.json")).unwrap_or_default();
    Records { files: parse_checksums(&checksums).into_iter().collect(), ..Records::default() }
}

/// Parses `.cargo-checksum.json`. Returns nothing for a crate that is in no registry.
pub fn parse_checksums(text: &[u8]) -> Vec<(Box<[u8]>, Digest)> {
    let checksums = serde_json::from_slice::<Checksums>(text).ok();
    let Some(checksums) = checksums.filter(|checksums| checksums.package.is_some()) else {
        return Vec::new();
    };
    let digest = |(path, digest): (String, String)| {
        let digest = Digest::Sha256(escape::unhex(digest.as_bytes())?);
        Some((path.into_bytes().into_boxed_slice(), digest))
    };
    checksums.files.into_iter().filter_map(digest).collect()
}
