//! The names and paths that a set of packages provides, and which packages satisfy a relation.

use crate::pkg::rpm::package::{Package, RelationKind};
use crate::pkg::rpm::relation::{Relation, Sense};
use std::collections::HashMap;

/// One provided name.
#[derive(Clone, Debug)]
struct Provision {
    package: u32,
    sense: Sense,
    version: Box<[u8]>,
}

/// A directory that is a symbolic link.
#[derive(Clone, Debug)]
struct Link {
    /// Its path with a final slash.
    path: Box<[u8]>,
    /// Path of the directory that it refers to, with a final slash.
    target: Box<[u8]>,
}

/// The names and paths that packages provide. Packages are known by a number of the caller.
#[derive(Clone, Debug, Default)]
pub struct Provides {
    names: HashMap<Box<[u8]>, Vec<Provision>>,
    paths: HashMap<Box<[u8]>, Vec<u32>>,
    links: Vec<Link>,
}

impl Provides {
    /// Returns an empty set. `links` are directories that are symbolic links, with their targets,
    /// as absolute paths: `/bin`, `/usr/bin`. A file is found by both paths.
    pub fn new(links: &[(&[u8], &[u8])]) -> Self {
        let with_slash = |path: &[u8]| [path, b"/"].concat().into_boxed_slice();
        let links = links
            .iter()
            .map(|(path, target)| Link { path: with_slash(path), target: with_slash(target) })
            .collect();
        Provides { links, ..Provides::default() }
    }

    /// Adds a package: its name with its version, what it provides, and those of its paths that
    /// `is_wanted` selects. Ghosts count, and so do files that were left out by the installation.
    pub fn add(&mut self, number: u32, package: &Package<'_>, is_wanted: &dyn Fn(&[u8]) -> bool) {
        let version = package.full_version();
        self.add_name(number, &Relation { name: package.name, sense: Sense::EQUAL, version: &version });
        for provided in package.relations(RelationKind::Provides) {
            self.add_name(number, &provided);
        }
        for file in package.files.iter() {
            let path = file.path();
            if is_wanted(&path) {
                self.add_path(number, &path);
            }
        }
    }

    /// Adds a provided name.
    pub fn add_name(&mut self, number: u32, provided: &Relation<'_>) {
        let provision =
            Provision { package: number, sense: provided.sense, version: provided.version.into() };
        match self.names.get_mut(provided.name) {
            Some(provisions) => provisions.push(provision),
            None => drop(self.names.insert(provided.name.into(), vec![provision])),
        }
    }

    /// Adds an absolute path of a package.
    pub fn add_path(&mut self, number: u32, path: &[u8]) {
        let path = self.resolve(path);
        self.paths.entry(path).or_default().push(number);
    }

    /// Returns the packages that satisfy a relation, ascending, each once. Rich dependencies and
    /// features of rpm have none here.
    pub fn satisfiers(&self, relation: &Relation<'_>) -> Vec<u32> {
        let provisions = self.names.get(relation.name).map(Vec::as_slice).unwrap_or_default();
        let satisfies = |provision: &&Provision| {
            let Provision { sense, version, .. } = provision;
            relation.overlaps(&Relation { name: relation.name, sense: *sense, version })
        };
        let mut packages: Vec<u32> =
            provisions.iter().filter(satisfies).map(|provision| provision.package).collect();
        if relation.name.starts_with(b"/") && !relation.sense.is_versioned() {
            packages.extend(self.paths.get(&self.resolve(relation.name)).into_iter().flatten());
        }
        packages.sort_unstable();
        packages.dedup();
        packages
    }

    /// Returns the path without linked directories and doubled slashes.
    fn resolve(&self, path: &[u8]) -> Box<[u8]> {
        let mut resolved = Vec::with_capacity(path.len());
        for &byte in path {
            if byte != b'/' || resolved.last() != Some(&b'/') {
                resolved.push(byte);
            }
        }
        if let Some(link) = self.links.iter().find(|link| resolved.starts_with(&link.path)) {
            resolved.splice(..link.path.len(), link.target.iter().copied());
        }
        resolved.into()
    }
}
