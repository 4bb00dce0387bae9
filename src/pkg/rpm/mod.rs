//! rpm with yum, dnf, zypper or urpmi, read from their files without running them.
//!
//! - [`location`] finds and opens the database of a root, [`image`] reads that of a base image.
//! - [`load`] loads it into a [`Catalog`]; [`claims`]: the claims of packages on paths; [`marks`]:
//!   which packages the user requested.
//! - [`owner`] determines which package owns a path; [`credentials`] which files contain passwords.
//! - [`provenance`]: the origin of unpackaged files.
//! - [`rules`] lists the packages that containers do not need.
//!
//! The other modules read databases as bytes, without a database library. They open no file: the
//! callers pass a [`Source`]. Everything is limited by the size of the input, and damage is an
//! error or a list with offsets, never a panic.
//!
//! - [`database`] reads a database file in any format: [`bdb`], [`ndb`], [`sqlite`] with its
//!   write-ahead log.
//! - [`package`] parses a package's header ([`header`]) with its files ([`files`]).
//! - [`version`] compares versions; [`relation`] and [`rich`] evaluate dependencies over what
//!   packages provide ([`provides`]).
//! - [`place`] chooses the database of a root.
//! - [`repodata`] reads the lists of repositories, by a streaming XML reader; [`repository`]
//!   queries the machine's repositories; `build` writes the input of the build.
//! - [`source`]: the bytes of a file, and damage with its offset.

pub mod bdb;
mod build;
mod claims;
mod credentials;
pub mod database;
#[cfg(test)]
mod database_tests;
pub mod files;
pub mod header;
mod image;
mod load;
pub mod location;
mod marks;
pub mod ndb;
mod owner;
pub mod package;
pub mod place;
mod provenance;
pub mod provides;
pub mod relation;
pub mod repodata;
#[cfg(test)]
mod repodata_tests;
mod repositories;
pub mod repository;
pub mod rich;
mod rules;
pub mod source;
pub mod sqlite;
#[cfg(test)]
pub(super) mod tests_data;
pub mod version;
mod wal;
mod xml;

pub use package::Package;
pub use source::{Damage, Damages, Source};

use super::manager::{BuildFile, DatabaseFormat, PackageManager, Repositories};
use super::provenance::Generated;
use super::{Catalog, Pin, PlannedPackages, lock};
use crate::model::findings::Findings;
use crate::system::root::Root;
use crate::transfer::net::Client;
use crate::walk::WalkedEntry;
use std::cmp::Ordering;
use std::io;

/// Files that rpm locks while it changes the machine: `.rpm.lock` next to the database.
const LOCKS: [&[u8]; 3] =
    [b"usr/lib/sysimage/rpm/.rpm.lock", b"var/lib/rpm/.rpm.lock", b"usr/share/rpm/.rpm.lock"];

/// rpm and the tools above it.
pub struct Rpm;

impl PackageManager for Rpm {
    fn is_used(&self, root: &Root) -> bool {
        !location::candidates(root).is_empty()
    }

    fn busy(&self, root: &Root, locks: &[u8]) -> Option<u32> {
        lock::holder(root, &LOCKS, locks)
    }

    fn database(&self, root: &Root) -> Vec<Vec<u8>> {
        let candidates = location::candidates(root);
        candidates.into_iter().flat_map(|one| [Some(one.path.clone()), one.log()]).flatten().collect()
    }

    fn database_format(&self) -> DatabaseFormat {
        DatabaseFormat::Opaque
    }

    fn is_built_database(&self, path: &[u8]) -> bool {
        place::is_database_file(path)
    }

    fn database_files(
        &self,
        root: &Root,
        packages: PlannedPackages<'_>,
        findings: &mut Findings,
    ) -> Vec<BuildFile> {
        build::database_files(root, packages, findings)
    }

    fn load(&self, root: &Root, findings: &mut Findings) -> Option<Catalog> {
        load::load(root, findings)
    }

    fn reads(&self, path: &[u8]) -> bool {
        image::reads(path)
    }

    fn installed(&self, read: &dyn Fn(&[u8]) -> Option<Vec<u8>>) -> Vec<Pin> {
        image::installed(read)
    }

    fn compare_versions(&self, a: &str, b: &str) -> Ordering {
        load::compare(a, b)
    }

    fn repositories<'a>(
        &self,
        root: &'a Root,
        catalog: &'a Catalog,
        client: Option<&'a Client>,
    ) -> Box<dyn Repositories + 'a> {
        Box::new(repositories::RpmRepositories::of(root, catalog, client))
    }

    fn provenance(
        &self,
        root: &Root,
        catalog: &Catalog,
        found: &[WalkedEntry],
        _findings: &mut Findings,
    ) -> Generated {
        provenance::load(root, catalog, found)
    }

    fn rewrite(
        &self,
        _path: &[u8],
        _content: &[u8],
        _is_dropped: &dyn Fn(&[u8], &[u8]) -> bool,
    ) -> Option<Vec<u8>> {
        None
    }

    fn record_files(&self, _package: &super::Package) -> Vec<Vec<u8>> {
        Vec::new()
    }

    fn unneeded(&self) -> &'static [(&'static str, &'static str)] {
        rules::UNNEEDED
    }

    fn changed_in_images(&self) -> &'static [&'static str] {
        rules::CHANGED_IN_IMAGES
    }

    fn credential_files(&self, root: &Root) -> Vec<Vec<u8>> {
        credentials::files(root)
    }

    fn removal_command(&self, root: &Root, path: &[u8]) -> Result<Option<Vec<String>>, (String, io::Error)> {
        owner::removal_command(root, path)
    }
}
