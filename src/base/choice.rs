//! Which image the context builds FROM, and what is known of it.

use super::BaseImage;
use crate::detect::Inventory;
use crate::error::{Code, Error, Result};
use crate::escape;
use crate::layer::BasePackages;
use crate::pkg;
use std::path::PathBuf;

/// `--base-from`: how to learn what the base image holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BaseFrom {
    /// Not at all: only what the machine's own database says.
    None,
    /// From this file: a root file system's archive, a `docker save` archive or an OCI layout.
    File(PathBuf),
}

/// The base image that was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// What FROM names; none: `FROM scratch`.
    pub reference: Option<String>,
    /// What it holds, where that is known.
    pub image: Option<BaseImage>,
    /// Why this one, for people.
    pub reason: String,
}

impl Base {
    /// What the image's own package database says.
    pub fn packages(&self) -> BasePackages {
        match (&self.reference, &self.image) {
            (None, _) => BasePackages::Known(Vec::new()),
            (Some(_), None) => BasePackages::Unknown,
            (Some(_), Some(image)) => {
                let status =
                    image.files.get(&b"var/lib/dpkg/status"[..]).map(Vec::as_slice).unwrap_or_default();
                BasePackages::Known(pkg::parse_status(status).0)
            }
        }
    }
}

/// Chooses: `--base`, else the name in the file, else what os-release maps to, else nothing at all.
pub fn choose(
    wanted: Option<&str>,
    from: &BaseFrom,
    inventory: &Inventory,
    has_packages: bool,
) -> Result<Base> {
    let image = match from {
        BaseFrom::None => None,
        BaseFrom::File(file) => Some(super::read(file, &inventory.architecture)?),
    };
    let named = image.as_ref().and_then(|image| image.name.clone());
    let (reference, reason) = match (wanted, named, inventory.os.image()) {
        (Some(reference), _, _) => (Some(check_reference(reference)?), "named by --base".to_owned()),
        (None, Some(name), _) => {
            (Some(check_reference(&name)?), "named in the file of --base-from".to_owned())
        }
        (None, None, Some(image)) if has_packages => (
            Some(image),
            format!("the official image of {}", escape::escape(inventory.os.pretty_name.as_bytes())),
        ),
        (None, None, Some(_)) => (None, "the machine has no package database that is known".to_owned()),
        (None, None, None) => {
            (None, "no official image is known for this distribution; name one with --base".to_owned())
        }
    };
    let image = image.filter(|_| reference.is_some());
    Ok(Base { reference, image, reason })
}

/// An image reference that is safe in a Dockerfile (distribution's reference grammar, without its finer points).
fn check_reference(reference: &str) -> Result<String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:/@".contains(&byte);
    let begins = reference.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if begins && reference.len() <= 255 && reference.bytes().all(is_plain) {
        return Ok(reference.to_owned());
    }
    let what = format!("{} is no image reference", escape::escape(reference.as_bytes()));
    Err(Error::new(Code::Usage, what)
        .hint("a reference looks like debian:12 or registry.example.org/debian:12"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_references_reach_the_dockerfile() {
        for good in ["debian:12", "registry.example.org:5000/a/b@sha256:0123"] {
            assert!(check_reference(good).is_ok(), "{good}");
        }
        for bad in ["", "-x", "a b", "debian:12\nRUN x", "$BASE", "a\\b"] {
            assert_eq!(check_reference(bad).unwrap_err().code, Code::Usage, "{bad}");
        }
    }
}
