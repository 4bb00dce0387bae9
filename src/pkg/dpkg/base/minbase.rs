//! The packages of a base image, computed from the repository's indexes as debootstrap's variant
//! `minbase` does. This is the fallback if no list is published or no publisher responds.
//!
//! The builders of Debian's and Ubuntu's images start from `minbase` and upgrade it
//! (debuerreotype, livecd-rootfs). The set rarely changes within a release. The versions are
//! those of the index, which an image may not have yet.

use super::package_list::{self, PackageList};
use crate::model::findings::Findings;
use crate::pkg::Pin;
use crate::pkg::dpkg::relation::{self, Group};
use crate::pkg::dpkg::repository::Lists;
use crate::pkg::dpkg::repository::scan::{self, Scan};
use crate::pkg::dpkg::repository::whole::Whole;
use crate::pkg::dpkg::{deb822, status, version};
use crate::system::root::Root;
use crate::transfer::net::Client;
use memchr::memmem;
use std::collections::{BTreeSet, HashMap};
use std::io::{self, Read};

/// Maximum bytes kept of all indexes together. Debian's `main` needs 12 MB.
const KEPT_LIMIT: usize = 128 << 20;

/// Packages of a distribution's base image in addition to essential and required ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// Packages that the builder names; those that the indexes do not contain are skipped.
    pub wanted: &'static [&'static str],
    /// Packages that are never followed as a dependency.
    pub unwanted: &'static [&'static str],
}

/// Returns the recipe of a distribution's image by `ID` and codename, if it is built from
/// `minbase`.
///
/// Sources: debootstrap 1.0.128 `scripts/debian-common`; debuerreotype 0.15 `examples/debian.sh`;
/// livecd-rootfs 24.04.86.
pub fn recipe(id: &str, codename: &str) -> Option<Recipe> {
    // usrmerge converts an installed system; a new one is merged from the start.
    const USRMERGE: &[&str] = &["usrmerge"];
    let (wanted, unwanted): (&[&str], &[&str]) = match (id, codename) {
        ("debian", "jessie" | "stretch" | "buster") => (&["apt", "iproute2", "iputils-ping"], &[]),
        ("debian", "bullseye") => (&["apt"], &[]),
        ("debian", "bookworm") => (&["apt", "usr-is-merged"], USRMERGE),
        ("debian", _) => (&["apt"], USRMERGE),
        // Only in this release, the image contains the command that restores documentation as a
        // package.
        ("ubuntu", "noble") => (&["apt", "unminimize"], &[]),
        ("ubuntu", _) => (&["apt"], &[]),
        _ => return None,
    };
    Some(Recipe { wanted, unwanted })
}

/// The machine and its distribution.
#[derive(Clone, Copy, Debug)]
pub struct TargetSystem<'a> {
    /// File system.
    pub root: &'a Root,
    /// Its repositories' answers ([`crate::pkg::dpkg::repository::ask`]).
    pub lists: &'a Lists,
    /// `ID` of the distribution.
    pub id: &'a str,
    /// Codename of the release.
    pub codename: &'a str,
    /// Debian's name of the architecture.
    pub architecture: &'a str,
}

/// Computes the list from the machine's repositories. Without a client, it uses apt's cached
/// indexes. The error is the reason why the list is unknown.
pub fn compute(
    machine: &TargetSystem<'_>,
    client: Option<&Client>,
    findings: &mut Findings,
) -> Result<PackageList, String> {
    let TargetSystem { root, lists, id, codename, architecture } = *machine;
    let recipe = recipe(id, codename).ok_or("the recipe of this distribution's image is unknown")?;
    let whole = Whole { codename, component: "main", architecture };
    let mut index = Index::new(architecture);
    let parts = whole.read(root, lists, client, &Native(architecture), findings);
    parts.into_iter().for_each(|part| index.join(part));
    Ok(PackageList {
        packages: index.base_packages(&recipe)?,
        source: "computed from the repository's indexes as debootstrap's minbase".to_owned(),
        tag: None,
        digest: None,
    })
}

/// Parses an index for this architecture.
struct Native<'a>(&'a str);

