//! Base images from a registry (OCI distribution-spec, "Pull"), streamed: no layer touches the disk.
//!
//! - [`Reference`]: an image's name.
//! - [`Credentials`]: what Docker's own configuration says.
//! - `session`: requests to one repository, tokens.
//! - `blob`: a layer as it streams by.

mod blob;
mod credentials;
mod reference;
mod session;

pub use credentials::Credentials;
pub use reference::Reference;

use super::image_layers::ImageLayers;
use super::oci::{self, Descriptor, Documents};
use super::store::{JSON_LIMIT, digest_text, parse_digest, same_digest};
use super::{BaseImage, Outcome, refused};
use crate::context::decompress;
use crate::context::stream::{Hashing, read_ahead};
use crate::image;
use crate::model::digest::Sha256;
use crate::model::escape;
use crate::transfer::net::{self, Client, Response};
use blob::Blob;
use serde::Deserialize;
use session::{Method, Session, Wanted};
use std::fmt;

/// Indexes and manifests, OCI's and Docker's.
const MANIFESTS: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];
/// Larger layers are no base image's.
const MAX_BLOB: u64 = 16 << 30;
/// A repository with more tags is read as far as this; a page is as long as the registry likes.
const MAX_PAGES: usize = 32;
const TAGS_PER_PAGE: usize = 1000;

/// Why an image did not come from its registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The network, or the registry's answer to a request.
    Net(net::Failure),
    /// The image: it is none for this architecture, or its parts do not fit together.
    Image(String),
}

