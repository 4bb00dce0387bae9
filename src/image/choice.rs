//! Chooses the base image of the context and determines its contents.

use super::discovery::{BaseContents, Discovered, Discovery, Unavailable};
use super::registry::Reference;
use super::{BaseImage, Profile, images};
use crate::compare::expected::BaseView;
use crate::detect::Inventory;
use crate::error::{Code, Error, Result};
use crate::model::digest::Digest;
use crate::model::findings::{self, Findings};
use crate::model::merged_usr::{self, Link};
use crate::model::tree::{self, Kind};
use crate::pkg::plan::BasePackages;
use crate::pkg::{Aliases, Family, Pin};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Source of the contents of the base image (`--base-from`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BaseFrom {
    /// First source that is available: registry, published lists, computed list, or none.
    Auto,
    /// Registry in the reference.
    Registry,
    /// Published package list, or a computed one.
    Packages,
    /// None; only the package database of the machine is used.
    None,
    /// File: an archive of a root file system or of `docker save`, or an OCI layout.
    File(PathBuf),
}

impl From<&OsStr> for BaseFrom {
    fn from(argument: &OsStr) -> Self {
        match argument.as_bytes() {
            b"auto" => BaseFrom::Auto,
            b"registry" => BaseFrom::Registry,
            b"packages" => BaseFrom::Packages,
            b"none" => BaseFrom::None,
            _ => BaseFrom::File(argument.into()),
        }
    }
}

/// Chosen base image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// Reference for `FROM`; `None` for `FROM scratch`.
    pub reference: Option<String>,
    /// Known contents of the image.
    pub contents: BaseContents,
    /// Differences between the image and an installation of its packages, as far as they are
    /// known.
    pub profile: Profile,
    /// Links of the machine's merged `/usr` that the image does not have. The build creates them
    /// first.
    pub merged_usr: Vec<Link>,
    /// Reason for the choice, for the summary.
    pub reason: String,
    /// Source of the contents, for the summary.
    pub contents_source: String,
}

impl Base {
    /// Adds the links of the machine's merged `/usr`, as the build creates them.
    pub fn merge_usr(mut self, aliases: &Aliases) -> Self {
        let links = aliases.iter().map(|(name, target)| (name.into(), target.into()));
        let has = |link: &Link| match &self.contents {
            BaseContents::Files(image) => {
                let node = tree::find(&image.nodes, &link.0).map(|index| &image.nodes[index]);
                // Only a directory has files that must be moved into /usr.
                node.is_none_or(|node| node.kind != Kind::Directory)
            }
            BaseContents::Unknown | BaseContents::Packages(_) => self.profile.merged_usr,
        };
        let missing: Vec<Link> = links.filter(|link| !has(link)).collect();
        if missing.is_empty() || self.reference.is_none() {
            return self;
        }
        if let BaseContents::Files(image) = &mut self.contents {
            image.nodes = merged_usr::merge(std::mem::take(&mut image.nodes), &missing).nodes;
        }
        self.profile.merged_usr = true;
        Base { merged_usr: missing, ..self }
    }

    /// Returns the image, if its files are known.
    pub fn image(&self) -> Option<&BaseImage> {
        match &self.contents {
            BaseContents::Files(image) => Some(image),
            BaseContents::Unknown | BaseContents::Packages(_) => None,
        }
    }

    /// Returns the packages that are installed in the image.
    pub fn packages(&self) -> BasePackages {
        match (&self.reference, &self.contents) {
            (None, _) => BasePackages::Known(Vec::new()),
            (Some(_), BaseContents::Unknown) => BasePackages::Unknown,
            (Some(_), BaseContents::Packages(list)) => BasePackages::Known(list.packages.clone()),
            (Some(_), BaseContents::Files(image)) => BasePackages::Known(image.packages()),
        }
    }

    /// Returns the files of the image as input of the comparison. `listed` are paths and digests
    /// of files in its packages, if only the packages are known.
    pub fn view(&self, listed: Option<Vec<(Box<[u8]>, Digest)>>) -> BaseView<'_> {
        BaseView {
            nodes: self.image().map(|image| image.nodes.as_slice()).unwrap_or_default(),
            listed,
            is_merged: self.profile.merged_usr,
            filters: self.profile.filters(),
        }
    }

    /// Returns the argument of `FROM`: the reference, pinned to a digest if the registry stated
    /// one.
    pub fn from(&self) -> String {
        let digest = match &self.contents {
            BaseContents::Files(image) => image.index_digest.as_ref(),
            BaseContents::Packages(list) => list.digest.as_ref(),
            BaseContents::Unknown => None,
        };
        match (&self.reference, digest) {
            (None, _) => "scratch".to_owned(),
            (Some(reference), Some(digest)) => {
                Reference::parse(reference).map_or_else(|_| reference.clone(), |named| named.pinned(digest))
            }
            (Some(reference), None) => reference.clone(),
        }
    }
}

impl BaseImage {
    /// Returns the installed packages in the image's dpkg database.
    pub fn packages(&self) -> Vec<Pin> {
        let read = |path: &[u8]| self.files.get(path).cloned();
        let installed = Family::ALL.iter().map(|family| family.manager().installed(&read));
        installed.into_iter().find(|packages| !packages.is_empty()).unwrap_or_default()
    }
}