impl Scan for Native<'_> {
    type Output = Index;

    fn scan_all(&self, reader: &mut dyn Read) -> io::Result<Index> {
        let mut index = Index::new(self.0);
        index.add(reader).map(|()| index)
    }
}

/// Newest version of every package of some indexes, with the fields needed here.
#[derive(Debug, Default)]
pub struct Index {
    /// Debian's name of the machine's architecture.
    architecture: String,
    packages: HashMap<Box<str>, Record>,
    /// Bytes of names and fields that are kept.
    kept: usize,
}

/// One package; it needs few allocations, because an index has 60 000 packages.
#[derive(Debug)]
struct Record {
    /// Version, `Pre-Depends`, `Depends` and `Provides`, one per line.
    fields: Box<[u8]>,
    /// Whether the architecture is `all`.
    for_all: bool,
    /// Whether it is essential or has the priority `required`.
    is_minimal: bool,
    /// Priority as a rank, `required` first.
    priority: u8,
}

impl Record {
    fn field(&self, number: usize) -> &[u8] {
        self.fields.split(|&byte| byte == b'\n').nth(number).unwrap_or_default()
    }

    fn version(&self) -> &str {
        std::str::from_utf8(self.field(0)).unwrap_or_default()
    }

    /// Returns the groups of `Pre-Depends` and `Depends`.
    fn needs(&self) -> impl Iterator<Item = Group> {
        [1, 2].into_iter().flat_map(|number| relation::parse_groups(self.field(number)).0)
    }

    fn provides(&self, alternative: &relation::Relation) -> bool {
        memmem::find(self.field(3), alternative.name.as_bytes()).is_some()
            && relation::parse_provides(self.field(3)).0.iter().any(|provision| {
                provision.name == alternative.name
                    && alternative.accepts_version(provision.version.as_deref())
            })
    }
}

impl Index {
    /// Returns an empty index for a machine of this architecture, by Debian's name.
    pub fn new(architecture: &str) -> Self {
        Index { architecture: architecture.to_owned(), packages: HashMap::new(), kept: 0 }
    }

    /// Adds the packages of one uncompressed `Packages` file; of each package the newest version
    /// stays. The error is one of reading, or that the index is too large.
    pub fn add(&mut self, reader: &mut dyn Read) -> io::Result<()> {
        scan::chunks(reader, &mut |chunk| self.take(chunk))?;
        match self.kept > KEPT_LIMIT {
            true => Err(io::Error::other("more packages than any distribution has")),
            false => Ok(()),
        }
    }

    /// Adds the packages of another index.
    fn join(&mut self, other: Index) {
        other.packages.into_iter().for_each(|(name, record)| self.put(name, record));
    }

    /// Adds complete stanzas until the size limit.
    fn take(&mut self, chunk: &[u8]) {
        for stanza in &deb822::parse(chunk).0 {
            if self.kept > KEPT_LIMIT {
                return;
            }
            if let Some((name, record)) = read_record(stanza, &self.architecture) {
                self.put(name.into(), record);
            }
        }
    }

    fn put(&mut self, name: Box<str>, record: Record) {
        let newer = |old: &Record| version::compare(record.version(), old.version()).is_gt();
        if self.packages.get(&name).is_none_or(newer) {
            self.kept += name.len() + record.fields.len();
            self.packages.insert(name, record);
        }
    }

    /// Returns the packages of the base image by name, or the reason why they are unknown.
    ///
    /// Like debootstrap, it follows a dependency to its first alternative, even if the set
    /// satisfies another one. If the first alternative is not a package, a package of the set
    /// usually provides it. Otherwise it adds the first alternative that is a package or has a
    /// provider.
    pub fn base_packages(&self, recipe: &Recipe) -> Result<Vec<Pin>, String> {
        let seeds = self
            .packages
            .iter()
            .filter(|(name, record)| record.is_minimal || recipe.wanted.contains(&&***name));
        let mut chosen: BTreeSet<&str> = seeds.map(|(name, _)| &**name).collect();
        let mut todo: Vec<&str> = chosen.iter().copied().collect();
        let mut deferred: Vec<Group> = Vec::new();
        loop {
            while let Some(name) = todo.pop() {
                for group in self.packages.get(name).into_iter().flat_map(Record::needs) {
                    match self.package(group.first(), recipe) {
                        Some(first) if chosen.insert(first) => todo.push(first),
                        Some(_) => {}
                        None => deferred.push(group),
                    }
                }
            }
            let Some(group) = deferred.pop() else { break };
            if !self.is_satisfied(&group, &chosen) {
                let one = self.choose(&group, recipe).ok_or_else(|| unsatisfied(&group))?;
                if chosen.insert(one) {
                    todo.push(one);
                }
            }
        }
        if !chosen.contains("apt") || !package_list::is_base_system(chosen.iter().copied()) {
            return Err("the indexes do not contain a base system".to_owned());
        }
        Ok(chosen.into_iter().filter_map(|name| self.pin(name)).collect())
    }

