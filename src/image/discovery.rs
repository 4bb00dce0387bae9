//! Determines the contents of a base image.
//!
//! The sources, in fallback order: the registry (all files), published package lists, a package
//! list that is computed as debootstrap does. If none works, the contents are unknown.

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

/// Known contents of a base image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BaseContents {
    /// No source was available.
    Unknown,
    /// Names and versions of the packages.
    Packages(PackageList),
    /// All files.
    Files(Box<BaseImage>),
}

/// Inputs of the discovery.
pub struct Discovery<'a> {
    /// HTTP client; `None` with `--offline`.
    pub client: Option<&'a Client>,
    /// Properties of the machine.
    pub inventory: &'a Inventory,
    /// Packages of the machine.
    pub catalog: Option<&'a Catalog>,
    /// Package repositories of the machine.
    pub repositories: Option<&'a dyn Repositories>,
}

/// Contents of an image, and their source.
pub(super) struct Discovered {
    pub(super) contents: BaseContents,
    /// Source of the contents, for the summary.
    pub(super) source: String,
    /// Dated reference to this image, if it differs from the requested one. Dated tags do not
    /// move.
    pub(super) dated: Option<String>,
}

/// Reason why a source is not available.
pub(super) struct Unavailable {
    /// Reason for messages.
    pub(super) why: String,
    /// Whether the registry states that the image does not exist.
    pub(super) is_absent: bool,
}

impl From<String> for Unavailable {
    fn from(why: String) -> Self {
        Unavailable { why, is_absent: false }
    }
}

impl Discovered {
    /// Returns unknown contents, with the reason.
    pub(super) fn unknown(why: &str) -> Self {
        Discovered { contents: BaseContents::Unknown, source: format!("unknown ({why})"), dated: None }
    }

    /// Returns the files of an image; `source` is where they were read.
    pub(super) fn files(image: BaseImage, source: &str) -> Self {
        let source = format!("{} paths, read from {source}", image.nodes.len());
        Discovered { contents: BaseContents::Files(Box::new(image)), source, dated: None }
    }
}

/// Reason for unknown contents without network access.
const OFFLINE: &str = "--offline";

impl Discovery<'_> {
    /// Whether the machine has a supported package database.
    pub(super) fn has_packages(&self) -> bool {
        self.catalog.is_some()
    }

    /// Tries all sources in fallback order. Fails only if the registry states that the image does
    /// not exist.
    pub(super) fn discover(
        &self,
        reference: &str,
        profile: &Profile,
        findings: &mut Findings,
    ) -> Result<Discovered, String> {
        if self.client.is_none() {
            let listed = self.packages(reference, profile, findings);
            return Ok(listed.unwrap_or_else(|_| {
                warn_of_unknown_contents(findings, reference, OFFLINE);
                Discovered::unknown(OFFLINE)
            }));
        }
        let Unavailable { why, is_absent } = match self.registry(reference) {
            Ok(discovered) => return Ok(discovered),
            Err(unavailable) => unavailable,
        };
        if is_absent {
            return Err(why);
        }
        Ok(match self.packages(reference, profile, findings) {
            Ok(listed) => {
                let text = format!(
                    "{reference}: {why}; only its package list is known, so the delta can be larger; \
                     save the image and pass it with --base-from FILE"
                );
                findings.warning(findings::Kind::BaseImage, b"", text);
                Discovered { source: format!("{}; files unknown: {why}", listed.source), ..listed }
            }
            Err(unavailable) => {
                warn_of_unknown_contents(findings, reference, &format!("{why}; {}", unavailable.why));
                Discovered::unknown(&why)
            }
        })
    }

    /// Pulls the image and returns all its files.
    pub(super) fn registry(&self, reference: &str) -> Result<Discovered, Unavailable> {
        let image = self.pull(reference)?;
        let source = format!("the registry; {} packages", image.packages().len());
        Ok(Discovered::files(image, &source))
    }

    fn pull(&self, reference: &str) -> Result<BaseImage, Unavailable> {
        let client = self.client.ok_or_else(|| OFFLINE.to_owned())?;
        let parsed = Reference::parse(reference).map_err(|why| why.to_string())?;
        Access::new(client)
            .pull(&parsed, self.inventory.architecture)
            .map_err(|failure| Unavailable { is_absent: failure.is_absent(), why: failure.to_string() })
    }

    /// Returns names and versions of the packages from a published list, or else computes them.
    pub(super) fn packages(
        &self,
        reference: &str,
        profile: &Profile,
        findings: &mut Findings,
    ) -> Result<Discovered, Unavailable> {
        let catalog =
            self.catalog.ok_or_else(|| "the machine has no supported package database".to_owned())?;
        let list = match self.published(reference, catalog) {
            Ok(list) => list,
            Err(why) => {
                let computed = self.computed(profile, findings);
                let list = computed.map_err(|other| format!("{why}; {other}"))?;
                note(findings, reference, &format!("no published package list: {why}"));
                list
            }
        };
        let source = format!("{} packages, from {}", list.packages.len(), list.source);
        let dated = list.tag.as_ref().and_then(|tag| self.dated(reference, tag));
        Ok(Discovered { contents: BaseContents::Packages(list), source, dated })
    }

    /// Returns the reference with a dated tag, if the registry has it.
    ///
    /// The registry must be queried because lists are published before the images.
    fn dated(&self, reference: &str, tag: &str) -> Option<String> {
        let parsed = Reference::parse(reference).ok()?;
        let (name, _) = reference.rsplit_once(':').filter(|(_, old)| parsed.tag() == Some(old))?;
        let exists = Access::new(self.client?).exists(&parsed.with_tag(tag)?).is_ok_and(|exists| exists);
        exists.then(|| format!("{name}:{tag}"))
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
            return Err("the packages of this image cannot be computed: its build is unknown".to_owned());
        }
        let repositories = self.repositories.ok_or("the machine has no supported package database")?;
        repositories.base_packages(&self.inventory.os, findings)
    }

    /// Returns the dated image that is closest to the machine, with the reason.
    ///
    /// Returns `None` if the packages of the machine are not older than those of `image`, or if
    /// no dated image is closer.
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
            .map_err(|failure| note(findings, reference, &format!("cannot list tags: {failure}")))
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
        // Tries the published list first because it is about a thousandth of the size of the
        // image.
        let mut packages_of = |tag: &str| -> Option<Vec<Pin>> {
            let dated = format!("{repository}:{tag}");
            if let Ok(list) = self.published(&dated, catalog) {
                return Some(list.packages);
            }
            let image = self.pull(&dated);
            let image = image.map_err(|unavailable| note(findings, &dated, &unavailable.why)).ok()?;
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
            None => self
                .pull(&reference)
                .map_err(|unavailable| note(findings, &reference, &unavailable.why))
                .ok()?,
        };
        Some((reference, image, found.reason))
    }
}

fn note(findings: &mut Findings, reference: &str, why: &str) {
    findings.note(findings::Kind::BaseImage, b"", format!("{reference}: {why}"));
}

fn warn_of_unknown_contents(findings: &mut Findings, reference: &str, why: &str) {
    let text = format!(
        "{reference}: contents unknown ({why}), so the delta can be much larger; \
         save the image and pass it with --base-from FILE"
    );
    findings.warning(findings::Kind::BaseImage, b"", text);
}
