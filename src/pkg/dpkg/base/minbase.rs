//! The packages of a base image, computed from the archive's indexes as debootstrap's variant `minbase` does: where no list is
//! published, or nothing answers.
//!
//! The builders of Debian's and Ubuntu's images begin with `minbase` and upgrade it (debuerreotype, livecd-rootfs). The set
//! changes little within a release; the versions are those of the index, which an image may not have yet.

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

/// What is kept of all indexes together. Debian's `main` takes 12 MB.
const KEPT_LIMIT: usize = 128 << 20;

/// What a distribution's base image has besides essential and required packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// Named by the builder; those that the indexes do not have are passed over.
    pub wanted: &'static [&'static str],
    /// Never followed as a dependency.
    pub unwanted: &'static [&'static str],
}

/// The recipe of a distribution's image by `ID` and codename, if it is built from `minbase`.
///
/// Sources: debootstrap 1.0.128 `scripts/debian-common`; debuerreotype 0.15 `examples/debian.sh`; livecd-rootfs 24.04.86.
pub fn recipe(id: &str, codename: &str) -> Option<Recipe> {
    // What merges /usr on a living system: a fresh one is merged from the beginning.
    const USRMERGE: &[&str] = &["usrmerge"];
    let (wanted, unwanted): (&[&str], &[&str]) = match (id, codename) {
        ("debian", "jessie" | "stretch" | "buster") => (&["apt", "iproute2", "iputils-ping"], &[]),
        ("debian", "bullseye") => (&["apt"], &[]),
        ("debian", "bookworm") => (&["apt", "usr-is-merged"], USRMERGE),
        ("debian", _) => (&["apt"], USRMERGE),
        // The program that brings the documentation back was a package that the image has, in this release alone.
        ("ubuntu", "noble") => (&["apt", "unminimize"], &[]),
        ("ubuntu", _) => (&["apt"], &[]),
        _ => return None,
    };
    Some(Recipe { wanted, unwanted })
}

/// A machine and its distribution.
#[derive(Clone, Copy, Debug)]
pub struct TargetSystem<'a> {
    /// Its file system.
    pub root: &'a Root,
    /// What its archives are ([`crate::pkg::dpkg::repository::ask`]).
    pub lists: &'a Lists,
    /// `ID` of its distribution.
    pub id: &'a str,
    /// The release's codename.
    pub codename: &'a str,
    /// Its architecture, in Debian's words.
    pub architecture: &'a str,
}

/// Computes the list from the machine's archives, or tells why that cannot be done. Without a client from apt's cached indexes.
pub fn compute(
    machine: &TargetSystem<'_>,
    client: Option<&Client>,
    findings: &mut Findings,
) -> Result<PackageList, String> {
    let TargetSystem { root, lists, id, codename, architecture } = *machine;
    let recipe = recipe(id, codename).ok_or("how the image of this distribution is built is not known")?;
    let whole = Whole { codename, component: "main", architecture };
    let mut index = Index::new(architecture);
    let parts = whole.read(root, lists, client, &Native(architecture), findings);
    parts.into_iter().for_each(|part| index.join(part));
    Ok(PackageList {
        packages: index.base_packages(&recipe)?,
        source: "the archive's indexes, as debootstrap's minbase is computed".to_owned(),
        tag: None,
        digest: None,
    })
}

/// Reads an index for this architecture.
struct Native<'a>(&'a str);

impl Scan for Native<'_> {
    type WalkedEntry = Index;

    fn scan_all(&self, reader: &mut dyn Read) -> io::Result<Index> {
        let mut index = Index::new(self.0);
        index.add(reader).map(|()| index)
    }
}

/// The newest version of every package of some indexes, as far as it matters here.
#[derive(Debug, Default)]
pub struct Index {
    /// Debian's name of the machine's architecture.
    architecture: String,
    packages: HashMap<Box<str>, Record>,
    /// Bytes of names and fields.
    kept: usize,
}

/// Few allocations: an index has 60 000 of them.
#[derive(Debug)]
struct Record {
    /// Version, `Pre-Depends`, `Depends` and `Provides`, a line each.
    fields: Box<[u8]>,
    /// Of the architecture `all`.
    for_all: bool,
    /// Essential, or of the priority `required`.
    is_minimal: bool,
    /// As a rank, `required` first.
    priority: u8,
}

impl Record {
    fn field(&self, number: usize) -> &[u8] {
        self.fields.split(|&byte| byte == b'\n').nth(number).unwrap_or_default()
    }

    fn version(&self) -> &str {
        std::str::from_utf8(self.field(0)).unwrap_or_default()
    }

    /// `Pre-Depends` and `Depends`.
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
    /// An empty one for a machine of this architecture, in Debian's words.
    pub fn new(architecture: &str) -> Self {
        Index { architecture: architecture.to_owned(), packages: HashMap::new(), kept: 0 }
    }

    /// Takes over the packages of one uncompressed `Packages` file; of those that are there already the newer versions.
    pub fn add(&mut self, reader: &mut dyn Read) -> io::Result<()> {
        scan::pieces(reader, &mut |piece| self.take(piece))?;
        match self.kept > KEPT_LIMIT {
            true => Err(io::Error::other("far more packages than any distribution has")),
            false => Ok(()),
        }
    }

    /// Takes over another index.
    fn join(&mut self, other: Index) {
        other.packages.into_iter().for_each(|(name, record)| self.put(name, record));
    }

    /// Takes whole stanzas, as long as there is room.
    fn take(&mut self, piece: &[u8]) {
        for stanza in &deb822::parse(piece).0 {
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

    /// The packages of the base image by name, or why they cannot be told.
    ///
    /// As debootstrap does it, a dependency is followed to its first alternative, whatever else is in the set. Where that is
    /// no package, something in the set usually provides it; else the first alternative that is one, or a provider, comes in.
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
            return Err("the indexes do not hold a base system".to_owned());
        }
        Ok(chosen.into_iter().filter_map(|name| self.pin(name)).collect())
    }

    /// The package of an alternative, if there is one that will do.
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
    format!("nothing in the indexes is or provides {}", names.join(" or "))
}

/// A package of this architecture or of all, if its name and version are valid.
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
        // A folded value becomes one line.
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
