//! The metadata that the machine's tools have stored: yum, dnf, dnf5 and zypper.

use super::config::Repository;
use super::metadata::{self, Wanted};
use crate::pkg::Pin;
use crate::system::cache_neutral::CacheNeutralReader;
use crate::system::root::Root;
use std::collections::BTreeSet;
use std::fs::File;
use std::io;

/// Directories whose subdirectories `ID-HASH` have `repodata` (dnf, dnf5).
const HASHED: [&[u8]; 2] = [b"var/cache/dnf", b"var/cache/libdnf5"];
/// Directory whose subdirectories `ID` have `repodata` (zypper).
const ZYPP: &[u8] = b"var/cache/zypp/raw";
/// Directory of yum 3: `ARCHITECTURE/RELEASE/ID` has the files themselves.
const YUM: &[u8] = b"var/cache/yum";

/// Returns the wanted packages that the stored metadata of a repository has. `None` if there is
/// none; the error is the reason why it cannot be used.
pub(super) fn packages(
    root: &Root,
    repository: &Repository,
    wanted: &Wanted<'_>,
) -> Option<Result<BTreeSet<Pin>, String>> {
    let directory = directories(root, &repository.id)
        .into_iter()
        .find(|directory| root.stat(&join(directory, b"repomd.xml")).is_ok())?;
    Some(read(root, &directory, wanted).map_err(|cause| format!("its stored metadata: {cause}")))
}

fn read(root: &Root, directory: &[u8], wanted: &Wanted<'_>) -> io::Result<BTreeSet<Pin>> {
    let text = root.read(&join(directory, b"repomd.xml"))?;
    let repomd = metadata::parse(&text).map_err(io::Error::other)?;
    let list = metadata::primary(&repomd).ok_or_else(|| io::Error::other("no list of packages in XML"))?;
    let name = list.location.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    let file = File::from(root.open_file(&join(directory, name))?);
    metadata::scan_verified(CacheNeutralReader::new(file), &list.checksum, wanted)
}

fn directories(root: &Root, id: &str) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for cache in HASHED {
        for name in root.list(cache).unwrap_or_default() {
            let is_hash = |end: &[u8]| end.len() == 16 && end.iter().all(u8::is_ascii_hexdigit);
            let hash = name.strip_prefix(id.as_bytes()).and_then(|end| end.strip_prefix(b"-"));
            if hash.is_some_and(is_hash) {
                found.push(join(&join(cache, &name), b"repodata"));
            }
        }
    }
    found.push(join(&join(ZYPP, id.as_bytes()), b"repodata"));
    for architecture in root.list(YUM).unwrap_or_default() {
        let releases = join(YUM, &architecture);
        for release in root.list(&releases).unwrap_or_default() {
            found.push(join(&join(&releases, &release), id.as_bytes()));
        }
    }
    found
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    [directory, b"/", name].concat()
}
