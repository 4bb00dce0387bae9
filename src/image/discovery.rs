//! How it becomes known what a base image holds, from the best way down: the registry, published package lists, the rule by
//! which such images are made, nothing.

use super::closest::{self, Search};
use super::registry::{Access, Reference};
use super::{BaseImage, Profile};
use crate::detect::Inventory;
use crate::model::findings::{self, Findings};
use crate::pkg::dpkg::base::package_list::PackageList;
use crate::pkg::dpkg::base::published;
use crate::pkg::{Catalog, Pin, Repositories};
use crate::transfer::net::Client;
use std::collections::BTreeMap;

/// What is known of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BaseContents {
    /// Nothing.
    Unknown,
    /// Names and versions of its packages.
    Packages(PackageList),
    /// Every object in it.
    Files(Box<BaseImage>),
}

/// What asking takes.
pub struct Discovery<'a> {
    /// Nothing with `--offline`.
    pub client: Option<&'a Client>,
    /// The machine.
    pub inventory: &'a Inventory,
    /// Its packages.
    pub catalog: Option<&'a Catalog>,
    /// Where they come from.
    pub repositories: Option<&'a dyn Repositories>,
}

/// What was learned, and how.
pub(super) struct Discovered {
    pub(super) contents: BaseContents,
    /// For people.
    pub(super) how: String,
    /// A name that will always stand for exactly this image, if another one than was asked about.
    pub(super) dated: Option<String>,
}

/// Why a rung gave nothing.
pub(super) struct Unavailable {
    /// For people.
    pub(super) why: String,
    /// Whether there is no such image at all.
    pub(super) is_absent: bool,
}

impl From<String> for Unavailable {
    fn from(why: String) -> Self {
        Unavailable { why, is_absent: false }
    }
}

impl Discovered {
    pub(super) fn nothing(why: &str) -> Self {
        Discovered { contents: BaseContents::Unknown, how: format!("not known: {why}"), dated: None }
    }

    pub(super) fn seen(image: BaseImage, how: &str) -> Self {
        let how = format!("{} paths seen {how}", image.nodes.len());
        Discovered { contents: BaseContents::Files(Box::new(image)), how, dated: None }
    }
}

const OFFLINE: &str = "nobody may be asked (--offline)";

