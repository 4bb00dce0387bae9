//! Go: the module cache (`go help module-cache`; golang.org/x/mod/sumdb/dirhash, `Hash1`).

use super::{Records, record, written};
use crate::model::digest::{Digest, Sha256};
use crate::model::escape;
use crate::model::tree;
use crate::system::root::Root;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::Digest as _;
use std::collections::BTreeMap;

/// Maximum number of files and of bytes of a module. The go command allows 500 MiB for a module.
const MAX_FILES: usize = 100_000;
const MAX_BYTES: u64 = 500 << 20;

/// Returns the directory of the module: `pkg/mod/MODULE@VERSION`.
pub fn places(path: &[u8]) -> Vec<usize> {
    let modules = super::named(path, b"pkg/mod").into_iter();
    let module = modules.filter_map(|length| {
        let at = length + memchr::memchr(b'@', &path[length..])?;
        let end = at + memchr::memchr(b'/', &path[at..])?;
        // `@v` is the directory of downloads.
        (path[at - 1] != b'/').then_some(end)
    });
    module.collect()
}

/// Computes the digests of a module's files, and compares the digest of all with the recorded one.
/// One changed, added or removed file makes them differ, and no file counts as published.
pub fn read(root: &Root, directory: &[u8]) -> Records {
    digests(root, directory).map_or_else(Records::default, |files| Records { files, ..Records::default() })
}

fn digests(root: &Root, directory: &[u8]) -> Option<super::HashMap<Box<[u8]>, Digest>> {
    let modules = *super::named(directory, b"pkg/mod").first()?;
    let module = &directory[modules + 1..];
    let (name, version) = module.split_at(memchr::memchr(b'@', module)?);
    let hash = [&directory[..modules], b"/cache/download/", name, b"/@v/", &version[1..], b".ziphash"];
    let wanted = parse_hash(&record(root, &hash.concat())?)?;
    let (mut files, mut bytes, mut waiting) = (BTreeMap::new(), 0, vec![Vec::new()]);
    while let Some(path) = waiting.pop() {
        let full = tree::join(directory, &path);
        if let Ok(names) = root.list(&full) {
            waiting.extend(names.into_iter().map(|name| tree::join(&path, &name)));
        } else {
            let content = root.read(&full).ok()?;
            bytes += content.len() as u64;
            let digest: Sha256 = sha2::Sha256::digest(&content).into();
            files.insert(path, digest);
        }
        if files.len() + waiting.len() > MAX_FILES || bytes > MAX_BYTES {
            return None;
        }
    }
    let found = hash_of_all(&unescaped(module)?, &files);
    let files = files.into_iter().map(|(path, digest)| (path.into_boxed_slice(), Digest::Sha256(digest)));
    (found == wanted).then(|| files.collect())
}

/// Returns the digest of a module: that of a list of its files, sorted by name.
pub fn hash_of_all(module: &[u8], files: &BTreeMap<Vec<u8>, Sha256>) -> Sha256 {
    let mut all = sha2::Sha256::new();
    for (path, digest) in files {
        all.update([escape::hex(digest).as_bytes(), b"  ", module, b"/", path, b"\n"].concat());
    }
    all.finalize().into()
}

/// Returns a path without the escapes of upper case: `!x` is `X`.
fn unescaped(path: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = path.iter();
    let mut out = Vec::with_capacity(path.len());
    while let Some(&byte) = bytes.next() {
        out.push(if byte == b'!' { bytes.next()?.to_ascii_uppercase() } else { byte });
    }
    Some(out)
}

/// Parses a `.ziphash` file: `h1:` and base64.
pub fn parse_hash(text: &[u8]) -> Option<Sha256> {
    let encoded = text.trim_ascii().strip_prefix(b"h1:")?;
    BASE64_STANDARD.decode(encoded).ok()?.try_into().ok()
}

/// Returns the directory of a module's downloads: `pkg/mod/cache/download/MODULE/@v`.
pub fn download_places(path: &[u8]) -> Vec<usize> {
    let is_download = !super::named(path, b"pkg/mod/cache/download").is_empty();
    let directory = tree::parent(path);
    if is_download && directory.ends_with(b"/@v") { vec![directory.len()] } else { Vec::new() }
}

/// Returns the archives whose digest the go command recorded.
pub fn read_downloads(root: &Root, directory: &[u8]) -> Records {
    let mut records = Records::default();
    for name in root.list(directory).unwrap_or_default() {
        let time = written(root, &tree::join(directory, &name));
        if let Some((version, time)) = name.strip_suffix(b".ziphash").zip(time) {
            records.listed.insert([version, b".zip"].concat().into(), time);
        }
    }
    records
}
