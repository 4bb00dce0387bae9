//! Files that package scripts and triggers make: nobody's in dpkg's database, and yet not the administrator's.
//!
//! Where the build runs the same scripts at the same versions they come out
//! the same. The delta carries them in case they do not, and equality covers their
//! content, owner and mode like any other's; but not their time, because
//! setting a time copies the whole file into the top layer.
//!
//! What says who made a path, the surest first:
//!
//! - `ucf`: the registry of ucf with the digest of what the package put there.
//! - `links`: registries of links: deb-systemd-helper, apache2, php; and links whose target belongs to a package.
//! - `content`: files whose content follows from other files of the machine: PAM's stacks, shells, accounts.
//! - `scripts`: the maintainer scripts themselves: what they copy, write, and name.
//! - `tmpfiles`: `tmpfiles.d(5)`.
//! - `patterns`: places where only tools write.
//!
//! A file that a registry knows with other content is the administrator's, who changed it.

mod content;
mod links;
mod patterns;
mod scripts;
mod tmpfiles;
mod ucf;

use crate::model::digest::{Digest as ClaimedDigest, Md5};
use crate::model::findings::Findings;
use crate::model::tree::{self, Kind};
use crate::pkg::Catalog;
use crate::pkg::provenance::{ContentState, Generated, Provenance};
use crate::system::root::Root;
use crate::walk::WalkedEntry;
use md5::Digest as _;
use rayon::prelude::*;
use std::collections::{BTreeMap, HashMap};

/// A file larger than this is no configuration that a package script wrote; `php.ini` has 74 KiB.
const READ_LIMIT: u64 = 256 << 10;
/// So many files, and so many bytes of them, are read; what is beyond is taken for the administrator's.
const MOST_FILES: usize = 5000;
const MOST_BYTES: u64 = 32 << 20;

/// Finds out what made the unpackaged paths of `found`, which is a whole tree, sorted. Links that packages made and the
/// administrator removed become findings.
pub(super) fn load(
    root: &Root,
    catalog: &Catalog,
    found: &[WalkedEntry],
    findings: &mut Findings,
) -> Generated {
    let machine = ProvenanceInput { root, catalog, found };
    let scripts = scripts::Scripts::load(&machine);
    let sources = Sources {
        ucf: ucf::Registry::load(&machine),
        links: links::Links::load(&machine, findings),
        tmpfiles: tmpfiles::Paths::load(&machine),
        system_accounts: content::only_system_accounts(root),
        mentions: scripts.mentions(&machine),
        templates: BTreeMap::new(),
        scripts,
    };
    let mut generated = Generated::default();
    let mut unknown = Vec::new();
    let mut bytes = 0;
    for index in (0..found.len()).filter(|&index| catalog.owned.get(&found[index].node.path).is_none()) {
        match sources.origin(&machine, index) {
            Some(origin) => generated.insert(index, origin),
            None if is_candidate(&found[index], &sources, index) => {
                bytes += found[index].node.size();
                if unknown.len() < MOST_FILES && bytes <= MOST_BYTES {
                    unknown.push(index);
                }
            }
            None => {}
        }
    }
    for (index, origin) in sources.by_content(&machine, &unknown) {
        generated.insert(index, origin);
    }
    take_directories(&mut generated, &machine);
    generated
}

/// Attributes an unpackaged directory to what made the first path in it, from the deepest directory upwards.
fn take_directories(generated: &mut Generated, machine: &ProvenanceInput<'_>) {
    let mut makers: HashMap<&[u8], Option<u32>> = HashMap::new();
    for (index, found) in machine.found.iter().enumerate().rev() {
        let path = &*found.node.path;
        let is_owned = machine.catalog.owned.get(path).is_some();
        if found.node.kind == Kind::Directory
            && !is_owned
            && generated.why(index).is_none()
            && let Some(maker) = makers.get(path)
        {
            let origin = maker.map(|number| generated.origin(number).clone());
            let dpkg = || Provenance::new(None, "dpkg", ContentState::Created);
            let origin =
                origin.map_or_else(dpkg, |origin| Provenance { state: ContentState::Created, ..origin });
            generated.insert(index, origin);
        }
        let made =
            generated.why(index).filter(|&number| generated.origin(number).state != ContentState::Changed);
        if (made.is_some() || is_owned) && !path.is_empty() {
            makers.insert(tree::parent(path), made);
        }
    }
}

