//! The machine's packages: which are installed, their dependencies, and the source of each for
//! the image.
//!
//! A *family* is a group of distributions with one package manager. [`Family::of`] determines it
//! from the files of the root. [`PackageManager`] is its interface: plain data in, plain data
//! out. The other modules hold for every family:
//!
//! - [`package`]: packages and their identity; [`catalog`]: a package database as one value.
//! - [`claim`]: a database's record of one path; [`owned`]: the records of all paths;
//!   [`Catalog::is_unchanged`]: whether a file is as its package ships it.
//! - [`graph`]: which packages to request, to carry and to drop; [`plan`]: that decision for
//!   every package.
//! - [`alternatives`]: links that an alternatives system manages; [`aliases`]: the merged `/usr`.
//! - [`provenance`]: which script or tool made an unpackaged file.
//! - [`language`]: files that package managers of programming languages installed.
//! - [`dpkg`]: Debian, Ubuntu and their derivatives; [`rpm`]: Red Hat, Fedora, SUSE, Mageia and
//!   their derivatives.

pub mod aliases;
pub mod alternatives;
pub mod catalog;
pub mod claim;
pub mod dpkg;
pub mod graph;
mod index;
pub mod language;
mod lock;
pub mod manager;
pub mod owned;
pub mod package;
pub mod plan;
pub mod provenance;
pub mod rpm;
mod seeds;
mod shipped;

pub use aliases::Aliases;
pub use catalog::Catalog;
pub use claim::Claim;
pub use dpkg::filters::PathFilters;
pub use manager::{PackageManager, Repositories};
pub use owned::Owned;
pub use package::{Package, PackageId, Pin};
pub use plan::PlannedPackages;

use crate::system::root::Root;

/// A family of distributions that share a package manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// dpkg and apt: Debian, Ubuntu and their derivatives.
    Dpkg,
    /// rpm with yum, dnf, zypper or urpmi: Red Hat, Fedora, SUSE, Mageia and their derivatives.
    Rpm,
}

impl Family {
    /// All families, in the order in which a root is searched for their databases.
    pub const ALL: [Family; 2] = [Family::Dpkg, Family::Rpm];

    /// Chooses the family of a root by its package database. `None` if there is no supported
    /// database.
    ///
    /// The tools of one family can be packages of another one, with a database of their own: the
    /// one with the most packages counts.
    pub fn of(root: &Root) -> Option<Self> {
        let used = Family::ALL.into_iter().filter(|family| family.manager().is_used(root));
        let used: Vec<Family> = used.collect();
        let packages = |family: &&Family| family.manager().installed(&|path| root.read(path).ok()).len();
        // max_by_key returns the last of equal elements, so the order is reversed.
        if used.len() > 1 { used.iter().rev().max_by_key(packages).copied() } else { used.first().copied() }
    }

    /// Returns the implementation of the family's package manager.
    pub fn manager(self) -> &'static dyn PackageManager {
        match self {
            Family::Dpkg => &dpkg::Dpkg,
            Family::Rpm => &rpm::Rpm,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pkg::rpm::tests_data::case;

    #[test]
    fn of_two_databases_the_one_with_more_packages_decides() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let write = |path: &str, content: &[u8]| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        };
        assert_eq!(Family::of(&root), None);
        write("var/lib/rpm/Packages", &case("libuuid-el8").file);
        assert_eq!(Family::of(&root), Some(Family::Rpm));
        write("var/lib/dpkg/status", b"");
        assert_eq!(Family::of(&root), Some(Family::Rpm));
        let stanza = |name: &str| {
            format!(
                "Package: {name}\nStatus: install ok installed\nVersion: 1\nArchitecture: all\nMaintainer: x\nDescription: x\n\n"
            )
        };
        write("var/lib/dpkg/status", (stanza("aa") + &stanza("bb")).as_bytes());
        assert_eq!(Family::of(&root), Some(Family::Dpkg));
    }
}
