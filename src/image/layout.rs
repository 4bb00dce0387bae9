//! OCI layouts (OCI image-spec, `image-layout.md`): a directory or an archive of blobs named by their digests.

use super::image_layers::ImageLayers;
use super::oci::{Document, Documents, assemble, digest_of, parse, select};
use super::store::{Store, digest_path, digest_text, same_digest};
use super::{BaseImage, Outcome, docker};
use crate::context::decompress;
use crate::context::stream::{Hashing, read_ahead};
use crate::model::digest::Sha256;
use crate::model::escape;
use std::io;

/// Marks an OCI layout.
pub(super) const LAYOUT: &[u8] = b"oci-layout";
/// Where an OCI layout begins.
pub(super) const INDEX: &[u8] = b"index.json";

/// A layer: its member, and its blob's digest and size where something states them.
pub(super) struct Layer {
    pub(super) member: Vec<u8>,
    pub(super) blob: Option<(Sha256, u64)>,
}

/// Reads the one image for this architecture.
pub(super) fn read(store: &Store<'_>, architecture: &str) -> Outcome<BaseImage> {
    let index: Document = parse("index.json", &store.document(INDEX)?)?;
    let chosen = select(store, &index.manifests.unwrap_or_default(), architecture)?;
    let layers: Vec<Layer> = chosen
        .layers
        .iter()
        .map(|(digest, size)| Layer { member: digest_path(digest), blob: Some((*digest, *size)) })
        .collect();
    let mut image =
        assemble(&chosen.config, &layers, |layer, diff_id, tree| apply(store, layer, diff_id, tree))?;
    let tag = docker::name_of(store, &digest_path(&chosen.config_digest));
    image.name = tag.or(chosen.name);
    image.manifest_digest = Some(digest_text(&chosen.manifest));
    image.config_digest = Some(digest_text(&chosen.config_digest));
    Ok(image)
}

impl Documents for Store<'_> {
    fn has(&self, digest: &Sha256) -> bool {
        self.contains(&digest_path(digest))
    }

    fn shows_all(&self) -> bool {
        true
    }

    fn manifest(&self, digest: &Sha256, size: u64) -> Outcome<Vec<u8>> {
        blob(self, digest, size)
    }

    fn config(&self, digest: &Sha256, size: u64) -> Outcome<Vec<u8>> {
        blob(self, digest, size)
    }
}

fn blob(store: &Store<'_>, digest: &Sha256, size: u64) -> Outcome<Vec<u8>> {
    let member = digest_path(digest);
    store.verify(&member, digest, Some(size))?;
    let document = store.document(&member)?;
    // The file may have changed in between.
    same_digest(&escape::escape(&member), digest, &digest_of(&document)).map(|()| document)
}

/// Verifies the blob before anything of it is parsed, and the archive in it afterwards.
pub(super) fn apply(
    store: &Store<'_>,
    layer: &Layer,
    diff_id: &Sha256,
    tree: &mut ImageLayers<'_>,
) -> Outcome<()> {
    let shown = format!("layer {}", escape::escape(&layer.member));
    if let Some((digest, size)) = &layer.blob {
        store.verify(&layer.member, digest, Some(*size))?;
    }
    let named = |error: io::Error| match error.raw_os_error() {
        Some(_) => error, // the disk's, not the layer's
        None => io::Error::new(error.kind(), format!("{shown}: {error}")),
    };
    let (blob, _) = store.open(&layer.member)?;
    let (_, plain) = decompress::decompress(blob).map_err(named)?;
    let mut plain = Hashing::new(plain);
    read_ahead(&mut plain, |archive| tree.apply(archive)).map_err(named)?;
    let (found, _) = plain.finish();
    same_digest(&format!("the archive of {shown}"), diff_id, &found)
}
