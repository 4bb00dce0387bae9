//! A package as every family has it, and its identity.

use std::fmt;

/// The position of a package in [`Catalog::packages`](super::Catalog::packages).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageId(u32);

impl PackageId {
    /// Returns the ID of the package at `index`.
    pub fn new(index: usize) -> Self {
        // NOTE(expect): no database has four billion packages: its file would not fit into
        // memory.
        PackageId(u32::try_from(index).expect("fewer than 2^32 packages"))
    }

    /// Returns the position in the catalog.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// One entry of a package database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Name, safe as an argument of the family's tools.
    pub name: String,
    /// Version with all parts that affect its order: dpkg's `epoch:upstream-revision`, rpm's
    /// `epoch:version-release`. Empty if the package is not installed.
    pub version: String,
    /// Architecture as the family names it, including the name for "any" (`all`, `noarch`).
    pub architecture: String,
    /// Name as the family's tools print it, with the architecture if the name alone is ambiguous.
    pub label: String,
    /// Whether its files are on the disk.
    pub installed: bool,
    /// Whether the package manager must reinstall it before it does anything else.
    pub broken: bool,
    /// Whether it was installed only as a dependency.
    pub automatic: bool,
    /// Size on the disk in bytes, as the package states it; 0 if the package states none.
    pub installed_bytes: u64,
}

/// One version of one package for one architecture. Several versions of one name are several
/// pins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pin {
    /// Name of the package.
    pub name: String,
    /// Version, compared as text; see [`Package::version`].
    pub version: String,
    /// Architecture, including the name for "any".
    pub architecture: String,
}

impl From<&Package> for Pin {
    fn from(package: &Package) -> Self {
        let Package { name, version, architecture, .. } = package;
        Pin { name: name.clone(), version: version.clone(), architecture: architecture.clone() }
    }
}

impl fmt::Display for Pin {
    /// Writes `name:architecture=version`, as `packages/installed.list` has it.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}={}", self.name, self.architecture, self.version)
    }
}
