//! The package database of a root as one value.

use super::Family;
use super::aliases::Aliases;
use super::alternatives::Alternative;
use super::dpkg::filters::PathFilters;
use super::graph::Dependencies;
use super::owned::OwnedFiles;
use super::package::{Package, PackageId};
use std::ops::Index;

/// Everything that a package manager's database states about a root. All paths are relative to
/// the root and have the names that the walk finds ([`Aliases`]).
#[derive(Clone, Debug)]
pub struct Catalog {
    /// Family of the package manager.
    pub family: Family,
    /// The machine's own architecture as the family names it (`amd64`, `x86_64`).
    pub architecture: String,
    /// Foreign architectures that the administrator added.
    pub foreign: Vec<String>,
    /// All packages in the database, by name, architecture and version; not all of them are
    /// installed.
    pub packages: Vec<Package>,
    /// Dependencies of the packages.
    pub dependencies: Dependencies,
    /// Paths of the installed packages.
    pub owned: OwnedFiles,
    /// Link groups of the alternatives system, by name.
    pub alternatives: Vec<Alternative>,
    /// Paths that the package manager does not install.
    pub path_filters: PathFilters,
    /// Links of the merged `/usr`.
    pub aliases: Aliases,
}

impl Catalog {
    /// Returns a catalog without packages.
    pub fn empty(family: Family, architecture: &str) -> Self {
        Catalog {
            family,
            architecture: architecture.to_owned(),
            foreign: Vec::new(),
            packages: Vec::new(),
            dependencies: Dependencies::default(),
            owned: OwnedFiles::default(),
            alternatives: Vec::new(),
            path_filters: PathFilters::default(),
            aliases: Aliases::default(),
        }
    }

    /// Returns the name of a package as the family's tools print it.
    pub fn label(&self, package: PackageId) -> &str {
        &self[package].label
    }

    /// Returns the packages whose files are on the disk.
    pub fn installed(&self) -> impl Iterator<Item = PackageId> {
        let all = self.packages.iter().enumerate();
        all.filter(|(_, package)| package.installed).map(|(index, _)| PackageId::new(index))
    }

    /// Returns the first package with this name and architecture.
    pub fn find(&self, name: &str, architecture: &str) -> Option<PackageId> {
        let key = (name, architecture);
        let at = self.packages.partition_point(|p| (p.name.as_str(), p.architecture.as_str()) < key);
        let package = self.packages.get(at)?;
        ((package.name.as_str(), package.architecture.as_str()) == key).then(|| PackageId::new(at))
    }
}

impl Index<PackageId> for Catalog {
    type Output = Package;

    fn index(&self, package: PackageId) -> &Package {
        &self.packages[package.index()]
    }
}
