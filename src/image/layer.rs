//! A layer in an image store: a tar archive, compressed or not, with the digests that the image
//! states.

use super::Outcome;
use super::image_layers::ImageLayers;
use super::store::{Store, same_digest};
use crate::context::decompress;
use crate::context::stream::{Hashing, read_ahead};
use crate::model::digest::Sha256;
use crate::model::escape;
use std::io;

/// Layer: its member, and digest and size of the blob if the image states them.
pub(super) struct Layer {
    pub(super) member: Vec<u8>,
    pub(super) blob: Option<(Sha256, u64)>,
}

/// Verifies the blob before it is parsed, applies the layer, and verifies its uncompressed
/// archive.
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
        Some(_) => error, // of the operating system, not of the layer
        None => io::Error::new(error.kind(), format!("{shown}: {error}")),
    };
    let (blob, _) = store.open(&layer.member)?;
    let (_, plain) = decompress::decompress(blob).map_err(named)?;
    let mut plain = Hashing::new(plain);
    read_ahead(&mut plain, |archive| tree.apply(archive)).map_err(named)?;
    let (found, _) = plain.finish();
    same_digest(&format!("the uncompressed {shown}"), diff_id, &found)
}