/// Chooses the base image and determines its contents.
///
/// The image is `--base`, or the name in the file of `--base-from`, or the image for
/// os-release(5). Without any of them it is `FROM scratch`.
///
/// Fails with exit code 20 if a requested image or source is not available. With
/// [`BaseFrom::Auto`], the next source is used instead and a note is reported.
pub fn choose(
    wanted: Option<&str>,
    from: &BaseFrom,
    inventory: &Inventory,
    discovery: &Discovery<'_>,
    findings: &mut Findings,
) -> Result<Base> {
    let image = match from {
        BaseFrom::File(file) => Some(super::read(file, inventory.architecture)?),
        _ => None,
    };
    let in_file = image.as_ref().and_then(|image| image.name.as_deref());
    let Named { reference, profile, reason } = name(wanted, in_file, inventory, discovery.has_packages())?;
    let Some(reference) = reference else {
        if wanted.is_none() {
            warn_of_scratch(&reason, findings);
        }
        return Ok(scratch(&reason));
    };
    let discovered = match (from, image) {
        (_, Some(image)) => Discovered::files(image, "the file of --base-from"),
        (BaseFrom::Registry, _) => {
            discovery.registry(&reference).map_err(|unavailable| refused(&reference, &unavailable))?
        }
        (BaseFrom::Packages, _) => discovery
            .packages(&reference, &profile, findings)
            .map_err(|unavailable| refused(&reference, &unavailable))?,
        (BaseFrom::Auto, _) => match discovery.discover(&reference, &profile, findings) {
            Ok(discovered) => discovered,
            Err(why) if wanted.is_some() => return Err(refused(&reference, &why.into())),
            Err(why) => {
                let reason = format!("{reason}, but {why}");
                warn_of_scratch(&reason, findings);
                return Ok(scratch(&reason));
            }
        },
        (BaseFrom::None | BaseFrom::File(_), _) => Discovered::unknown("--base-from none"),
    };
    let Discovered { contents, source, dated } = discovered;
    let dated = dated.filter(|_| wanted.is_none());
    let reference = Some(dated.unwrap_or(reference));
    let base = Base { reference, contents, profile, merged_usr: Vec::new(), reason, contents_source: source };
    // --base selects exactly this image. A file contains only one image, so a closer one is
    // unknown.
    let is_fixed = wanted.is_some() || matches!(from, BaseFrom::File(_));
    Ok(if is_fixed { base } else { closest(base, discovery, findings) })
}

fn warn_of_scratch(reason: &str, findings: &mut Findings) {
    let text = format!(
        "FROM scratch, because {reason}: all files of the machine are in one layer, which no other image \
         shares; set the image with --base, and its contents with --base-from"
    );
    findings.warning(findings::Kind::BaseImage, b"", text);
}

fn scratch(reason: &str) -> Base {
    Base {
        reference: None,
        contents: BaseContents::Unknown,
        profile: Profile::default(),
        merged_usr: Vec::new(),
        reason: reason.to_owned(),
        contents_source: "none (FROM scratch)".to_owned(),
    }
}

/// Replaces the image by a dated one of the same release, if its packages are closer to the
/// machine's.
fn closest(base: Base, discovery: &Discovery<'_>, findings: &mut Findings) -> Base {
    let (Some(reference), Some(image)) = (&base.reference, base.image()) else { return base };
    match discovery.closest(reference, image, findings) {
        None => base,
        Some((reference, image, why)) => Base {
            reference: Some(reference),
            contents: BaseContents::Files(Box::new(image)),
            reason: format!("{}; {why}", base.reason),
            ..base
        },
    }
}

/// Returns the reference of the image that a conversion without `--base` would use, with the reason
/// for it. `has_packages` is whether the machine has a supported package database.
pub fn intended(inventory: &Inventory, has_packages: bool) -> (Option<String>, String) {
    let named = name(None, None, inventory, has_packages);
    named.map_or_else(|error| (None, error.to_string()), |named| (named.reference, named.reason))
}

/// Reference of the image, and the reason for it.
struct Named {
    reference: Option<String>,
    profile: Profile,
    reason: String,
}

/// Chooses the reference. `wanted` is `--base`; `in_file` is the name in the file of
/// `--base-from`.
fn name(
    wanted: Option<&str>,
    in_file: Option<&str>,
    inventory: &Inventory,
    has_packages: bool,
) -> Result<Named> {
    let os = &inventory.os;
    let checked = |reference: &str, reason: &str| -> Result<Named> {
        let reference = check_reference(reference)?;
        let profile = images::profile_of(&reference, os);
        Ok(Named { reference: Some(reference), profile, reason: reason.to_owned() })
    };
    let scratch =
        |reason: &str| Named { reference: None, profile: Profile::default(), reason: reason.to_owned() };
    Ok(match (wanted, in_file, images::of(os)) {
        (Some("scratch"), _, _) => scratch("set by --base"),
        (Some(reference), _, _) => checked(reference, "set by --base")?,
        (None, Some(name), _) => checked(name, "named in the file of --base-from")?,
        (None, None, Some(image)) if has_packages => Named {
            reference: Some(image.reference),
            profile: image.profile,
            reason: noted(image.reason, &image.note),
        },
        (None, None, Some(_)) => scratch("the machine has no supported package database"),
        (None, None, None) => scratch("no official image is known for this distribution"),
    })
}

fn noted(reason: String, note: &str) -> String {
    if note.is_empty() { reason } else { format!("{reason}; {note}") }
}

fn refused(reference: &str, unavailable: &Unavailable) -> Error {
    Error::new(Code::NotStarted, format!("base image {reference}: {}", unavailable.why))
        .hint("use --base-from auto to continue without this source, or --base-from FILE with a saved image")
}

/// Checks that the reference is valid. A valid reference is also safe in a Dockerfile.
fn check_reference(reference: &str) -> Result<String> {
    Reference::parse(reference).map(|_| reference.to_owned())
}
