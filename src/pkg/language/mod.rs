//! Files that package managers of programming languages installed, by these managers' own
//! records.
//!
//! | module | record | evidence |
//! |---|---|---|
//! | [`pip`] | `RECORD` of a `dist-info`, `installed-files.txt` of an `egg-info` | SHA-256; list |
//! | [`npm`] | `.package-lock.json`, `package.json` (npm, Yarn, pnpm) | list |
//! | [`gem`] | `specifications/*.gemspec` | list |
//! | [`composer`] | `vendor/composer/installed.json` | list |
//! | [`maven`] | `*.sha1`, `_remote.repositories`; Gradle's directory names | SHA-1 |
//! | [`go`] | `*.ziphash` of the module cache | SHA-256 of all files |
//! | [`cargo`] | `.cargo-checksum.json`; `.cargo-ok` of the registry's sources | SHA-256; list |
//!
//! A record without digests proves only that a package has files in a directory. An administrator
//! can have put a secret there, so that a listed file counts only if it was not modified after the
//! record was written, and never if it has a name that only configuration has ([`is_own_name`]).
//!
//! A package that was installed from a directory, a repository of sources or a file is the
//! machine's own application: its files count for nothing, as those of a local Debian package.

pub mod cargo;
pub mod composer;
pub mod gem;
pub mod go;
pub mod maven;
pub mod npm;
pub mod pip;

use crate::model::digest::{Algorithm, Digest, Sha256};
use crate::model::tree;
use crate::system::root::Root;
use crate::walk::WalkedEntry;
use sha2::Digest as _;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Maximum size of a record. The largest known one, of a package with 60,000 files, has 8 MiB.
const MAX_RECORD: usize = 64 << 20;

/// Time of a modification: seconds since 1970 and nanoseconds.
pub type Moment = (i64, u32);

/// Evidence that a file is the one of a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Evidence {
    /// It has this digest.
    Digest(Digest),
    /// It is in a listed directory and was modified at this time or earlier.
    Listed(Moment),
}

/// The records of one directory. Paths are relative to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// Files with digests.
    pub files: HashMap<Box<[u8]>, Digest>,
    /// Files and directories of packages without digests, and the time at which the package was
    /// complete. An empty path is the directory itself.
    pub listed: BTreeMap<Box<[u8]>, Moment>,
}

impl Records {
    fn evidence(&self, path: &[u8]) -> Option<Evidence> {
        if let Some(digest) = self.files.get(path) {
            return Some(Evidence::Digest(*digest));
        }
        let mut above =
            std::iter::successors(Some(path), |path| (!path.is_empty()).then(|| tree::parent(path)));
        let until = above.find_map(|path| self.listed.get(path))?;
        (!is_own_name(path)).then_some(Evidence::Listed(*until))
    }
}

/// Whether a file with this name holds settings of one machine. Packages hardly contain such
/// files, and no record without digests tells them from those that were added.
fn is_own_name(path: &[u8]) -> bool {
    let name = tree::file_name(path);
    name.starts_with(b".") || name.ends_with(b".env")
}

/// Returns the directories above a path that can have records of one manager, as lengths of the
/// path, the most significant first.
type Places = fn(&[u8]) -> Vec<usize>;

/// Reads the records of a directory.
type Reader = fn(&Root, &[u8]) -> Records;

const MANAGERS: &[(Places, Reader)] = &[
    (pip::places, pip::read),
    (npm::places, npm::read),
    (npm::package_places, npm::read_package),
    (gem::places, gem::read),
    (composer::places, composer::read),
    (maven::places, maven::read),
    (maven::gradle_places, maven::read_gradle),
    (go::places, go::read),
    (go::download_places, go::read_downloads),
    (cargo::places, cargo::read),
    (cargo::download_places, cargo::read_downloads),
    (cargo::vendor_places, cargo::read_vendored),
];

/// Index into [`MANAGERS`] and directory.
type Place = (usize, Box<[u8]>);

