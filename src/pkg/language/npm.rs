//! Node.js: npm, Yarn and pnpm. No record has digests of files.

use super::{Moment, Records, record, written};
use crate::model::tree;
use crate::system::root::Root;
use serde::Deserialize;
use std::collections::BTreeMap;

const DIRECTORY: &[u8] = b"node_modules";
/// npm's record of a tree; it is written last.
const LOCK: &[u8] = b".package-lock.json";
/// Time within which the files of one package are unpacked, in seconds.
const UNPACKING: i64 = 2;

#[derive(Deserialize)]
struct Lock {
    packages: BTreeMap<String, LockedPackage>,
}

#[derive(Deserialize)]
struct LockedPackage {
    resolved: Option<String>,
    integrity: Option<String>,
}

#[derive(Deserialize)]
struct Manifest {
    name: String,
    version: String,
    #[serde(default)]
    private: serde_json::Value,
}

/// Returns the outermost directory of packages.
pub fn places(path: &[u8]) -> Vec<usize> {
    super::named(path, DIRECTORY).into_iter().take(1).collect()
}

/// Reads npm's record of a tree.
pub fn read(root: &Root, directory: &[u8]) -> Records {
    let lock = tree::join(directory, LOCK);
    let Some((content, time)) = record(root, &lock).zip(written(root, &lock)) else {
        return Records::default();
    };
    let listed = parse_lock(&content).into_iter().map(|path| {
        // A copy of a tree has the times of the copying.
        let of_package = unpacked(root, &tree::join(directory, &path));
        (path, of_package.map_or(time, |of_package| of_package.max(time)))
    });
    Records { listed: listed.collect(), ..Records::default() }
}

/// Parses `.package-lock.json`. Returns the directories of the packages that a registry published,
/// relative to `node_modules`. Packages from other sources have no digest or another kind of URL.
pub fn parse_lock(text: &[u8]) -> Vec<Box<[u8]>> {
    let Ok(lock) = serde_json::from_slice::<Lock>(text) else { return Vec::new() };
    let is_published = |package: &LockedPackage| {
        // npm can omit the URLs of registries (`omit-lockfile-registry-resolved`).
        let is_registry = package.resolved.as_ref().is_none_or(|url| url.starts_with("http"));
        is_registry && package.integrity.is_some()
    };
    let packages = lock.packages.iter().filter(|(_, package)| is_published(package));
    packages
        .filter_map(|(path, _)| path.strip_prefix("node_modules/"))
        .filter(|path| !path.is_empty())
        .map(|path| path.as_bytes().into())
        .collect()
}

/// Returns the innermost directory of a package: `node_modules/NAME`, `node_modules/@SCOPE/NAME`.
pub fn package_places(path: &[u8]) -> Vec<usize> {
    let innermost = super::named(path, DIRECTORY).pop();
    let package = innermost.and_then(|length| match path.get(length + 1) {
        Some(b'@') => super::next(path, super::next(path, length)?),
        _ => super::next(path, length),
    });
    package.into_iter().collect()
}

/// Reads the record of one package, if npm has none of the whole tree.
pub fn read_package(root: &Root, directory: &[u8]) -> Records {
    let mut records = Records::default();
    let is_locked =
        places(directory).iter().any(|&length| root.stat(&tree::join(&directory[..length], LOCK)).is_ok());
    let manifest = record(root, &tree::join(directory, b"package.json"));
    if !is_locked
        && manifest.is_some_and(|manifest| is_publishable(&manifest))
        && let Some(time) = unpacked(root, directory)
    {
        records.listed.insert(Box::default(), time);
    }
    records
}

/// Whether `package.json` describes a package that can be in a registry: with name and version,
/// and not private.
pub fn is_publishable(text: &[u8]) -> bool {
    serde_json::from_slice::<Manifest>(text).is_ok_and(|manifest| {
        let is_named = !manifest.name.is_empty() && !manifest.version.is_empty();
        is_named && matches!(manifest.private, serde_json::Value::Null | serde_json::Value::Bool(false))
    })
}

/// Returns the time until which the files of a package were unpacked.
fn unpacked(root: &Root, directory: &[u8]) -> Option<Moment> {
    let (seconds, fraction) = written(root, &tree::join(directory, b"package.json"))?;
    Some((seconds.saturating_add(UNPACKING), fraction))
}
