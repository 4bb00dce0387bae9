//! What the machine's archives offer, and what the build is told of it: the rungs above carrying a package.

use super::base::contents::{self, Heads};
use super::base::minbase;
use super::base::package_list::PackageList;
use super::repository::{self, Lists, Query, Source, snapshot};
use crate::detect::os_release::OsRelease;
use crate::image::Profile;
use crate::model::findings::Findings;
use crate::model::tree::Md5;
use crate::pkg::plan::{Availability, VersionSource};
use crate::pkg::{Catalog, Pin};
use crate::system::root::Root;
use crate::transfer::net::Client;
use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::time::SystemTime;

/// The archives of a machine.
pub struct Repositories<'a> {
    root: &'a Root,
    catalog: &'a Catalog,
    client: Option<&'a Client>,
    /// The machine's own architecture and those that were added to it.
    architectures: Vec<String>,
    /// The time, in seconds since 1970.
    now: i64,
    /// What they said about the machine's packages, once they were asked.
    lists: OnceCell<Lists>,
}

/// What they offer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AvailablePackages {
    /// What can be had in the machine's version.
    pub availability: Availability,
    /// The sources that the build's apt is given.
    pub sources: Vec<Source>,
}

impl<'a> Repositories<'a> {
    /// The archives of this machine; without a client what apt has noted down of them.
    pub fn of(root: &'a Root, catalog: &'a Catalog, client: Option<&'a Client>) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(0, |time| time.as_secs() as i64);
        let own = std::iter::once(&catalog.architecture);
        let architectures = own.chain(&catalog.foreign).cloned().collect();
        Repositories { root, catalog, client, architectures, now, lists: OnceCell::new() }
    }

    /// When the machine's packages were last changed, in seconds since 1970.
    pub fn changed(&self, findings: &mut Findings) -> i64 {
        snapshot::last_change(self.root, self.lists(findings)).unwrap_or(self.now)
    }

    /// What can be had of every installed package in the machine's very version, and where. What the machine's own sources
    /// do not have is looked for in the archives of earlier states.
    pub fn offered(&self, findings: &mut Findings) -> AvailablePackages {
        let (pins, current) = (self.pins(), self.lists(findings));
        let mut lists = current.clone();
        if let Some(client) = self.client.filter(|_| lists.available.len() < pins.len()) {
            let changed = snapshot::last_change(self.root, &lists).unwrap_or(self.now);
            snapshot::search(self.root, &mut lists, &self.question(&pins), changed, client, findings);
        }
        let availability = availability(&pins, &current.available, &lists);
        AvailablePackages { availability, sources: lists.for_build(self.now) }
    }

    /// The packages of a base image that is made by the usual rule, computed from the distribution's indexes.
    pub fn base_packages(&self, os: &OsRelease, findings: &mut Findings) -> Result<PackageList, String> {
        let machine = minbase::TargetSystem {
            root: self.root,
            lists: self.lists(findings),
            id: &os.id,
            codename: &os.codename,
            architecture: &self.catalog.architecture,
        };
        minbase::compute(&machine, self.client, findings)
    }

    /// The regular files of a base image of which only the packages are known, by path. The heads of package files are
    /// fetched for the packages that the machine has in another version and that `wanted` chooses.
    pub fn base_files(
        &self,
        list: &PackageList,
        profile: &Profile,
        wanted: &dyn Fn(&Pin) -> bool,
        findings: &mut Findings,
    ) -> Vec<(Box<[u8]>, Md5)> {
        let mut unknown = contents::unknown_to(&list.packages, self.catalog);
        unknown.retain(|pin| wanted(pin));
        let heads = match self.client.filter(|_| !unknown.is_empty()) {
            Some(client) => {
                let pins = unknown.iter().map(|&pin| pin.clone()).collect();
                let lists = repository::ask(self.root, &self.question(&pins), Some(client), findings);
                contents::fetch_heads(&unknown, &lists, client, findings)
            }
            None => Heads::new(),
        };
        contents::expected_files(&list.packages, self.catalog, &heads, profile)
    }

    /// What they say about the machine's packages; asked once, with the findings of that.
    fn lists(&self, findings: &mut Findings) -> &Lists {
        self.lists.get_or_init(|| {
            let pins = self.pins();
            let lists = repository::ask(self.root, &self.question(&pins), self.client, findings);
            note_unusable(&lists, findings);
            lists
        })
    }

    fn pins(&self) -> BTreeSet<Pin> {
        self.catalog.installed().map(|index| Pin::from(&self.catalog.packages[index])).collect()
    }

    fn question<'b>(&'b self, pins: &'b BTreeSet<Pin>) -> Query<'b> {
        Query { pins, architectures: &self.architectures, now: self.now }
    }
}

fn note_unusable(lists: &Lists, findings: &mut Findings) {
    for archive in &lists.archives {
        if let Some(why) = archive.unusable {
            let text = format!("{} {why}: what only it has travels in the context", archive.source.name());
            findings.note("apt-source", &archive.source.file, text);
        }
    }
    if !lists.present {
        let text = "no package lists: whether the archive still has these versions is not known; \
                    run `apt-get update` on the machine, or use --packages carry";
        findings.note("package-index", b"var/lib/apt/lists", text);
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
