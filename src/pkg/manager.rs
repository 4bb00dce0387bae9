//! The seam between the families: what one package manager knows and does, as plain data in and out.
//!
//! Decisions stay outside: which package the image gets from where, what the lower layers provide, what is kept or
//! dropped. `CONTRIBUTING.md` describes how to add a family.

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

/// How the package database gets into the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseFormat {
    /// A text file: rewritten on the machine without the dropped packages, and compared byte for byte.
    Text,
    /// A binary file: put in place in the build, which removes the dropped packages, and compared as a set of packages.
    Opaque,
}

/// A package manager. Nothing here runs it: every method reads files of the root.
pub trait PackageManager: Sync {
    /// Whether its database is in this root; a database that exists and cannot be read counts.
    fn is_used(&self, root: &Root) -> bool;

    /// Returns the process that is changing the packages, by the content of `/proc/locks` (proc_locks(5)).
    fn busy(&self, root: &Root, locks: &[u8]) -> Option<u32>;

    /// Returns the main file of the database, relative to the root: it changes with every installation.
    fn database(&self) -> &'static [u8];

    /// Returns how the database gets into the image.
    fn database_format(&self) -> DatabaseFormat;

    /// Reads the database. Damaged and unreadable parts become findings. `None` if there is none after all.
    fn load(&self, root: &Root, findings: &mut Findings) -> Option<Catalog>;

    /// Whether [`PackageManager::installed`] or [`Profile`] need this file of a base image.
    fn reads(&self, path: &[u8]) -> bool;

    /// Returns the installed packages of a base image or a build's root, whose files `read` returns by path; empty if
    /// the family has no database there.
    fn installed(&self, read: &dyn Fn(&[u8]) -> Option<Vec<u8>>) -> Vec<Pin>;

    /// Compares two versions as the package manager orders them.
    fn compare_versions(&self, a: &str, b: &str) -> Ordering;

    /// Returns the machine's repositories; without a client only what is cached on the machine is known of them.
    fn repositories<'a>(
        &self,
        root: &'a Root,
        catalog: &'a Catalog,
        client: Option<&'a Client>,
    ) -> Box<dyn Repositories + 'a>;

    /// Finds out what made the paths of `found`, a whole tree, that no package ships.
    fn provenance(
        &self,
        root: &Root,
        catalog: &Catalog,
        found: &[WalkedEntry],
        findings: &mut Findings,
    ) -> Generated;

    /// Returns the content of a file of a text database without the packages that `is_dropped` selects by name and
    /// architecture. `None` for any other file.
    fn rewrite(
        &self,
        path: &[u8],
        content: &[u8],
        is_dropped: &dyn Fn(&[u8], &[u8]) -> bool,
    ) -> Option<Vec<u8>>;

    /// Returns the paths of the database's own files about one package: they are dropped with it.
    fn record_files(&self, package: &Package) -> Vec<Vec<u8>>;

    /// Returns name patterns of packages that no container needs, each with the reason; a pattern may end in `*`.
    fn unneeded(&self) -> &'static [(&'static str, &'static str)];

    /// Returns the configuration files that hold passwords of repositories.
    fn credential_files(&self, root: &Root) -> Vec<Vec<u8>>;

    /// Returns the command, as words, that removes the package that owns the file at `path`; `None` if no package does.
    ///
    /// The error names the file of the database that could not be read: the owner is unknown then.
    fn removal_command(&self, root: &Root, path: &[u8]) -> Result<Option<Vec<String>>, (String, io::Error)>;
}

/// A file of the context's `packages/` directory, which the build step of the package layer reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildFile {
    /// Name relative to `packages/`.
    pub name: String,
    /// Its bytes.
    pub content: Vec<u8>,
}

/// What the build step of the package layer is made of.
#[derive(Clone, Copy)]
pub struct BuildInput<'a> {
    /// The machine's packages and what becomes of them.
    pub packages: PlannedPackages<'a>,
    /// Returns the content with which an account file goes into the image, if a rule rewrites it.
    pub rewritten: &'a dyn Fn(&[u8]) -> Option<Vec<u8>>,
    /// The machine's accounts.
    pub names: &'a Names,
}

/// The package repositories of a machine.
pub trait Repositories {
    /// Returns when the machine's packages last changed, in seconds since 1970.
    fn last_change(&self, findings: &mut Findings) -> i64;

    /// Returns where every installed package can be had in exactly the machine's version: from the machine's own
    /// repositories, else from a snapshot repository.
    fn available(&self, findings: &mut Findings) -> Availability;

    /// Returns the packages of a base image that is built by the distribution's usual rule, computed from the
    /// repositories' indexes.
    fn base_packages(&self, os: &OsRelease, findings: &mut Findings) -> Result<PackageList, String>;

    /// Returns the regular files of a base image of which only the packages are known, sorted by path. For packages that
    /// the machine has in another version and that `wanted` selects, the heads of the package files are fetched.
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