/// Whether the content may tell who made the file.
fn is_candidate(found: &WalkedEntry, sources: &Sources, index: usize) -> bool {
    let Kind::File { size, sha256: Some(_) } = found.node.kind else { return false };
    let path = &found.node.path;
    let is_likely = tree::is_within(path, b"etc") || tree::parent(path) == b"root";
    size <= READ_LIMIT && (is_likely || sources.ucf.knows(path) || sources.mentions.contains_key(&index))
}

/// The machine, as all sources look at it.
struct ProvenanceInput<'a> {
    root: &'a Root,
    catalog: &'a Catalog,
    /// Sorted by path.
    found: &'a [WalkedEntry],
}

impl<'a> ProvenanceInput<'a> {
    fn find(&self, path: &[u8]) -> Option<&'a WalkedEntry> {
        let index = self.found.binary_search_by(|found| (*found.node.path).cmp(path)).ok()?;
        Some(&self.found[index])
    }

    /// Everything beneath a directory.
    fn beneath(&self, directory: &str) -> &'a [WalkedEntry] {
        let prefix = format!("{directory}/").into_bytes();
        let start = self.found.partition_point(|found| *found.node.path < *prefix);
        let length = self.found[start..].partition_point(|found| found.node.path.starts_with(&prefix));
        &self.found[start..start + length]
    }

    /// The package that ships a path, as people call it. The path may go through a link of the merged `/usr`.
    fn owner(&self, path: &[u8]) -> Option<String> {
        let merged = self.catalog.aliases.iter().find_map(|(link, target)| {
            let rest = path.strip_prefix(link)?;
            rest.starts_with(b"/").then(|| [target, rest].concat())
        });
        let path = merged.as_deref().unwrap_or(path);
        let package = *self.catalog.owned.get(path)?.packages.first()?;
        Some(self.catalog.label(package).to_owned())
    }

    /// The content of a file, if it is still what the walk saw.
    fn read(&self, found: &WalkedEntry) -> Option<Vec<u8>> {
        let Kind::File { size, sha256: Some(sha256) } = found.node.kind else { return None };
        if size > READ_LIMIT {
            return None;
        }
        let content = self.root.read(&found.node.path).ok()?;
        let digest: crate::model::digest::Sha256 = sha2::Sha256::digest(&content).into();
        (digest == sha256).then_some(content)
    }
}

/// Everything that tells who made something.
struct Sources {
    ucf: ucf::Registry,
    links: links::Links,
    tmpfiles: tmpfiles::Paths,
    /// Whether no account is anybody's: then the account files are what package scripts made.
    system_accounts: bool,
    scripts: scripts::Scripts,
    /// Index of a path that a maintainer script names, and that script's.
    mentions: HashMap<usize, usize>,
    templates: BTreeMap<Md5, String>,
}

impl Sources {
    /// What is known without looking at the content.
    fn origin(&self, machine: &ProvenanceInput<'_>, index: usize) -> Option<Provenance> {
        let found = &machine.found[index];
        let path = &*found.node.path;
        let by_link = || match &found.node.kind {
            Kind::Symlink(target) => self
                .links
                .origin(machine, path, target)
                .or_else(|| self.tmpfiles.origin(path, Some(target)))
                .or_else(|| self.scripts.linked(self.mentions.get(&index).copied()?, target)),
            _ => None,
        };
        let by_name = || match found.node.kind {
            Kind::Directory => self.directory(path, self.mentions.get(&index).copied()),
            Kind::File { .. } => compiled(machine, path).or_else(|| self.accounts(path)),
            _ => None,
        };
        let by_pattern = || patterns::tool(path).and_then(|tool| Provenance::created(None, tool));
        // What ucf knows is asked for its content.
        if self.ucf.knows(path) {
            return None;
        }
        by_link().or_else(by_name).or_else(by_pattern)
    }

