//! Which image the context builds FROM, and what is known of it.

use super::discovery::{BaseContents, Discovered, Discovery, Unavailable};
use super::registry::Reference;
use super::{BaseImage, Profile, images};
use crate::compare::expected::BaseView;
use crate::detect::Inventory;
use crate::error::{Code, Error, Result};
use crate::model::digest::Digest;
use crate::model::findings::Findings;
use crate::model::merged_usr::{self, Link};
use crate::model::tree::{self, Kind};
use crate::pkg::plan::BasePackages;
use crate::pkg::{Aliases, Family, Pin};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// `--base-from`: how to learn what the base image holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BaseFrom {
    /// From the first that answers: the registry, published lists, nothing.
    Auto,
    /// From the registry that the reference names.
    Registry,
    /// From published package lists, or by the rule that such images are made by.
    Packages,
    /// Not at all: only what the machine's own database says.
    None,
    /// From this file: a root file system's archive, a `docker save` archive or an OCI layout.
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

/// The base image that was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// What FROM names; none: `FROM scratch`.
    pub reference: Option<String>,
    /// What it holds.
    pub contents: BaseContents,
    /// How it differs from the installation of its packages, as far as its family is known.
    pub profile: Profile,
    /// The links of the machine's merged `/usr` that it has not, and that the build makes before anything else.
    pub merged_usr: Vec<Link>,
    /// Why this one, for people.
    pub reason: String,
    /// How it is known what it holds, for people.
    pub contents_source: String,
}