    /// Returns the package of an alternative, if one satisfies it.
    fn package(&self, alternative: Option<&relation::Relation>, recipe: &Recipe) -> Option<&str> {
        let alternative = alternative.filter(|a| !recipe.unwanted.contains(&a.name.as_str()))?;
        let (name, record) = self.packages.get_key_value(alternative.name.as_str())?;
        alternative.accepts_version(Some(record.version())).then_some(&**name)
    }

    fn is_satisfied(&self, group: &Group, chosen: &BTreeSet<&str>) -> bool {
        let by = |alternative: &relation::Relation, name: &str| {
            let record = self.packages.get(name);
            record.is_some_and(|record| {
                name == alternative.name && alternative.accepts_version(Some(record.version()))
                    || record.provides(alternative)
            })
        };
        group.iter().any(|alternative| chosen.iter().any(|name| by(alternative, name)))
    }

    fn choose(&self, group: &Group, recipe: &Recipe) -> Option<&str> {
        let provider = |alternative: &relation::Relation| {
            let providers = self.packages.iter().filter(|(_, record)| record.provides(alternative));
            providers.min_by_key(|(name, record)| (record.priority, *name)).map(|(name, _)| &**name)
        };
        group
            .iter()
            .find_map(|alternative| self.package(Some(alternative), recipe))
            .or_else(|| group.iter().find_map(provider))
    }

    fn pin(&self, name: &str) -> Option<Pin> {
        let record = self.packages.get(name)?;
        let architecture = if record.for_all { "all" } else { self.architecture.as_str() };
        let version = record.version().to_owned();
        Some(Pin { name: name.to_owned(), version, architecture: architecture.to_owned() })
    }
}

fn unsatisfied(group: &Group) -> String {
    let names: Vec<&str> = group.iter().map(|alternative| alternative.name.as_str()).collect();
    format!("no package in the indexes is or provides {}", names.join(" or "))
}

/// Reads a package of this architecture or of `all`, if its name and version are valid.
fn read_record<'a>(stanza: &deb822::Stanza<'a>, architecture: &str) -> Option<(&'a str, Record)> {
    let field = |name| stanza.get(name).unwrap_or_default();
    let for_all = field("Architecture") == b"all";
    if !for_all && field("Architecture") != architecture.as_bytes() {
        return None;
    }
    let name = Some(field("Package")).filter(|name| status::is_valid_name(name))?;
    if !version::is_valid(field("Version")) {
        return None;
    }
    let mut fields = Vec::new();
    for name in ["Version", "Pre-Depends", "Depends", "Provides"] {
        // A record has one line per field, so a folded value is unfolded.
        fields.extend(field(name).iter().map(|&byte| if byte == b'\n' { b' ' } else { byte }));
        fields.push(b'\n');
    }
    const PRIORITIES: [&[u8]; 4] = [b"required", b"important", b"standard", b"optional"];
    let priority =
        PRIORITIES.iter().position(|known| *known == field("Priority")).unwrap_or(PRIORITIES.len());
    let is_minimal = priority == 0 || field("Essential").eq_ignore_ascii_case(b"yes");
    let record = Record { fields: fields.into(), for_all, is_minimal, priority: priority as u8 };
    Some((std::str::from_utf8(name).ok()?, record))
}

#[cfg(test)]
#[path = "minbase_tests.rs"]
mod tests;