    fn directory(&self, path: &[u8], script: Option<usize>) -> Option<Provenance> {
        let by_tmpfiles = || self.tmpfiles.origin(path, None);
        let by_script = || Provenance::created(Some(self.scripts.package(script?)), "postinst");
        by_tmpfiles().or_else(by_script)
    }

    fn accounts(&self, path: &[u8]) -> Option<Provenance> {
        let is_theirs = self.system_accounts && content::ACCOUNTS.contains(&path);
        if is_theirs { Provenance::created(None, "adduser, sysusers.d") } else { None }
    }

    /// What the content of files tells, which are few and small.
    fn by_content(mut self, machine: &ProvenanceInput<'_>, files: &[usize]) -> Vec<(usize, Provenance)> {
        let read = |&index: &usize| Some((index, machine.read(&machine.found[index])?));
        let contents: Vec<(usize, Vec<u8>)> = files.par_iter().filter_map(read).collect();
        let digests: BTreeMap<Md5, usize> = contents
            .iter()
            .filter(|(_, content)| !content.is_empty())
            .map(|(index, content)| (md5::Md5::digest(content).into(), *index))
            .collect();
        let shipped = machine.catalog.owned.iter();
        let shipped = shipped.filter(|(path, _)| {
            tree::is_within(path, b"usr/share") && !tree::is_within(path, b"usr/share/doc")
        });
        for (path, owned) in shipped {
            if let Some(ClaimedDigest::Md5(md5)) = owned.claim.digest
                && let Some((md5, &index)) = digests.get_key_value(&md5)
                && self.is_template(path, &machine.found[index].node.path, index)
                && let Some(&package) = owned.packages.first()
            {
                self.templates.insert(*md5, machine.catalog.label(package).to_owned());
            }
        }
        let judge =
            |(index, content): &(usize, Vec<u8>)| Some((*index, self.judge(machine, *index, content)?));
        contents.par_iter().filter_map(judge).collect()
    }

    /// Whether a shipped file is where a script gets another from: it has the same name, or the script names the other.
    fn is_template(&self, template: &[u8], path: &[u8], index: usize) -> bool {
        let (template, name) = (tree::file_name(template), tree::file_name(path));
        let same = template.strip_prefix(b"dot").unwrap_or(template).starts_with(name);
        same || self.mentions.contains_key(&index)
    }

    fn judge(&self, machine: &ProvenanceInput<'_>, index: usize, content: &[u8]) -> Option<Provenance> {
        let path = &*machine.found[index].node.path;
        let md5: Md5 = md5::Md5::digest(content).into();
        if let Some(origin) = self.ucf.origin(path, &md5) {
            return Some(origin);
        }
        let unchanged = |package, how| Some(Provenance::new(Some(package), how, ContentState::Unchanged));
        let by_template = || unchanged(self.templates.get(&md5)?.clone(), "template");
        let by_script =
            || unchanged(self.scripts.writing(content, self.mentions.get(&index).copied())?, "postinst");
        content::judge(machine, path, content).or_else(by_template).or_else(by_script)
    }
}

/// Compiled Python beside its source: a package's, if the source is.
fn compiled(machine: &ProvenanceInput<'_>, path: &[u8]) -> Option<Provenance> {
    let cache = tree::parent(path);
    let directory = cache.strip_suffix(b"/__pycache__")?;
    let stem = tree::file_name(path).strip_suffix(b".pyc")?;
    // `typing.cpython-311.pyc`, `typing.cpython-311.opt-1.pyc` (PEP 3147, PEP 488).
    let modules = memchr::memchr_iter(b'.', stem).map(|dot| &stem[..dot]);
    let mut sources = modules.map(|module| [directory, b"/", module, b".py"].concat());
    Provenance::created(Some(sources.find_map(|source| machine.owner(&source))?), "py3compile")
}

#[cfg(test)]
#[path = "provenance_tests.rs"]
mod tests;
