//! Unpackaged files that package scripts and triggers create.
//!
//! If the build runs the same scripts in the same versions, the result is usually the same. The
//! delta contains these files as a fallback if the result differs. `apply` compares their
//! content, owner and mode as those of other files. It does not compare their timestamps, because
//! setting one copies the file into the top layer.
//!
//! Sources of the provenance, the most reliable first:
//!
//! - `ucf`: ucf's registry with the digest of the content that the package wrote.
//! - `links`: records of deb-systemd-helper, apache2 and php; links whose target is packaged.
//! - `content`: files whose content follows from other files: PAM stacks, shells, accounts.
//! - `scripts`: the maintainer scripts: the paths that they copy, write and name.
//! - `tmpfiles`: `tmpfiles.d(5)`.
//! - `patterns`: paths that only tools write.
//!
//! If a record has another content than the file, the file is a local change.

mod content;
mod links;
mod patterns;
mod scripts;
mod ucf;

use crate::model::digest::{Digest as ClaimedDigest, Md5};
use crate::model::findings::Findings;
use crate::model::tree::{self, Kind};
use crate::pkg::Catalog;
use crate::pkg::provenance::input::{ProvenanceInput, READ_LIMIT, compiled, take_directories};
use crate::pkg::provenance::{ContentState, Generated, Provenance, accounts, tmpfiles};
use crate::system::root::Root;
use crate::walk::WalkedEntry;
use md5::Digest as _;
use rayon::prelude::*;
use std::collections::{BTreeMap, HashMap};

/// Maximum number of files, and of their bytes, that are read. Further files count as local.
const MOST_FILES: usize = 5000;
const MOST_BYTES: u64 = 32 << 20;

/// Determines the provenance of the unpackaged paths of `found`, a complete sorted tree. Links
/// that packages created and the administrator removed become findings.
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
        system_accounts: accounts::only_system(root),
        mentions: scripts.mentions(&machine),
        templates: BTreeMap::new(),
        scripts,
    };
    let mut generated = Generated::default();
    let mut unknown = Vec::new();
    let mut bytes = 0;
    for index in (0..found.len()).filter(|&index| catalog.owned.get(&found[index].node.path).is_none()) {
        match sources.provenance(&machine, index) {
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
    take_directories(&mut generated, &machine, "dpkg");
    generated
}

/// Whether the content may determine the provenance of the file.
fn is_candidate(found: &WalkedEntry, sources: &Sources, index: usize) -> bool {
    let Kind::File { size, sha256: Some(_) } = found.node.kind else { return false };
    let path = &found.node.path;
    let is_likely = tree::is_within(path, b"etc") || tree::parent(path) == b"root";
    size <= READ_LIMIT && (is_likely || sources.ucf.knows(path) || sources.mentions.contains_key(&index))
}

/// All sources of provenance.
struct Sources {
    ucf: ucf::Registry,
    links: links::Links,
    tmpfiles: tmpfiles::Paths,
    /// Whether all accounts are system accounts; the account files are then those that package
    /// scripts created.
    system_accounts: bool,
    scripts: scripts::Scripts,
    /// Map from a path that a maintainer script names to that script, both as indexes.
    mentions: HashMap<usize, usize>,
    templates: BTreeMap<Md5, String>,
}

impl Sources {
    /// Returns the provenance that needs no content.
    fn provenance(&self, machine: &ProvenanceInput<'_>, index: usize) -> Option<Provenance> {
        let found = &machine.found[index];
        let path = &*found.node.path;
        let by_link = || match &found.node.kind {
            Kind::Symlink(target) => self
                .links
                .provenance(machine, path, target)
                .or_else(|| self.tmpfiles.provenance(path, Some(target)))
                .or_else(|| self.scripts.linked(self.mentions.get(&index).copied()?, target)),
            _ => None,
        };
        let by_name = || match found.node.kind {
            Kind::Directory => self.directory(path, self.mentions.get(&index).copied()),
            Kind::File { .. } => compiled(machine, path, "py3compile").or_else(|| self.accounts(path)),
            _ => None,
        };
        let by_pattern = || patterns::tool(path).and_then(|tool| Provenance::created(None, tool));
        // ucf's records decide by the content of the file.
        if self.ucf.knows(path) {
            return None;
        }
        by_link().or_else(by_name).or_else(by_pattern)
    }

    fn directory(&self, path: &[u8], script: Option<usize>) -> Option<Provenance> {
        let by_tmpfiles = || self.tmpfiles.provenance(path, None);
        let by_script = || Provenance::created(Some(self.scripts.package(script?)), "postinst");
        by_tmpfiles().or_else(by_script)
    }

    fn accounts(&self, path: &[u8]) -> Option<Provenance> {
        let is_theirs = self.system_accounts && accounts::FILES.contains(&path);
        if is_theirs { Provenance::created(None, "adduser, sysusers.d") } else { None }
    }

    /// Determines the provenance by the content of files, which are few and small.
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

    /// Whether a script may copy `path` from the packaged file: both have the same name, or the
    /// script names the template.
    fn is_template(&self, template: &[u8], path: &[u8], index: usize) -> bool {
        let (template, name) = (tree::file_name(template), tree::file_name(path));
        let same = template.strip_prefix(b"dot").unwrap_or(template).starts_with(name);
        same || self.mentions.contains_key(&index)
    }

    fn judge(&self, machine: &ProvenanceInput<'_>, index: usize, content: &[u8]) -> Option<Provenance> {
        let path = &*machine.found[index].node.path;
        let md5: Md5 = md5::Md5::digest(content).into();
        if let Some(origin) = self.ucf.provenance(path, &md5) {
            return Some(origin);
        }
        let unchanged = |package, how| Some(Provenance::new(Some(package), how, ContentState::Unchanged));
        let by_template = || unchanged(self.templates.get(&md5)?.clone(), "template");
        let by_script =
            || unchanged(self.scripts.writing(content, self.mentions.get(&index).copied())?, "postinst");
        content::judge(machine, path, content).or_else(by_template).or_else(by_script)
    }
}

#[cfg(test)]
#[path = "provenance_tests.rs"]
mod tests;
