//! The files of a base image, determined from its package list.
//!
//! For packages that the machine has in the same version, the machine's database provides them.
//! For others, the heads of the package files do. The image's [`Profile`] states the files that
//! the image excludes or moves.

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

/// Files of packages according to the heads of their package files, with the packaged paths.
pub type Heads = BTreeMap<Pin, Vec<PackagedFile>>;

/// Returns the packages of an image that the machine's database does not contain; their heads
/// must be fetched.
pub fn unknown_to<'a>(packages: &'a [Pin], catalog: &Catalog) -> Vec<&'a Pin> {
    packages.iter().filter(|pin| same(pin, catalog).is_none()).collect()
}

/// Fetches the heads of these packages from the repositories that offer them.
/// [`crate::pkg::dpkg::repository::ask`] must have queried the packages. A note counts the
/// packages without a head.
pub fn fetch_heads(packages: &[&Pin], lists: &Lists, client: &Client, findings: &mut Findings) -> Heads {
    let wanted: Vec<Wanted> = packages
        .iter()
        .filter_map(|&pin| {
            let (repository, offer) = lists.usable(pin).next()?;
            Some(Wanted { url: repository.url(offer), pin: pin.clone() })
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
        let why = failure.unwrap_or_else(|| "no repository offers them".to_owned());
        let text = format!(
            "contents of {missing} packages of the base image are unknown ({why}); their files are included in the delta"
        );
        findings.note(findings::Kind::BasePackages, b"", text);
    }
    heads
}

/// Returns the machine's package of this name, architecture and version, if it is completely
/// installed.
fn same(pin: &Pin, catalog: &Catalog) -> Option<PackageId> {
    let id = catalog.find(&pin.name, &pin.architecture)?;
    let package = &catalog[id];
    (package.installed && !package.broken && package.version == pin.version).then_some(id)
}

/// Returns the regular files of an image with these packages, with their MD5, by path. It
/// contains only certain paths. Unpackaged files are missing, and packages that neither the
/// machine nor `heads` describes.
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
        // If two packages contradict each other about a path, its content is uncertain.
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
        // On a machine with a merged `/usr`, the database's names do not show the packaged path.
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

/// Changes that an image's family makes to packaged files.
struct Overlay {
    aliases: Aliases,
    filters: PathFilters,
    /// Map from the packaged path to the path that the file gets.
    diversions: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Files that the image adds, even if a package ships the path.
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

    /// Returns the path of a packaged file in the image. `None` if the image excludes it or has
    /// another file there.
    fn place(&self, path: &[u8]) -> Option<Box<[u8]>> {
        // dpkg applies its filters to the packaged path.
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
