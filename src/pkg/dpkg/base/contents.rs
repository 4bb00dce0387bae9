//! Which files a base image holds, told from its package list: by the machine's own database for packages that the machine has
//! at the same version, by the heads of the package files for others, and by what the image's family leaves out or moves.

use super::profile::Profile;
use crate::model::digest::{Digest, Md5};
use crate::model::findings::{self, Findings};
use crate::model::merged_usr;
use crate::model::tree;
use crate::pkg::claim::ClaimState;
use crate::pkg::dpkg::repository::Lists;
use crate::pkg::dpkg::repository::deb::{self, PackagedFile, Wanted};
use crate::pkg::{Aliases, Catalog, PackageId, PathFilters, Pin};
use crate::transfer::net::Client;
use std::collections::{BTreeMap, HashSet};

/// The files of packages by what the heads of their package files say, in the packages' own names.
pub type Heads = BTreeMap<Pin, Vec<PackagedFile>>;

/// The packages of an image whose files the machine's database does not tell: the heads of their package files do.
pub fn unknown_to<'a>(packages: &'a [Pin], catalog: &Catalog) -> Vec<&'a Pin> {
    packages.iter().filter(|pin| same(pin, catalog).is_none()).collect()
}

/// Fetches the heads of these packages from the archives that offer them ([`crate::pkg::dpkg::repository::ask`] has to have been asked for them).
/// What cannot be had is left out; a note counts it.
pub fn fetch_heads(packages: &[&Pin], lists: &Lists, client: &Client, findings: &mut Findings) -> Heads {
    let wanted: Vec<Wanted> = packages
        .iter()
        .filter_map(|&pin| {
            let (archive, offer) = lists.usable(pin).next()?;
            Some(Wanted { url: archive.url(offer), pin: pin.clone() })
        })
        .collect();
    let (mut heads, mut failure) = (Heads::new(), None);
    for (head, Wanted { pin, .. }) in deb::many(client, &wanted).into_iter().zip(&wanted) {
        match head {
            Ok(head) => _ = heads.insert(pin.clone(), head.files),
            Err(cause) => failure = failure.or(Some(format!("{pin}: {cause}"))),
        }
    }
    let missing = packages.len() - heads.len();
    if missing > 0 {
        let why = failure.unwrap_or_else(|| "no archive offers them".to_owned());
        let text = format!(
            "what {missing} packages of the base image hold is not known ({why}); their files are carried"
        );
        findings.note(findings::Kind::BasePackages, b"", text);
    }
    heads
}

/// The machine's package of this name, architecture and version, if it is whole.
fn same(pin: &Pin, catalog: &Catalog) -> Option<PackageId> {
    let id = catalog.find(&pin.name, &pin.architecture)?;
    let package = &catalog[id];
    (package.installed && !package.broken && package.version == pin.version).then_some(id)
}

/// The regular files of an image with these packages and their MD5, by path. A path is in it only if that is sure; files that no
/// package owns are not in it, nor packages that neither the machine nor `heads` tells of.
pub fn expected_files(
    packages: &[Pin],
    catalog: &Catalog,
    heads: &Heads,
    profile: &Profile,
) -> Vec<(Box<[u8]>, Digest)> {
    let image = Overlay::new(profile);
    let mut files: BTreeMap<Box<[u8]>, Option<Md5>> = BTreeMap::new();
    let mut put = |path: Option<Box<[u8]>>, md5: Md5| {
        let Some(path) = path else { return };
        // What two packages say differently about a path is not sure.
        files
            .entry(path)
            .and_modify(|known| *known = known.filter(|known| *known == md5))
            .or_insert(Some(md5));
    };
    let known: HashSet<PackageId> = packages.iter().filter_map(|pin| same(pin, catalog)).collect();
    let is_merged = catalog.aliases.iter().next().is_some();
    let may_be_aliased =
        |path: &[u8]| catalog.aliases.iter().any(|(_, target)| tree::is_within(path, target));
    for (path, owned) in catalog.owned.iter() {
        // The machine's names of a merged /usr do not tell where the package has its files.
        let is_lost = is_merged && !profile.merged_usr && may_be_aliased(path);
        if let Some(Digest::Md5(md5)) = owned.claim.digest
            && owned.packages.iter().any(|id| known.contains(id))
            && owned.claim.state == ClaimState::Shipped
            && !is_lost
        {
            put(image.place(path), md5);
        }
    }
    let heads = packages.iter().filter(|pin| same(pin, catalog).is_none()).filter_map(|pin| heads.get(pin));
    for file in heads.flatten() {
        if let Some(md5) = file.md5 {
            put(image.place(&file.path), md5);
        }
    }
    files.into_iter().filter_map(|(path, md5)| Some((path, Digest::Md5(md5?)))).collect()
}

/// What an image's family does to the files of packages.
struct Overlay {
    aliases: Aliases,
    filters: PathFilters,
    /// From the path that a package has to the path that its file gets.
    diversions: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What is no package's file, whatever packages say.
    added: HashSet<Vec<u8>>,
}

impl Overlay {
    fn new(profile: &Profile) -> Self {
        let links = merged_usr::USUAL.into_iter().filter(|_| profile.merged_usr);
        let aliases = Aliases::from_links(links);
        let filters = profile.filters();
        let canonical = |path: &&str| aliases.canonical(path.as_bytes()).into_owned();
        let diversions =
            profile.diversions.iter().map(|(from, to)| (canonical(from), canonical(to))).collect();
        let added = profile.added.iter().map(canonical).collect();
        Overlay { aliases, filters, diversions, added }
    }

    /// The path that a package's file has in the image; `None` if the image leaves it out or has something else there.
    fn place(&self, path: &[u8]) -> Option<Box<[u8]>> {
        // dpkg's filters look at the name in the package.
        if self.filters.excludes(path) {
            return None;
        }
        let path = self.aliases.canonical(path);
        match self.diversions.get(&*path) {
            Some(moved) => Some(moved.as_slice().into()),
            None if self.added.contains(&*path) => None,
            None => Some(path.into_owned().into()),
        }
    }
}

#[cfg(test)]
#[path = "contents_tests.rs"]
mod tests;
