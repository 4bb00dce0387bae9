//! Python: `dist-info` directories (PEP 376, PEP 627) and `egg-info` directories of old versions
//! of pip.

use super::{Records, record, written};
use crate::model::digest::{Digest, Sha256};
use crate::model::tree;
use crate::system::root::Root;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

/// Returns the directories with installed modules.
pub fn places(path: &[u8]) -> Vec<usize> {
    [super::named(path, b"site-packages"), super::named(path, b"dist-packages")].concat()
}

/// Reads the records of all packages in a directory of modules.
pub fn read(root: &Root, directory: &[u8]) -> Records {
    let mut records = Records::default();
    for name in root.list(directory).unwrap_or_default() {
        let package = tree::join(directory, &name);
        let file = |name: &[u8]| tree::join(&package, name);
        if name.ends_with(b".dist-info") {
            // PEP 610: installed from a directory, a file or a repository of sources.
            let is_local = root.stat(&file(b"direct_url.json")).is_ok();
            let listed = record(root, &file(b"RECORD")).filter(|_| !is_local).unwrap_or_default();
            records.files.extend(parse_record(&listed));
        } else if name.ends_with(b".egg-info") {
            let list = file(b"installed-files.txt");
            let Some((listed, time)) = record(root, &list).zip(written(root, &list)) else { continue };
            // The names are relative to the directory of the record.
            let paths = listed.split(|&byte| byte == b'\n').filter_map(|line| line.strip_prefix(b"../"));
            records.listed.extend(paths.filter(|path| is_below(path)).map(|path| (path.into(), time)));
        }
    }
    records
}

/// Parses `RECORD`: lines of a path, a digest and a size. Returns the files below the directory
/// that have a SHA-256.
pub fn parse_record(text: &[u8]) -> Vec<(Box<[u8]>, Digest)> {
    let lines = text.split(|&byte| byte == b'\n');
    lines.filter_map(|line| entry(line.strip_suffix(b"\r").unwrap_or(line))).collect()
}

fn entry(line: &[u8]) -> Option<(Box<[u8]>, Digest)> {
    // Neither a digest nor a size has a comma or a quote.
    let mut fields = line.rsplitn(3, |&byte| byte == b',');
    let (_size, digest, path) = (fields.next()?, fields.next()?, fields.next()?);
    let digest = BASE64_URL_SAFE_NO_PAD.decode(digest.strip_prefix(b"sha256=")?).ok()?;
    let digest: Sha256 = digest.try_into().ok()?;
    let path = match path {
        [b'"', quoted @ .., b'"'] => unquoted(quoted),
        path => path.to_vec(),
    };
    is_below(&path).then(|| (path.into_boxed_slice(), Digest::Sha256(digest)))
}

/// Returns a quoted field of RFC 4180 with `""` as one quote.
fn unquoted(field: &[u8]) -> Vec<u8> {
    let mut after_quote = false;
    let is_kept = |byte: &u8| {
        after_quote = *byte == b'"' && !after_quote;
        !after_quote
    };
    field.iter().copied().filter(is_kept).collect()
}

fn is_below(path: &[u8]) -> bool {
    !path.is_empty() && path.split(|&byte| byte == b'/').all(|part| !matches!(part, b"" | b"." | b".."))
}

/// Returns the path of the source of a compiled module: `__pycache__/a.cpython-311.pyc` (PEP 3147).
pub fn source(path: &[u8]) -> Option<Vec<u8>> {
    let stem = tree::file_name(path).strip_suffix(b".pyc")?;
    let directory = tree::parent(path).strip_suffix(b"/__pycache__")?;
    let module = &stem[..memchr::memmem::find(stem, b".cpython-")?];
    Some([directory, b"/", module, b".py"].concat())
}

/// Whether a compiled module names this modification time and size of its source (PEP 552). Both
/// have 32 bits.
pub fn is_compiled_from(compiled: &[u8], mtime: i64, size: u64) -> bool {
    let number = |at: usize| Some(u32::from_le_bytes(compiled.get(at..at + 4)?.try_into().ok()?));
    number(4) == Some(0) && number(8) == Some(mtime as u32) && number(12) == Some(size as u32)
}
