//! Base images from a registry (OCI distribution-spec, "Pull"). Layers are streamed, not stored.
//!
//! - [`Reference`]: name of an image.
//! - [`Credentials`]: logins in Docker's configuration.
//! - `session`: requests to one repository, with authentication.
//! - `blob`: reader of a layer that verifies and resumes.

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
use session::{Method, RepositoryRequest, Session};
use std::fmt;

/// Media types of indexes and manifests of OCI and Docker.
const MANIFESTS: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];
/// Maximum size of a layer in bytes.
const MAX_BLOB: u64 = 16 << 30;
/// Maximum number of pages of tags to read. The registry chooses the size of a page.
const MAX_PAGES: usize = 32;
/// Requested number of tags per page.
const TAGS_PER_PAGE: usize = 1000;

/// Reason why an image could not be pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A request failed.
    Net(net::Failure),
    /// The image is inconsistent or not for this architecture.
    Image(String),
}

impl Failure {
    /// Whether the registry states that the image does not exist.
    pub fn is_absent(&self) -> bool {
        matches!(self, Failure::Net(failure) if failure.is_absent())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Net(failure @ net::Failure::Status { status: 401 | 403, .. }) => {
                write!(f, "{failure}; use `docker login` without a credential helper")
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

/// Access to registries: HTTP client and credentials.
#[derive(Debug)]
pub struct Access<'a> {
    /// HTTP client. Plain HTTP is used for registries without TLS on loopback addresses, and on
    /// others with [`net::Settings::plain_http`].
    pub client: &'a Client,
    /// Credentials. Each is sent only to its registry and to the token service of that registry.
    pub credentials: Credentials,
}

impl<'a> Access<'a> {
    /// Uses the logins in the Docker configuration of this user.
    pub fn new(client: &'a Client) -> Self {
        Access { client, credentials: Credentials::of_docker() }
    }

    /// Pulls the image for this architecture (Docker's name: `amd64`, `arm/v7`).
    ///
    /// Verifies the digests of manifests, configuration, and compressed and uncompressed layers.
    /// Returns what [`image::read`] returns for the saved image, plus
    /// [`BaseImage::index_digest`].
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

    /// Checks whether the image exists. Docker Hub does not count HEAD requests as a pull.
    pub fn exists(&self, reference: &Reference) -> Result<bool, Failure> {
        let session = Session::new(self, reference);
        match manifest(&session, Method::Head, &reference.target(), JSON_LIMIT) {
            Ok(_) => Ok(true),
            Err(failure) if failure.is_absent() => Ok(false),
            Err(failure) => Err(failure.into()),
        }
    }

    /// Returns the tags in the first 32 pages, sorted.
    pub fn tags(&self, reference: &Reference) -> Result<Vec<String>, Failure> {
        let session = Session::new(self, reference);
        let mut path = format!("tags/list?n={TAGS_PER_PAGE}");
        let mut tags = Vec::new();
        for _ in 0..MAX_PAGES {
            let response = session.send(&RepositoryRequest {
                method: Method::Get,
                path: &path,
                accept: &[],
                range: None,
                limit: JSON_LIMIT,
            })?;
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

/// Returns the path of the next page from a `Link` header such as
/// `</v2/REPOSITORY/tags/list?n=9&last=x>; rel="next"` (RFC 8288).
///
/// Uses only the query string, so that the registry cannot choose another path.
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
    session.send(&RepositoryRequest { method, path: &path, accept: &MANIFESTS, range: None, limit })
}

/// Downloads the index or manifest that the reference names, and returns it with its digest.
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

/// Documents of an image in a registry.
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
        let request = RepositoryRequest { method: Method::Get, path: &path, accept: &[], range: None, limit };
        verified(self.session.send(&request)?, digest, size)
    }
}

/// Reads a document and verifies its size and digest.
fn verified(response: Response, digest: &Sha256, size: u64) -> Outcome<Vec<u8>> {
    let document = response.body.into_bytes()?;
    if document.len() as u64 != size {
        let shown = digest_text(digest);
        return Err(refused(format!("{shown} has {} bytes instead of {size} bytes", document.len())));
    }
    same_digest("a document of the image", digest, &oci::digest_of(&document))?;
    Ok(document)
}

/// Returns `size`. Fails if it exceeds `limit` bytes.
fn within(size: u64, limit: u64) -> Outcome<u64> {
    if size <= limit {
        return Ok(size);
    }
    Err(refused(format!("a part of the image has {size} bytes and exceeds the limit of {limit} bytes")))
}

/// Downloads a layer and applies it.
///
/// The digest is checked before an error of the archive is reported. So an image that the
/// registry changed is distinguished from an image with an unusual archive.
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
    same_digest(&format!("the uncompressed layer {shown}"), diff_id, &found)
}

#[cfg(test)]
mod tests;
