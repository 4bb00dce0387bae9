//! The machine's repositories, from apt's configuration and cache, and their files for the build.

use super::base::contents::{self, Heads};
use super::base::minbase;
use super::base::package_list::PackageList;
use super::base::profile::Profile;
use super::build;
use super::repository::{self, Lists, Query, Source, snapshot};
use crate::detect::os_release::OsRelease;
use crate::model::digest::Digest;
use crate::model::findings::{self, Findings};
use crate::pkg::manager::{BuildFile, BuildInput, Repositories};
use crate::pkg::plan::{Availability, VersionSource};
use crate::pkg::{Catalog, Pin};
use crate::system::root::Root;
use crate::transfer::net::Client;
use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::time::SystemTime;

/// The package repositories of a machine, as apt has them configured.
pub struct AptRepositories<'a> {
    root: &'a Root,
    catalog: &'a Catalog,
    client: Option<&'a Client>,
    /// Native and foreign architectures.
    architectures: Vec<String>,
    /// Current time in seconds since 1970.
    now: i64,
    /// Answers of the repositories about the machine's packages, once they were queried.
    lists: OnceLock<Lists>,
    /// Sources for apt in the build, once [`Repositories::available`] has queried them.
    sources: OnceLock<Vec<Source>>,
}

impl<'a> AptRepositories<'a> {
    /// Returns the repositories of a machine. Without a client, only apt's cached lists are used.
    pub fn of(root: &'a Root, catalog: &'a Catalog, client: Option<&'a Client>) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(0, |time| time.as_secs() as i64);
        let own = std::iter::once(&catalog.architecture);
        let architectures = own.chain(&catalog.foreign).cloned().collect();
        AptRepositories {
            root,
            catalog,
            client,
            architectures,
            now,
            lists: OnceLock::new(),
            sources: OnceLock::new(),
        }
    }

    /// Returns the answers of the repositories. The first call queries them and reports the
    /// findings.
    fn lists(&self, findings: &mut Findings) -> &Lists {
        self.lists.get_or_init(|| {
            let pins = self.pins();
            let lists = repository::ask(self.root, &self.query(&pins), self.client, findings);
            note_unusable(&lists, findings);
            lists
        })
    }

    fn pins(&self) -> BTreeSet<Pin> {
        self.catalog.installed().map(|id| Pin::from(&self.catalog[id])).collect()
    }

    fn query<'b>(&'b self, pins: &'b BTreeSet<Pin>) -> Query<'b> {
        Query { pins, architectures: &self.architectures, now: self.now }
    }
}

impl Repositories for AptRepositories<'_> {
    fn last_change(&self, findings: &mut Findings) -> i64 {
        snapshot::last_change(self.root, self.lists(findings)).unwrap_or(self.now)
    }

    fn available(&self, findings: &mut Findings) -> Availability {
        let (pins, current) = (self.pins(), self.lists(findings));
        let mut lists = current.clone();
        if let Some(client) = self.client.filter(|_| lists.available.len() < pins.len()) {
            let changed = snapshot::last_change(self.root, &lists).unwrap_or(self.now);
            snapshot::search(self.root, &mut lists, &self.query(&pins), changed, client, findings);
        }
        let _ = self.sources.set(lists.for_build(self.now));
        availability(&pins, &current.available, &lists)
    }

    fn base_packages(&self, os: &OsRelease, findings: &mut Findings) -> Result<PackageList, String> {
        let machine = minbase::TargetSystem {
            root: self.root,
            lists: self.lists(findings),
            id: &os.id,
            codename: &os.codename,
            architecture: &self.catalog.architecture,
        };
        minbase::compute(&machine, self.client, findings)
    }

    fn base_files(
        &self,
        list: &PackageList,
        profile: &Profile,
        wanted: &dyn Fn(&Pin) -> bool,
        findings: &mut Findings,
    ) -> Vec<(Box<[u8]>, Digest)> {
        let mut unknown = contents::unknown_to(&list.packages, self.catalog);
        unknown.retain(|pin| wanted(pin));
        let heads = match self.client.filter(|_| !unknown.is_empty()) {
            Some(client) => {
                let pins = unknown.iter().map(|&pin| pin.clone()).collect();
                let lists = repository::ask(self.root, &self.query(&pins), Some(client), findings);
                contents::fetch_heads(&unknown, &lists, client, findings)
            }
            None => Heads::new(),
        };
        contents::expected_files(&list.packages, self.catalog, &heads, profile)
    }

    fn build_files(&self, input: &BuildInput<'_>, findings: &mut Findings) -> Vec<BuildFile> {
        let sources = self.sources.get().map(Vec::as_slice).unwrap_or_default();
        build::files(self.root, input, sources, findings)
    }
}

fn note_unusable(lists: &Lists, findings: &mut Findings) {
    for repository in &lists.repositories {
        if let Some(why) = repository.unusable {
            let text = format!(
                "{} {why}: packages that only it offers are included in the context",
                repository.source.name()
            );
            findings.note(findings::Kind::AptSource, &repository.source.file, text);
        }
    }
    if !lists.present {
        let text = "no package lists: the availability of these versions is unknown; \
                    run `apt-get update` on the machine, or use --packages carry";
        findings.warning(findings::Kind::PackageIndex, b"var/lib/apt/lists", text);
    }
}

fn availability(pins: &BTreeSet<Pin>, current: &BTreeSet<Pin>, lists: &Lists) -> Availability {
    let place = |pin: &Pin| match lists.available.contains(pin) {
        true if current.contains(pin) => Ok(VersionSource::Repository),
        true => Ok(VersionSource::Snapshot),
        false => Err(lists.why_missing(pin)),
    };
    match lists.present {
        true => pins.iter().map(|pin| (pin.clone(), place(pin))).collect(),
        false => Availability::new(),
    }
}
