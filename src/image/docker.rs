//! Image archives of `docker save` before version 25 (Docker Image Specification v1.2, "Combined
//! Image JSON + Filesystem Changeset Format").
//!
//! Podman and skopeo still write this format as `docker-archive`.

use super::layer::{Layer, apply};
use super::oci::{ImageConfig, assemble, digest_of, familiar, parse, several, suits, wrong_platform};
use super::store::{Store, digest_text, same_digest};
use super::{BaseImage, Outcome, refused};
use crate::model::digest::Sha256;
use crate::model::escape;
use crate::model::tree;
use serde::Deserialize;

/// Member that lists the images.
pub(super) const MANIFEST: &[u8] = b"manifest.json";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// Reads the image for this architecture. Fails if there are several or none.
pub(super) fn read(store: &Store<'_>, architecture: &str) -> Outcome<BaseImage> {
    let mut images = Vec::new();
    let mut platforms = Vec::new();
    for image in images_of(store)? {
        let document = store.document(image.config.as_bytes())?;
        let config: ImageConfig = parse(&escape::escape(image.config.as_bytes()), &document)?;
        platforms.push(config.platform());
        if suits(&config.platform(), architecture) {
            images.push((image, config, document));
        }
    }
    let (image, config, document) = match images.len() {
        0 => return Err(wrong_platform(&platforms, architecture)),
        1 => images.remove(0),
        count => return Err(several(count, architecture)),
    };
    let digest = digest_of(&document);
    if let Some(stated) = stated_digest(image.config.as_bytes()) {
        same_digest(&escape::escape(image.config.as_bytes()), &stated, &digest)?;
    }
    let name = first_tag(&image);
    // This format has no digests of compressed layers; the configuration has the diff IDs.
    let layers: Vec<Layer> =
        image.layers.into_iter().map(|member| Layer { member: member.into_bytes(), blob: None }).collect();
    let mut base = assemble(&config, &layers, |layer, diff_id, tree| apply(store, layer, diff_id, tree))?;
    base.name = name;
    base.config_digest = Some(digest_text(&digest));
    Ok(base)
}

/// Returns the tag of the image with this configuration, if an OCI layout also has
/// `manifest.json`.
pub(super) fn name_of(store: &Store<'_>, config: &[u8]) -> Option<String> {
    let images = images_of(store).ok()?;
    images.iter().find(|image| image.config.as_bytes() == config).and_then(first_tag)
}

fn images_of(store: &Store<'_>) -> Outcome<Vec<Image>> {
    let images: Vec<Image> = parse("manifest.json", &store.document(MANIFEST)?)?;
    if images.len() > 1024 {
        return Err(refused("the archive contains more than 1024 images"));
    }
    Ok(images)
}

fn first_tag(image: &Image) -> Option<String> {
    image.repo_tags.iter().flatten().next().map(|tag| familiar(tag))
}

/// Returns the digest in the name of the configuration: `HEX.json` or `blobs/sha256/HEX`.
fn stated_digest(member: &[u8]) -> Option<Sha256> {
    let name = tree::file_name(member);
    escape::unhex(name.strip_suffix(b".json").unwrap_or(name))
}
