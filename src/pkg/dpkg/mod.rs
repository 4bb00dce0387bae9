//! dpkg and apt, read from their files without running them.
//!
//! - [`deb822`] parses stanzas (`Field: value`) from bytes and tolerates damage.
//! - [`version`] compares versions, [`relation`] parses `Depends` and similar fields,
//!   [`dependencies`] resolves them.
//! - [`status`] parses the status database from bytes, the machine's or a base image's.
//! - [`admin`] parses diversions and stat overrides; [`filters`] dpkg's `path-exclude`.
//! - [`files`] parses lists of packaged files; [`database`] loads all of them into a [`Catalog`].
//! - [`owner`] determines which package owns a path.
//! - [`repository`] reads apt's sources and queries repositories; [`repositories`] caches their
//!   answers.
//! - [`base`] computes the contents of a base image; [`provenance`] the origin of unpackaged
//!   files.
//! - [`build`] writes the files of the build stage; [`rewrite`] removes dropped packages from the
//!   database.
//! - [`rules`] lists the packages that containers do not need.

pub mod admin;
pub mod base;
pub mod build;
pub mod database;
pub mod deb822;
pub mod dependencies;
pub mod files;
pub mod filters;
mod owner;
pub mod provenance;
pub mod relation;
pub mod repositories;
pub mod repository;
pub mod rewrite;
mod rules;
pub mod status;
pub mod version;

use super::lock;
use super::manager::{BuildFile, DatabaseFormat, PackageManager, Repositories};
use super::provenance::Generated;
use super::{Catalog, Package, Pin, PlannedPackages};
use crate::model::findings::Findings;
use crate::model::tree;
use crate::system::root::Root;
use crate::transfer::net::Client;
use crate::walk::WalkedEntry;
use std::cmp::Ordering;
use std::io;

/// The main file of the database.
const STATUS: &[u8] = b"var/lib/dpkg/status";
/// Directory that replaces it in images without dpkg, with a file per package.
const STATUS_DIRECTORY: &[u8] = b"var/lib/dpkg/status.d";

/// Files that apt and dpkg lock while they change the machine (apt-get(8), dpkg(1)).
const LOCKS: [&[u8]; 2] = [b"var/lib/dpkg/lock-frontend", b"var/lib/dpkg/lock"];

/// dpkg and apt.
pub struct Dpkg;

impl PackageManager for Dpkg {
    fn is_used(&self, root: &Root) -> bool {
        let is_absent =
            |path: &[u8]| root.stat(path).is_err_and(|cause| cause.kind() == io::ErrorKind::NotFound);
        !is_absent(STATUS) || !is_absent(STATUS_DIRECTORY)
    }

    fn busy(&self, root: &Root, locks: &[u8]) -> Option<u32> {
        lock::holder(root, &LOCKS, locks)
    }

    fn database(&self, _root: &Root) -> Vec<Vec<u8>> {
        vec![STATUS.to_vec()]
    }

    fn database_format(&self) -> DatabaseFormat {
        DatabaseFormat::Text
    }

    fn is_built_database(&self, _: &[u8]) -> bool {
        false
    }

    fn database_files(&self, _: &Root, _: PlannedPackages<'_>, _: &mut Findings) -> Vec<BuildFile> {
        Vec::new()
    }

    fn load(&self, root: &Root, findings: &mut Findings) -> Option<Catalog> {
        database::load(root, findings)
    }

    fn reads(&self, path: &[u8]) -> bool {
        path == STATUS || path == b"etc/dpkg/dpkg.cfg" || tree::parent(path) == b"etc/dpkg/dpkg.cfg.d"
    }

    fn installed(&self, read: &dyn Fn(&[u8]) -> Option<Vec<u8>>) -> Vec<Pin> {
        let (entries, _) = status::parse_status(&read(STATUS).unwrap_or_default());
        entries.iter().filter(|entry| entry.is_installed()).map(status::StatusEntry::pin).collect()
    }

    fn compare_versions(&self, a: &str, b: &str) -> Ordering {
        version::compare(a, b)
    }

    fn repositories<'a>(
        &self,
        root: &'a Root,
        catalog: &'a Catalog,
        client: Option<&'a Client>,
    ) -> Box<dyn Repositories + 'a> {
        Box::new(repositories::AptRepositories::of(root, catalog, client))
    }

    fn provenance(
        &self,
        root: &Root,
        catalog: &Catalog,
        found: &[WalkedEntry],
        findings: &mut Findings,
    ) -> Generated {
        provenance::load(root, catalog, found, findings)
    }

    fn rewrite(
        &self,
        path: &[u8],
        content: &[u8],
        is_dropped: &dyn Fn(&[u8], &[u8]) -> bool,
    ) -> Option<Vec<u8>> {
        rewrite::rewrite(path, content, is_dropped)
    }

    fn record_files(&self, package: &Package) -> Vec<Vec<u8>> {
        rules::record_files(package)
    }

    fn unneeded(&self) -> &'static [(&'static str, &'static str)] {
        rules::UNNEEDED
    }

    fn changed_in_images(&self) -> &'static [&'static str] {
        &[]
    }

    fn credential_files(&self, root: &Root) -> Vec<Vec<u8>> {
        repository::sources::with_passwords(root)
    }

    fn removal_command(&self, root: &Root, path: &[u8]) -> Result<Option<Vec<String>>, (String, io::Error)> {
        owner::removal_command(root, path)
    }
}
