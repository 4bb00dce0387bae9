//! The machine's repositories: which of its packages they offer, and their files for the build.

use super::build;
use super::load;
use super::location;
use super::package::{Package, RelationKind};
use super::repository::config::{self, Repository};
use super::repository::offers::{self, Answer, Machine};
use super::repository::variables::Variables;
use crate::detect::os_release::OsRelease;
use crate::model::digest::Digest;
use crate::model::findings::Findings;
use crate::pkg::dpkg::base::package_list::PackageList;
use crate::pkg::dpkg::base::profile::Profile;
use crate::pkg::dpkg::repository::keyring::Keyring;
use crate::pkg::manager::{BuildFile, BuildInput, Repositories};
use crate::pkg::plan::Availability;
use crate::pkg::{Catalog, Pin};
use crate::system::root::Root;
use crate::transfer::net::Client;
use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::time::SystemTime;

/// Tag of the text of an imported key (`gpg-pubkey`).
const DESCRIPTION: u32 = 1005;
/// Capabilities with which a distribution states `$releasever`, in dnf's order.
const RELEASES: [&[u8]; 5] = [
    b"system-release(releasever)",
    b"system-release",
    b"distribution-release",
    b"redhat-release",
    b"suse-release",
];

/// The package repositories of a machine.
pub struct RpmRepositories<'a> {
    root: &'a Root,
    catalog: &'a Catalog,
    client: Option<&'a Client>,
    /// Values from the database, once it was read.
    known: OnceLock<Known>,
    /// Answers of the repositories, once they were queried.
    answers: OnceLock<Vec<Answer>>,
}

/// Values of the database that concern repositories.
#[derive(Debug, Default)]
struct Known {
    /// Time of the latest installation, in seconds since 1970.
    last_change: u64,
    /// Value of `$releasever`.
    release: Option<String>,
    /// Imported keys, armored.
    keys: Vec<u8>,
}

impl<'a> RpmRepositories<'a> {
    /// Returns the repositories of a machine. Without a client, only stored metadata is used.
    pub fn of(root: &'a Root, catalog: &'a Catalog, client: Option<&'a Client>) -> Self {
        RpmRepositories { root, catalog, client, known: OnceLock::new(), answers: OnceLock::new() }
    }

    fn known(&self) -> &Known {
        self.known.get_or_init(|| known(self.root))
    }

    fn variables(&self) -> Variables {
        let release = self.known().release.clone().or_else(|| {
            let version = OsRelease::load(self.root, &mut Findings::default()).version_id;
            Some(version).filter(|version| !version.is_empty())
        });
        Variables::load(self.root, &self.catalog.architecture, release)
    }

    fn pins(&self) -> BTreeSet<Pin> {
        self.catalog.installed().map(|id| Pin::from(&self.catalog[id])).collect()
    }

    /// Returns the answers of the repositories. The first call queries them and reports the
    /// findings.
    fn answers(&self, findings: &mut Findings) -> &[Answer] {
        self.answers.get_or_init(|| {
            let variables = self.variables();
            let repositories = config::load(self.root, &variables, findings);
            let keyring = |repository: &Repository| {
                let files = build::key_files(self.root, repository);
                let files = files.into_iter().map(|(_, content)| content);
                let keys: Vec<Keyring> = files.map(|content| Keyring::parse(&content)).collect();
                keys.into_iter().fold(Keyring::parse(&self.known().keys), Keyring::with)
            };
            let machine = Machine {
                root: self.root,
                variables: &variables,
                keyring: &keyring,
                client: self.client,
                now: now(),
            };
            offers::query(&machine, repositories, &self.pins(), findings)
        })
    }
}

impl Repositories for RpmRepositories<'_> {
    fn last_change(&self, _: &mut Findings) -> i64 {
        i64::try_from(self.known().last_change).unwrap_or_else(|_| now())
    }

    fn available(&self, findings: &mut Findings) -> Availability {
        offers::availability(self.answers(findings), &self.pins())
    }

    fn base_packages(&self, _: &OsRelease, _: &mut Findings) -> Result<PackageList, String> {
        Err("its makers publish no rule from which its packages follow".to_owned())
    }

    fn base_files(
        &self,
        _: &PackageList,
        _: &Profile,
        _: &dyn Fn(&Pin) -> bool,
        _: &mut Findings,
    ) -> Vec<(Box<[u8]>, Digest)> {
        Vec::new()
    }

    fn build_files(&self, input: &BuildInput<'_>, findings: &mut Findings) -> Vec<BuildFile> {
        let answers = self.answers.get().map(Vec::as_slice).unwrap_or_default();
        let usable = answers.iter().filter(|answer| answer.refused.is_none());
        let usable: Vec<&Repository> = usable.map(|answer| &answer.repository).collect();
        let variables = self.variables();
        let build = build::Build {
            root: self.root,
            repositories: &usable,
            release: variables.get("releasever").unwrap_or_default(),
            imported_keys: &self.known().keys,
        };
        build.files(input, findings)
    }
}

/// Returns the current time in seconds since 1970.
fn now() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |time| time.as_secs() as i64)
}

/// Reads the database for its keys, the release and the time of the latest change. Damage is
/// reported when the catalog is loaded.
fn known(root: &Root) -> Known {
    let mut known = Known::default();
    let Some(location) = location::locate(root, &mut Findings::default()) else { return known };
    let mut best = RELEASES.len();
    let _ = location.read(&mut |header| {
        let Ok(package) = Package::parse(header) else { return };
        known.last_change = known.last_change.max(package.install_time.unwrap_or_default());
        if location::is_key(&package) {
            let key = package.header().string(DESCRIPTION).ok().flatten().unwrap_or_default();
            known.keys.extend_from_slice(key);
            known.keys.push(b'\n');
        }
        for relation in package.relations(RelationKind::Provides) {
            let place = RELEASES.iter().position(|name| *name == relation.name).unwrap_or(best);
            // `system-release` has the version of its package, the first one a value of its own.
            let version = if relation.version.is_empty() { package.version } else { relation.version };
            let version = version.split(|byte| *byte == b'-').next().unwrap_or_default();
            if let Ok(version) = std::str::from_utf8(version)
                && place < best
                && load::pin(&package).is_ok()
            {
                best = place;
                known.release = Some(version.rsplit(':').next().unwrap_or_default().to_owned());
            }
        }
    });
    known
}