impl Base {
    /// The same with the machine's merged `/usr`, as the build makes it.
    pub fn merge_usr(mut self, aliases: &Aliases) -> Self {
        let links = aliases.iter().map(|(name, target)| (name.into(), target.into()));
        let has = |link: &Link| match &self.contents {
            BaseContents::Files(image) => {
                let node = tree::find(&image.nodes, &link.0).map(|index| &image.nodes[index]);
                // There is nothing to move where there is no directory.
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

    /// The image, where it was seen.
    pub fn image(&self) -> Option<&BaseImage> {
        match &self.contents {
            BaseContents::Files(image) => Some(image),
            BaseContents::Unknown | BaseContents::Packages(_) => None,
        }
    }

    /// The packages that are installed in it.
    pub fn packages(&self) -> BasePackages {
        match (&self.reference, &self.contents) {
            (None, _) => BasePackages::Known(Vec::new()),
            (Some(_), BaseContents::Unknown) => BasePackages::Unknown,
            (Some(_), BaseContents::Packages(list)) => BasePackages::Known(list.packages.clone()),
            (Some(_), BaseContents::Files(image)) => BasePackages::Known(image.packages()),
        }
    }

    /// What the layers above build on.
    pub fn view(&self, listed: Option<Vec<(Box<[u8]>, Digest)>>) -> BaseView<'_> {
        BaseView {
            nodes: self.image().map(|image| image.nodes.as_slice()).unwrap_or_default(),
            listed,
            is_merged: self.profile.merged_usr,
            filters: self.profile.filters(),
        }
    }

    /// What FROM says: the reference, pinned where the registry said what it stands for.
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
    /// The packages that its own database calls installed.
    pub fn packages(&self) -> Vec<Pin> {
        let read = |path: &[u8]| self.files.get(path).cloned();
        let installed = Family::ALL.iter().map(|family| family.manager().installed(&read));
        installed.into_iter().find(|packages| !packages.is_empty()).unwrap_or_default()
    }
}

/// Chooses: `--base`, else the name in the file, else what os-release maps to, else nothing at all. Then learns what
/// that image holds.
///
/// Code 20 where what was asked for by name cannot be had; with [`BaseFrom::Auto`] the next rung is taken instead, and
/// there is a note.
pub fn choose(
    wanted: Option<&str>,
    from: &BaseFrom,
    inventory: &Inventory,
    ladder: &Discovery<'_>,
    findings: &mut Findings,
) -> Result<Base> {
    let image = match from {
        BaseFrom::File(file) => Some(super::read(file, inventory.architecture)?),
        _ => None,
    };
    let in_file = image.as_ref().and_then(|image| image.name.as_deref());
    let Named { reference, profile, reason } = name(wanted, in_file, inventory, ladder.has_packages())?;
    let Some(reference) = reference else { return Ok(scratch(&reason)) };
    let learned = match (from, image) {
        (_, Some(image)) => Discovered::seen(image, "in the file of --base-from"),
        (BaseFrom::Registry, _) => {
            ladder.registry(&reference).map_err(|missed| refused(&reference, &missed))?
        }
        (BaseFrom::Packages, _) => {
            ladder.packages(&reference, &profile, findings).map_err(|missed| refused(&reference, &missed))?
        }
        (BaseFrom::Auto, _) => match ladder.descend(&reference, &profile, findings) {
            Ok(learned) => learned,
            Err(why) if wanted.is_some() => return Err(refused(&reference, &why.into())),
            Err(why) => return Ok(scratch(&format!("{reason}, but {why}"))),
        },
        (BaseFrom::None | BaseFrom::File(_), _) => Discovered::nothing("not asked for"),
    };
    let Discovered { contents, how, dated } = learned;
    let dated = dated.filter(|_| wanted.is_none());
    let reference = Some(dated.unwrap_or(reference));
    let base = Base { reference, contents, profile, merged_usr: Vec::new(), reason, contents_source: how };
    // Who named an image wants that one, and of a file only its own image is known.
    let is_bound = wanted.is_some() || matches!(from, BaseFrom::File(_));
    Ok(if is_bound { base } else { closest(base, ladder, findings) })
}

fn scratch(reason: &str) -> Base {
    Base {
        reference: None,
        contents: BaseContents::Unknown,
        profile: Profile::default(),
        merged_usr: Vec::new(),
        reason: reason.to_owned(),
        contents_source: "there is none".to_owned(),
    }
}

/// The same, or an image of the same release whose packages are closer to the machine's.
fn closest(base: Base, ladder: &Discovery<'_>, findings: &mut Findings) -> Base {
    let (Some(reference), Some(image)) = (&base.reference, base.image()) else { return base };
    match ladder.closest(reference, image, findings) {
        None => base,
        Some((reference, image, why)) => Base {
            reference: Some(reference),
            contents: BaseContents::Files(Box::new(image)),
            reason: format!("{}; {why}", base.reason),
            ..base
        },
    }
}

/// An image by name.
struct Named {
    reference: Option<String>,
    profile: Profile,
    reason: String,
}

fn name(
    wanted: Option<&str>,
    in_file: Option<&str>,
    inventory: &Inventory,
    has_packages: bool,
) -> Result<Named> {
    let os = &inventory.os;
    let given = |reference: &str, reason: &str| -> Result<Named> {
        let reference = check_reference(reference)?;
        let profile = images::profile_of(&reference, os);
        Ok(Named { reference: Some(reference), profile, reason: reason.to_owned() })
    };
    let scratch =
        |reason: &str| Named { reference: None, profile: Profile::default(), reason: reason.to_owned() };
    Ok(match (wanted, in_file, images::of(os)) {
        (Some("scratch"), _, _) => scratch("named by --base"),
        (Some(reference), _, _) => given(reference, "named by --base")?,
        (None, Some(name), _) => given(name, "named in the file of --base-from")?,
        (None, None, Some(image)) if has_packages => Named {
            reference: Some(image.reference),
            profile: image.profile,
            reason: noted(image.reason, &image.note),
        },
        (None, None, Some(_)) => scratch("the machine has no package database that is known"),
        (None, None, None) => {
            scratch("no official image is known for this distribution; name one with --base")
        }
    })
}

fn noted(reason: String, note: &str) -> String {
    if note.is_empty() { reason } else { format!("{reason}; {note}") }
}

fn refused(reference: &str, missed: &Unavailable) -> Error {
    Error::new(Code::NotStarted, format!("base image {reference}: {}", missed.why))
        .hint("--base-from auto goes on with what is known without it, --base-from FILE reads a saved image")
}

/// The reference, if it is one: then it is also safe in a Dockerfile.
fn check_reference(reference: &str) -> Result<String> {
    Reference::parse(reference).map(|_| reference.to_owned())
}