impl Failure {
    /// Whether the registry is sure that there is no such image.
    pub fn is_absent(&self) -> bool {
        matches!(self, Failure::Net(failure) if failure.is_absent())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Net(failure @ net::Failure::Status { status: 401 | 403, .. }) => {
                write!(f, "{failure}: `docker login` without a credential helper gives them")
            }
            Failure::Net(failure) => failure.fmt(f),
            Failure::Image(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Failure {}

impl From<net::Failure> for Failure {
    fn from(failure: net::Failure) -> Self {
        Failure::Net(failure)
    }
}

impl From<image::Failure> for Failure {
    fn from(failure: image::Failure) -> Self {
        match failure {
            image::Failure::Net(failure) => Failure::Net(failure),
            image::Failure::Refused(why, _) => Failure::Image(why),
            image::Failure::Io(cause) => Failure::Image(cause.to_string()),
        }
    }
}

/// Registries, as this run may ask them.
#[derive(Debug)]
pub struct Access<'a> {
    /// Sends the requests. With [`net::Settings::plain_http`], and always on this machine's own addresses, a
    /// registry that does not speak TLS is asked without it.
    pub client: &'a Client,
    /// Shown to the registry that they are for, and to the token service that it names.
    pub credentials: Credentials,
}

impl<'a> Access<'a> {
    /// With the logins that Docker remembers for this user.
    pub fn new(client: &'a Client) -> Self {
        Access { client, credentials: Credentials::of_docker() }
    }

    /// The image for this architecture (Docker's name: `amd64`, `arm/v7`), every digest of it verified: of the
    /// manifests, the configuration, each layer as it was sent and as it is without compression. The result of
    /// [`image::read`] for the same image, with [`BaseImage::index_digest`].
    pub fn pull(&self, reference: &Reference, architecture: &str) -> Result<BaseImage, Failure> {
        let session = Session::new(self, reference);
        let remote = Remote { root: root(&session, reference)?, session: &session };
        let (digest, document) = &remote.root;
        let descriptor = Descriptor::of(digest, document.len() as u64);
        let chosen = oci::select(&remote, &[descriptor], architecture)?;
        let mut image = oci::assemble(&chosen.config, &chosen.layers, |layer, diff_id, tree| {
            apply(&session, *layer, diff_id, tree)
        })?;
        image.name = Some(reference.to_string());
        image.index_digest = Some(digest_text(digest));
        image.manifest_digest = Some(digest_text(&chosen.manifest));
        image.config_digest = Some(digest_text(&chosen.config_digest));
        Ok(image)
    }

    /// Whether the registry has the image. Docker Hub does not count this as a pull.
    pub fn exists(&self, reference: &Reference) -> Result<bool, Failure> {
        let session = Session::new(self, reference);
        match manifest(&session, Method::Head, &reference.target(), JSON_LIMIT) {
            Ok(_) => Ok(true),
            Err(failure) if failure.is_absent() => Ok(false),
            Err(failure) => Err(failure.into()),
        }
    }

    /// The tags of the repository, sorted; of a registry's list the first 32 pages.
    pub fn tags(&self, reference: &Reference) -> Result<Vec<String>, Failure> {
        let session = Session::new(self, reference);
        let mut path = format!("tags/list?n={TAGS_PER_PAGE}");
        let mut tags = Vec::new();
        for _ in 0..MAX_PAGES {
            let wanted =
                Wanted { method: Method::Get, path: &path, accept: &[], range: None, limit: JSON_LIMIT };
            let response = session.send(&wanted)?;
            let next = response.header("link").and_then(|link| next_page(link, reference));
            let page: Tags = oci::parse("the list of tags", &response.body.into_bytes()?)?;
            tags.extend(page.tags.unwrap_or_default());
            match next {
                Some(next) => path = next,
                None => break,
            }
        }
        tags.sort_unstable();
        tags.dedup();
        Ok(tags)
    }
}

#[derive(Deserialize)]
struct Tags {
    tags: Option<Vec<String>>,
}

/// The query of the next page, from `</v2/REPOSITORY/tags/list?n=9&last=x>; rel="next"`: never another path.
fn next_page(link: &str, reference: &Reference) -> Option<String> {
    let (target, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
    let query = target.split_once(&format!("/{}/tags/list?", reference.repository()))?.1;
    rest.contains("next").then(|| format!("tags/list?{query}"))
}

fn manifest(
    session: &Session<'_>,
    method: Method,
    target: &str,
    limit: u64,
) -> Result<Response, net::Failure> {
    let path = format!("manifests/{target}");
    session.send(&Wanted { method, path: &path, accept: &MANIFESTS, range: None, limit })
}

/// What the name stands for: an index or a manifest, and its digest.
fn root(session: &Session<'_>, reference: &Reference) -> Outcome<(Sha256, Vec<u8>)> {
    let response = manifest(session, Method::Get, &reference.target(), JSON_LIMIT)?;
    let stated = response.header("docker-content-digest").and_then(|text| parse_digest(text).ok());
    let document = response.body.into_bytes()?;
    let digest = oci::digest_of(&document);
    for expected in stated.iter().chain(reference.digest()) {
        same_digest("the manifest", expected, &digest)?;
    }
    Ok((digest, document))
}

/// The documents of an image in its registry.
struct Remote<'a> {
    session: &'a Session<'a>,
    root: (Sha256, Vec<u8>),
}

impl Documents for Remote<'_> {
    fn has(&self, _: &Sha256) -> bool {
        true
    }

    fn shows_all(&self) -> bool {
        false
    }

    fn manifest(&self, digest: &Sha256, size: u64) -> Outcome<Vec<u8>> {
        if *digest == self.root.0 {
            return Ok(self.root.1.clone());
        }
        let response = manifest(self.session, Method::Get, &digest_text(digest), within(size, JSON_LIMIT)?)?;
        verified(response, digest, size)
    }

    fn config(&self, digest: &Sha256, size: u64) -> Outcome<Vec<u8>> {
        let path = format!("blobs/{}", digest_text(digest));
        let limit = within(size, JSON_LIMIT)?;
        let wanted = Wanted { method: Method::Get, path: &path, accept: &[], range: None, limit };
        verified(self.session.send(&wanted)?, digest, size)
    }
}

fn verified(response: Response, digest: &Sha256, size: u64) -> Outcome<Vec<u8>> {
    let document = response.body.into_bytes()?;
    if document.len() as u64 != size {
        let shown = digest_text(digest);
        return Err(refused(format!("{shown} has {} bytes instead of {size}", document.len())));
    }
    same_digest("a document of the image", digest, &oci::digest_of(&document))?;
    Ok(document)
}

/// The size, if anything of the kind is so large.
fn within(size: u64, limit: u64) -> Outcome<u64> {
    if size <= limit {
        return Ok(size);
    }
    Err(refused(format!("a part of the image has {size} bytes; {limit} are the most that is read")))
}

/// Unpacks a layer while it comes. Whatever its archive looks like, it has to be the one that the manifest
/// names: a registry that lies is told from an image that is odd.
fn apply(
    session: &Session<'_>,
    layer: (Sha256, u64),
    diff_id: &Sha256,
    tree: &mut ImageLayers<'_>,
) -> Outcome<()> {
    let (digest, size) = layer;
    let mut blob = Blob::open(session, digest, within(size, MAX_BLOB)?)?;
    let applied = decompress::decompress(&mut blob).and_then(|(_, plain)| {
        let mut plain = Hashing::new(plain);
        read_ahead(&mut plain, |archive| tree.apply(archive))?;
        Ok(plain.finish().0)
    });
    blob.verify()?;
    let shown = digest_text(&digest);
    let found = applied.map_err(|error| {
        refused(format!("layer {shown}: {}", escape::escape(error.to_string().as_bytes())))
    })?;
    same_digest(&format!("the archive of layer {shown}"), diff_id, &found)
}

#[cfg(test)]
mod tests;
