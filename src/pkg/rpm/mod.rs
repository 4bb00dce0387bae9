//! RPM package databases, read as bytes without rpm and without a database library.
//!
//! No function opens a file or runs a program: the callers pass bytes. Everything is limited by the
//! size of the input, and damage is an error or a list with offsets, never a panic.
//!
//! - [`database`] reads a database file in any format: [`bdb`], [`ndb`], [`sqlite`] with its
//!   write-ahead log.
//! - [`package`] parses a package's header ([`header`]) with its files ([`files`]).
//! - [`version`] compares versions; [`relation`] and [`rich`] evaluate dependencies over what
//!   packages provide ([`provides`]).
//! - [`place`] chooses the database of a root.
//! - [`repodata`] reads the lists of repositories, by a streaming XML reader.
//! - [`source`]: the bytes of a file, and damage with its offset.

pub mod bdb;
pub mod database;
#[cfg(test)]
mod database_tests;
pub mod files;
pub mod header;
pub mod ndb;
pub mod package;
pub mod place;
pub mod provides;
pub mod relation;
pub mod repodata;
#[cfg(test)]
mod repodata_tests;
pub mod rich;
pub mod source;
pub mod sqlite;
#[cfg(test)]
mod tests_data;
pub mod version;
mod wal;
mod xml;

pub use package::Package;
pub use source::{Damage, Damages, Source};

use crate::model::findings::{self, Findings};
use crate::system::root::Root;
use memchr::memmem;

/// Directories of the database: values of rpm's macro `_dbpath`.
const DIRECTORIES: [&str; 2] = ["usr/lib/sysimage/rpm", "var/lib/rpm"];
/// Main file of each of its three formats: SQLite, ndb and Berkeley DB.
const FILES: [&str; 3] = ["rpmdb.sqlite", "Packages.db", "Packages"];

/// Returns the main file of the database, relative to the root.
pub fn database_file(root: &Root) -> Option<String> {
    let mut files = DIRECTORIES.iter().flat_map(|at| FILES.map(|file| format!("{at}/{file}")));
    files.find(|file| root.stat(file.as_bytes()).is_ok())
}

/// Reports that the database lists vm2docker-self as installed, because the image gets the
/// database file unchanged.
pub fn note_own_entry(root: &Root, findings: &mut Findings) {
    const NAME: &str = env!("CARGO_PKG_NAME");
    if root.stat(format!("usr/bin/{NAME}").as_bytes()).is_err() {
        return;
    }
    let Some(database) = database_file(root) else { return };
    // SQLite keeps the latest changes in a write-ahead log next to the database
    // (sqlite.org/wal.html).
    let names = |file: String| {
        root.read(file.as_bytes()).is_ok_and(|text| memmem::find(&text, NAME.as_bytes()).is_some())
    };
    if [database.clone(), format!("{database}-wal")].into_iter().any(names) {
        let text = format!(
            "the package {NAME} is listed as installed; run `rpm -e --justdb {NAME}` in the image to remove the entry"
        );
        findings.note(findings::Kind::OwnPackage, database.as_bytes(), text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn note_own_entry_database_names_package_reports_it() {
        const PROGRAM: &str = "usr/bin/vm2docker-self";
        for (files, expected) in [
            (
                &[(PROGRAM, ""), ("var/lib/rpm/Packages", "\0vm2docker-self\0")][..],
                Some("var/lib/rpm/Packages"),
            ),
            (
                &[
                    (PROGRAM, ""),
                    ("usr/lib/sysimage/rpm/rpmdb.sqlite", "SQLite"),
                    ("usr/lib/sysimage/rpm/rpmdb.sqlite-wal", "vm2docker-self"),
                ],
                Some("usr/lib/sysimage/rpm/rpmdb.sqlite"),
            ),
            (&[(PROGRAM, ""), ("var/lib/rpm/Packages", "\0bash\0")], None),
            // rpm does not overwrite the bytes of a removed entry, so the name alone does not
            // show an installation.
            (&[("var/lib/rpm/Packages", "\0vm2docker-self\0")], None),
            (&[(PROGRAM, "")], None),
        ] {
            let directory = tempfile::tempdir().unwrap();
            for (path, content) in files {
                let path = directory.path().join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, content).unwrap();
            }
            let mut findings = Findings::default();
            note_own_entry(&Root::open(directory.path()).unwrap(), &mut findings);
            let paths: Vec<_> = findings.sorted().into_iter().map(|finding| finding.path).collect();
            assert_eq!(paths, expected.iter().map(|path| path.as_bytes().into()).collect::<Vec<Box<[u8]>>>());
        }
    }
}
