//! The interface of a package manager's family: plain data in, plain data out.
//!
//! Decisions are made elsewhere: the source of each package, the files that the lower layers
//! provide, what is kept or dropped. `CONTRIBUTING.md` describes how to add a family.

use super::catalog::Catalog;
use super::dpkg::base::package_list::PackageList;
use super::dpkg::base::profile::Profile;
use super::package::{Package, Pin};
use super::plan::{Availability, PlannedPackages};
use super::provenance::Generated;
use crate::detect::os_release::OsRelease;
use crate::model::digest::Digest;
use crate::model::findings::Findings;
use crate::model::manifest::Names;
use crate::system::root::Root;
use crate::transfer::net::Client;
use crate::walk::WalkedEntry;
use std::cmp::Ordering;
use std::io;

/// Form of the package database, which decides how it gets into the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseFormat {
    /// Text file. vm2docker-self rewrites it without the dropped packages; `apply` compares it
    /// byte for byte.
    Text,
    /// Binary file. The build writes it and removes the dropped packages; it is compared as a set
    /// of packages.
    Opaque,
}

/// A package manager. No method runs it: each one reads files of the root.
pub trait PackageManager: Sync {
    /// Whether its database is in this root; an unreadable database counts.
    fn is_used(&self, root: &Root) -> bool;

    /// Returns the PID of the process that is changing the packages, from the content of
    /// `/proc/locks` (proc_locks(5)).
    fn busy(&self, root: &Root, locks: &[u8]) -> Option<u32>;

    /// Returns the main file of the database and its logs, relative to the root; every installation
    /// changes one of them. Empty if there is no database.
    fn database(&self, root: &Root) -> Vec<Vec<u8>>;

    /// Returns the form of the database.
    fn database_format(&self) -> DatabaseFormat;

    /// Whether the path is a file of an opaque database, which the build writes.
    fn is_built_database(&self, path: &[u8]) -> bool;

    /// Returns the files of the build step that writes an opaque database: one that contains the
    /// machine's packages, without the dropped ones.
    fn database_files(
        &self,
        root: &Root,
        packages: PlannedPackages<'_>,
        findings: &mut Findings,
    ) -> Vec<BuildFile>;

    /// Reads the database. Damaged and unreadable parts become findings. `None` if there is no
    /// database.
    fn load(&self, root: &Root, findings: &mut Findings) -> Option<Catalog>;

    /// Whether [`PackageManager::installed`] or [`Profile`] needs this file of a base image.
    fn reads(&self, path: &[u8]) -> bool;

    /// Returns the installed packages of a base image or of a build's root. `read` returns a file
    /// of it by path. The result is empty if the family has no database there.
    fn installed(&self, read: &dyn Fn(&[u8]) -> Option<Vec<u8>>) -> Vec<Pin>;

    /// Compares two versions as the package manager orders them.
    fn compare_versions(&self, a: &str, b: &str) -> Ordering;

    /// Returns the machine's repositories. Without a client, only the machine's cached indexes
    /// are available.
    fn repositories<'a>(
        &self,
        root: &'a Root,
        catalog: &'a Catalog,
        client: Option<&'a Client>,
    ) -> Box<dyn Repositories + 'a>;

    /// Determines the provenance of the unpackaged paths of `found`, a complete tree.
    fn provenance(
        &self,
        root: &Root,
        catalog: &Catalog,
        found: &[WalkedEntry],
        findings: &mut Findings,
    ) -> Generated;

    /// Returns the content of a file of a text database without the packages that `is_dropped`
    /// selects by name and architecture. `None` for any other file.
    fn rewrite(
        &self,
        path: &[u8],
        content: &[u8],
        is_dropped: &dyn Fn(&[u8], &[u8]) -> bool,
    ) -> Option<Vec<u8>>;

    /// Returns the paths of the database's files about one package, which are dropped with it.
    fn record_files(&self, package: &Package) -> Vec<Vec<u8>>;

    /// Returns name patterns of packages that containers do not need, each with the reason. A
    /// pattern may end in `*`.
    fn unneeded(&self) -> &'static [(&'static str, &'static str)];

    /// Returns the configuration files that makers of base images change. A package manager keeps
    /// such changes.
    fn changed_in_images(&self) -> &'static [&'static str];

    /// Returns the configuration files that contain passwords of repositories.
    fn credential_files(&self, root: &Root) -> Vec<Vec<u8>>;

    /// Returns the command, as words, that removes the package that owns the file at `path`.
    /// `None` if the file is unpackaged.
    ///
    /// The error contains the file of the database that could not be read; the owner is unknown
    /// then.
    fn removal_command(&self, root: &Root, path: &[u8]) -> Result<Option<Vec<String>>, (String, io::Error)>;
}

/// A file of the context's `packages/` directory, which the build stage of the packages reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildFile {
    /// Name relative to `packages/`.
    pub name: String,
    /// Content in bytes.
    pub content: Vec<u8>,
}

/// Input of the build stage that installs the packages.
#[derive(Clone, Copy)]
pub struct BuildInput<'a> {
    /// Machine's packages and their verdicts.
    pub packages: PlannedPackages<'a>,
    /// Function that returns the content of an account file for the image, if a rule rewrites it.
    pub rewritten: &'a dyn Fn(&[u8]) -> Option<Vec<u8>>,
    /// Machine's accounts.
    pub names: &'a Names,
}

/// The package repositories of a machine.
pub trait Repositories: Sync {
    /// Returns the time of the last change of the machine's packages, in seconds since 1970.
    fn last_change(&self, findings: &mut Findings) -> i64;

    /// Returns the source of every installed package in exactly the machine's version: one of the
    /// machine's repositories, else a snapshot repository.
    fn available(&self, findings: &mut Findings) -> Availability;

    /// Returns the packages of a base image that is built by the distribution's usual rule,
    /// computed from the repositories' indexes. The error is the reason why they are unknown.
    fn base_packages(&self, os: &OsRelease, findings: &mut Findings) -> Result<PackageList, String>;

    /// Returns the regular files of a base image, sorted by path, if only its packages are known.
    /// For packages that the machine has in another version and that `wanted` selects, it fetches
    /// the heads of the package files.
    fn base_files(
        &self,
        list: &PackageList,
        profile: &Profile,
        wanted: &dyn Fn(&Pin) -> bool,
        findings: &mut Findings,
    ) -> Vec<(Box<[u8]>, Digest)>;

    /// Returns the files of the build step that installs the packages from these repositories.
    fn build_files(&self, input: &BuildInput<'_>, findings: &mut Findings) -> Vec<BuildFile>;
}
