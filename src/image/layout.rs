//! OCI layouts (OCI image-spec, `image-layout.md`): blobs named by their digests in a directory
//! or an archive.

use super::layer::{Layer, apply};
use super::oci::{Document, Documents, assemble, digest_of, parse, select};
use super::store::{Store, digest_path, digest_text, same_digest};
use super::{BaseImage, Outcome, docker};
use crate::model::digest::Sha256;
use crate::model::escape;

/// File that marks an OCI layout.
pub(super) const LAYOUT: &[u8] = b"oci-layout";
/// Index of an OCI layout.
pub(super) const INDEX: &[u8] = b"index.json";

/// Reads the image for this architecture. Fails if there are several or none.
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
    // Verifies the document too, because the file can change between the two reads.
    same_digest(&escape::escape(&member), digest, &digest_of(&document)).map(|()| document)
}