impl Discovery<'_> {
    pub(super) fn has_packages(&self) -> bool {
        self.catalog.is_some()
    }

    /// The first rung that holds. An error only if the registry is sure that there is no such image.
    pub(super) fn descend(
        &self,
        reference: &str,
        profile: &Profile,
        findings: &mut Findings,
    ) -> Result<Discovered, String> {
        if self.client.is_none() {
            let listed = self.packages(reference, profile, findings);
            return Ok(listed.unwrap_or_else(|_| Discovered::nothing(OFFLINE)));
        }
        let Unavailable { why, is_absent } = match self.registry(reference) {
            Ok(learned) => return Ok(learned),
            Err(missed) => missed,
        };
        if is_absent {
            return Err(why);
        }
        note(findings, reference, &why);
        Ok(match self.packages(reference, profile, findings) {
            Ok(listed) => Discovered { how: format!("{}; not seen: {why}", listed.how), ..listed },
            Err(missed) => {
                note(findings, reference, &missed.why);
                Discovered::nothing(&why)
            }
        })
    }

    /// Every object in the image, streamed.
    pub(super) fn registry(&self, reference: &str) -> Result<Discovered, Unavailable> {
        let image = self.pull(reference)?;
        let how = format!("in the registry, {} packages", image.packages().len());
        Ok(Discovered::seen(image, &how))
    }

    fn pull(&self, reference: &str) -> Result<BaseImage, Unavailable> {
        let client = self.client.ok_or_else(|| OFFLINE.to_owned())?;
        let parsed = Reference::parse(reference).map_err(|why| why.to_string())?;
        Access::new(client)
            .pull(&parsed, self.inventory.architecture)
            .map_err(|failure| Unavailable { is_absent: failure.is_absent(), why: failure.to_string() })
    }

    /// Names and versions of the image's packages: published, or computed.
    pub(super) fn packages(
        &self,
        reference: &str,
        profile: &Profile,
        findings: &mut Findings,
    ) -> Result<Discovered, Unavailable> {
        let catalog = self.catalog.ok_or_else(|| "the machine has no package database".to_owned())?;
        let list = match self.published(reference, catalog) {
            Ok(list) => list,
            Err(why) => {
                let computed = self.computed(profile, findings);
                let list = computed.map_err(|other| format!("{why}; {other}"))?;
                note(findings, reference, &format!("no published package list: {why}"));
                list
            }
        };
        let how = format!("{} packages by {}", list.packages.len(), list.source);
        let dated = list.tag.as_ref().and_then(|tag| self.dated(reference, tag));
        Ok(Discovered { contents: BaseContents::Packages(list), how, dated })
    }

    /// The reference with a dated tag, if the registry has it: tags are published before the images.
    fn dated(&self, reference: &str, tag: &str) -> Option<String> {
        let parsed = Reference::parse(reference).ok()?;
        let (name, _) = reference.rsplit_once(':').filter(|(_, old)| parsed.tag() == Some(old))?;
        let there = Access::new(self.client?).exists(&parsed.with_tag(tag)?).is_ok_and(|there| there);
        there.then(|| format!("{name}:{tag}"))
    }

    fn published(&self, reference: &str, catalog: &Catalog) -> Result<PackageList, String> {
        let client = self.client.ok_or(OFFLINE)?;
        let parsed = Reference::parse(reference).map_err(|why| why.to_string())?;
        let image = published::Image {
            repository: parsed.repository(),
            tag: parsed.tag().unwrap_or_default(),
            digest: reference.split_once('@').map(|(_, digest)| digest),
            codename: &self.inventory.os.codename,
            architecture: self.inventory.architecture,
        };
        published::fetch(&image, catalog, client)
    }

    fn computed(&self, profile: &Profile, findings: &mut Findings) -> Result<PackageList, String> {
        if profile.path_filters.is_none() {
            return Err("how this image is made is not known".to_owned());
        }
        let repositories = self.repositories.ok_or("the machine has no package database")?;
        repositories.base_packages(&self.inventory.os, findings)
    }

    /// The dated image that is closest to a machine whose packages are older than today's image; and why that one.
    pub(super) fn closest(
        &self,
        reference: &str,
        image: &BaseImage,
        findings: &mut Findings,
    ) -> Option<(String, BaseImage, String)> {
        let (client, catalog) = (self.client?, self.catalog?);
        let parsed = Reference::parse(reference).ok()?;
        let packages = image.packages();
        if !closest::is_older(&packages, catalog) {
            return None;
        }
        let tag = parsed.tag()?;
        let tags = Access::new(client)
            .tags(&parsed)
            .map_err(|failure| note(findings, reference, &format!("its tags: {failure}")))
            .ok()?;
        let repository = reference.strip_suffix(tag)?.strip_suffix(':')?;
        let search = Search {
            repository,
            tag,
            packages: &packages,
            tags: &tags,
            codename: &self.inventory.os.codename,
            day: self.repositories?.last_change(findings).div_euclid(86_400),
            catalog,
        };
        let mut pulled: BTreeMap<String, BaseImage> = BTreeMap::new();
        // A published list is a thousandth of an image.
        let mut packages_of = |tag: &str| -> Option<Vec<Pin>> {
            let dated = format!("{repository}:{tag}");
            if let Ok(list) = self.published(&dated, catalog) {
                return Some(list.packages);
            }
            let image = self.pull(&dated);
            let image = image.map_err(|missed| note(findings, &dated, &missed.why)).ok()?;
            let packages = image.packages();
            pulled.insert(tag.to_owned(), image);
            Some(packages)
        };
        let found = closest::closest(&search, &mut packages_of);
        let reference = format!("{repository}:{}", found.tag);
        if found.tag == tag {
            return None;
        }
        let image = match pulled.remove(&found.tag) {
            Some(image) => image,
            None => self.pull(&reference).map_err(|missed| note(findings, &reference, &missed.why)).ok()?,
        };
        Some((reference, image, found.reason))
    }
}

fn note(findings: &mut Findings, reference: &str, why: &str) {
    findings.note(findings::Kind::BaseImage, b"", format!("{reference}: {why}"));
}
