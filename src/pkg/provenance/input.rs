//! The data that determines which script or tool made an unpackaged file, and what every family
//! determines from it.

use super::{ContentState, Generated, Provenance};
use crate::model::tree::{self, Kind};
use crate::pkg::Catalog;
use crate::system::root::Root;
use crate::walk::WalkedEntry;
use sha2::Digest as _;
use std::collections::HashMap;

/// Size limit for a file that may be a configuration file of a package script; `php.ini` has 74
/// KiB.
pub(in crate::pkg) const READ_LIMIT: u64 = 256 << 10;

/// Data about the machine that all sources use.
pub(in crate::pkg) struct ProvenanceInput<'a> {
    pub root: &'a Root,
    pub catalog: &'a Catalog,
    /// All objects, sorted by path.
    pub found: &'a [WalkedEntry],
}

impl<'a> ProvenanceInput<'a> {
    pub fn find(&self, path: &[u8]) -> Option<&'a WalkedEntry> {
        let index = self.found.binary_search_by(|found| (*found.node.path).cmp(path)).ok()?;
        Some(&self.found[index])
    }

    /// Returns all objects below a directory.
    pub fn beneath(&self, directory: &str) -> &'a [WalkedEntry] {
        let prefix = format!("{directory}/").into_bytes();
        let start = self.found.partition_point(|found| *found.node.path < *prefix);
        let length = self.found[start..].partition_point(|found| found.node.path.starts_with(&prefix));
        &self.found[start..start + length]
    }

    /// Returns the label of the package that ships a path. The path may lead through a link of
    /// the merged `/usr`.
    pub fn owner(&self, path: &[u8]) -> Option<String> {
        let merged = self.catalog.aliases.iter().find_map(|(link, target)| {
            let rest = path.strip_prefix(link)?;
            rest.starts_with(b"/").then(|| [target, rest].concat())
        });
        let path = merged.as_deref().unwrap_or(path);
        let package = *self.catalog.owned.get(path)?.packages.first()?;
        Some(self.catalog.label(package).to_owned())
    }

    /// Returns the content of a file, unless it changed since the walk.
    pub fn read(&self, found: &WalkedEntry) -> Option<Vec<u8>> {
        let Kind::File { size, sha256: Some(sha256) } = found.node.kind else { return None };
        if size > READ_LIMIT {
            return None;
        }
        let content = self.root.read(&found.node.path).ok()?;
        let digest: crate::model::digest::Sha256 = sha2::Sha256::digest(&content).into();
        (digest == sha256).then_some(content)
    }
}

/// Attributes compiled Python to the package of its source; `how` is the tool that compiles.
pub(in crate::pkg) fn compiled(
    machine: &ProvenanceInput<'_>,
    path: &[u8],
    how: &'static str,
) -> Option<Provenance> {
    let cache = tree::parent(path);
    let directory = cache.strip_suffix(b"/__pycache__")?;
    let stem = tree::file_name(path).strip_suffix(b".pyc")?;
    // `typing.cpython-311.pyc`, `typing.cpython-311.opt-1.pyc` (PEP 3147, PEP 488).
    let modules = memchr::memchr_iter(b'.', stem).map(|dot| &stem[..dot]);
    let mut sources = modules.map(|module| [directory, b"/", module, b".py"].concat());
    Provenance::created(Some(sources.find_map(|source| machine.owner(&source))?), how)
}

/// Attributes an unpackaged directory to the creator of the first path in it, from the deepest
/// directory upwards; `manager` creates the directories of packaged files.
pub(in crate::pkg) fn take_directories(
    generated: &mut Generated,
    machine: &ProvenanceInput<'_>,
    manager: &'static str,
) {
    let mut makers: HashMap<&[u8], Option<u32>> = HashMap::new();
    for (index, found) in machine.found.iter().enumerate().rev() {
        let path = &*found.node.path;
        let is_owned = machine.catalog.owned.get(path).is_some();
        if found.node.kind == Kind::Directory
            && !is_owned
            && generated.why(index).is_none()
            && let Some(maker) = makers.get(path)
        {
            let origin = maker.map(|number| generated.origin(number).clone());
            let unpacked = || Provenance::new(None, manager, ContentState::Created);
            let origin =
                origin.map_or_else(unpacked, |origin| Provenance { state: ContentState::Created, ..origin });
            generated.insert(index, origin);
        }
        let made =
            generated.why(index).filter(|&number| generated.origin(number).state != ContentState::Changed);
        if (made.is_some() || is_owned) && !path.is_empty() {
            makers.insert(tree::parent(path), made);
        }
    }
}