/// The language packages of a machine. The records of a directory are read when the first of its
/// files is looked up.
pub struct LanguagePackages<'a> {
    root: &'a Root,
    records: Mutex<HashMap<Place, Arc<OnceLock<Records>>>>,
}

impl<'a> LanguagePackages<'a> {
    /// Returns the packages of a root, none of which is read yet.
    pub fn new(root: &'a Root) -> Self {
        LanguagePackages { root, records: Mutex::default() }
    }

    /// Returns the algorithm of the digest that a record has for the file, if it has one.
    pub fn wanted_digest(&self, path: &[u8]) -> Option<Algorithm> {
        match self.recorded(path)? {
            Evidence::Digest(digest) => Some(digest.algorithm()),
            Evidence::Listed(_) => None,
        }
    }

    /// Whether a published package has a file under this path. With `found`, also whether the file
    /// of the machine is the package's.
    pub fn is_published(&self, path: &[u8], found: Option<&WalkedEntry>) -> bool {
        match (self.recorded(path), found) {
            (Some(_), None) => true,
            (Some(Evidence::Digest(digest)), Some(found)) => found.digest(digest.algorithm()) == Some(digest),
            (Some(Evidence::Listed(until)), Some(found)) => {
                (found.node.stat.mtime, found.node.stat.mtime_nsec) <= until
            }
            (None, _) => self.is_compiled(path, found.is_some()),
        }
    }

    fn recorded(&self, path: &[u8]) -> Option<Evidence> {
        MANAGERS.iter().enumerate().find_map(|(manager, (places, reader))| {
            places(path).into_iter().find_map(|length| {
                let rest = if length == 0 { path } else { path.get(length + 1..)? };
                let directory = &path[..length];
                let mut all = self.records.lock().unwrap_or_else(PoisonError::into_inner);
                let records = Arc::clone(all.entry((manager, directory.into())).or_default());
                // Other directories can be looked up while this one is read.
                drop(all);
                records.get_or_init(|| reader(self.root, directory)).evidence(rest)
            })
        })
    }

    /// Whether a published file was compiled to this one, by the record of its source. With
    /// `exactly`, also whether the contents of both are those.
    fn is_compiled(&self, path: &[u8], exactly: bool) -> bool {
        let source = pip::source(path);
        let recorded = source.as_deref().and_then(|source| self.recorded(source));
        let (Some(source), Some(Evidence::Digest(Digest::Sha256(wanted)))) = (source, recorded) else {
            return false;
        };
        let is_same = || {
            let stat = self.root.stat(&source).ok()?;
            let (compiled, content) = (self.root.read(path).ok()?, self.root.read(&source).ok()?);
            let digest: Sha256 = sha2::Sha256::digest(&content).into();
            Some(digest == wanted && pip::is_compiled_from(&compiled, stat.st_mtime, stat.st_size as u64))
        };
        !exactly || is_same() == Some(true)
    }
}

/// Returns the lengths of the path up to each directory with this name.
fn named(path: &[u8], name: &[u8]) -> Vec<usize> {
    memchr::memmem::find_iter(path, name)
        .filter(|&at| (at == 0 || path[at - 1] == b'/') && path.get(at + name.len()) == Some(&b'/'))
        .map(|at| at + name.len())
        .collect()
}

/// Returns the length of the path up to the end of the component that begins after `length`;
/// `None` if that is the file itself.
fn next(path: &[u8], length: usize) -> Option<usize> {
    let rest = path.get(length + 1..)?;
    Some(length + 1 + memchr::memchr(b'/', rest)?)
}

fn record(root: &Root, path: &[u8]) -> Option<Vec<u8>> {
    root.read(path).ok().filter(|content| content.len() <= MAX_RECORD)
}

/// Returns when a record was written.
fn written(root: &Root, path: &[u8]) -> Option<Moment> {
    let stat = root.stat(path).ok()?;
    Some((stat.st_mtime, stat.st_mtime_nsec as u32))
}

#[cfg(test)]
#[path = "language_tests.rs"]
mod tests;
