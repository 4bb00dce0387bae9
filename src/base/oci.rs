//! OCI layouts: index, manifest, configuration, layers; each verified against the digest that leads to it.

use super::layers::Layers;
use super::store::{Store, digest_path, digest_text, parse_digest, same_digest};
use super::{BaseImage, Config, Failure, Outcome, docker, is_wanted, refused};
use crate::archive::{Hashing, compression, read_ahead};
use crate::escape;
use crate::tree::Sha256;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// Marks an OCI layout.
pub(super) const LAYOUT: &[u8] = b"oci-layout";
/// Where an OCI layout begins.
pub(super) const INDEX: &[u8] = b"index.json";

/// An index within an index within an index; deeper is no image.
const MAX_DEPTH: usize = 4;
const MAX_DOCUMENTS: usize = 1024;
const MAX_LAYERS: usize = 1024;

/// Manifests with another configuration are artifacts that only travel with images (signatures, SBOMs).
const CONFIG_TYPES: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    platform: Option<Platform>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Debug, Deserialize)]
struct Platform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    variant: Option<String>,
}

/// An index or a manifest.
#[derive(Debug, Deserialize)]
struct Document {
    manifests: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
}

/// An image's configuration.
#[derive(Debug, Deserialize)]
pub(super) struct ImageConfig {
    architecture: Option<String>,
    os: Option<String>,
    variant: Option<String>,
    config: Option<Execution>,
    rootfs: Rootfs,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Execution {
    env: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    working_dir: Option<String>,
    user: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Rootfs {
    diff_ids: Vec<String>,
}

/// A layer: its member, and its blob's digest and size where something states them.
pub(super) struct Layer {
    pub(super) member: Vec<u8>,
    pub(super) blob: Option<(Sha256, u64)>,
}

/// A manifest that the index led to.
struct Candidate {
    digest: Sha256,
    name: Option<String>,
    platform: String,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// Reads the one image for this architecture.
pub(super) fn read(store: &Store<'_>, architecture: &str) -> Outcome<BaseImage> {
    let index: Document = parse(INDEX, &store.document(INDEX)?)?;
    let mut search = Search { store, visited: BTreeSet::new(), found: Vec::new() };
    search.follow(&index.manifests.unwrap_or_default(), None, 0)?;
    let chosen = choose(search.found, architecture)?;
    let config_digest = parse_digest(&chosen.config.digest)?;
    let config = read_config(store, &chosen.config)?;
    if !suits(&config.platform(), architecture) {
        let why = format!("the index calls it {}, its configuration {}", chosen.platform, config.platform());
        return Err(refused(escape::escape(why.as_bytes())));
    }
    let layers = chosen.layers.iter().map(layer).collect::<Outcome<Vec<Layer>>>()?;
    let mut image = assemble(store, &config, &layers)?;
    let tag = docker::name_of(store, &digest_path(&config_digest));
    image.name = tag.or(chosen.name);
    image.manifest_digest = Some(digest_text(&chosen.digest));
    image.config_digest = Some(digest_text(&config_digest));
    Ok(image)
}

/// The way from an index to all manifests that may be the image's.
struct Search<'a> {
    store: &'a Store<'a>,
    visited: BTreeSet<Sha256>,
    found: Vec<Candidate>,
}

impl Search<'_> {
    fn follow(&mut self, descriptors: &[Descriptor], name: Option<&str>, depth: usize) -> Outcome<()> {
        for descriptor in descriptors.iter().filter(|descriptor| is_image(descriptor)) {
            if depth == MAX_DEPTH || self.visited.len() > MAX_DOCUMENTS {
                return Err(refused("its index is nested too deeply or too long"));
            }
            let digest = parse_digest(&descriptor.digest)?;
            // docker save writes the index of all platforms, but the blobs of those it has.
            let absent = depth > 0 && !self.store.contains(&digest_path(&digest));
            if !absent && self.visited.insert(digest) {
                let own_name = reference(descriptor);
                self.visit(descriptor, digest, own_name.as_deref().or(name), depth)?;
            }
        }
        Ok(())
    }

    fn visit(
        &mut self,
        descriptor: &Descriptor,
        digest: Sha256,
        name: Option<&str>,
        depth: usize,
    ) -> Outcome<()> {
        let member = digest_path(&digest);
        let document: Document = parse(&member, &blob(self.store, &digest, descriptor.size)?)?;
        match document {
            Document { manifests: Some(nested), config: None, layers: None } => {
                self.follow(&nested, name, depth + 1)
            }
            Document { manifests: None, config: Some(config), layers: Some(layers) } => {
                if CONFIG_TYPES.contains(&config.media_type.as_str()) {
                    let platform = platform(self.store, descriptor, &config)?;
                    let name = name.map(str::to_owned);
                    self.found.push(Candidate { digest, name, platform, config, layers });
                }
                Ok(())
            }
            // One document that is both has been an attack (CVE-2021-41190).
            _ => Err(refused(format!("{} is neither an index nor a manifest", escape::escape(&member)))),
        }
    }
}

/// Whether this may be an image, not an attestation or another artifact.
fn is_image(descriptor: &Descriptor) -> bool {
    let attestation = descriptor
        .annotations
        .iter()
        .flatten()
        .any(|(key, value)| key == "vnd.docker.reference.type" && value == "attestation-manifest");
    let unknown = descriptor.platform.as_ref().is_some_and(|platform| platform.os == "unknown");
    !attestation && !unknown
}

/// `os/architecture[/variant]`, of the descriptor or else of the image's configuration.
fn platform(store: &Store<'_>, descriptor: &Descriptor, config: &Descriptor) -> Outcome<String> {
    if let Some(platform) = &descriptor.platform {
        return Ok(platform_text(&platform.os, &platform.architecture, platform.variant.as_deref()));
    }
    Ok(read_config(store, config)?.platform())
}

impl ImageConfig {
    /// `os/architecture[/variant]`.
    pub(super) fn platform(&self) -> String {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        platform_text(&text(&self.os), &text(&self.architecture), self.variant.as_deref())
    }
}

fn platform_text(os: &str, architecture: &str, variant: Option<&str>) -> String {
    match variant.filter(|variant| !variant.is_empty() && (architecture, *variant) != ("arm64", "v8")) {
        Some(variant) => format!("{os}/{architecture}/{variant}"),
        None => format!("{os}/{architecture}"),
    }
}

/// Whether an image for `platform` may be one for `architecture`: variants count where both name one.
pub(super) fn suits(platform: &str, architecture: &str) -> bool {
    let wanted = wanted_platform(architecture);
    let (mut there, mut wanted) = (platform.split('/'), wanted.split('/'));
    let same = there.next() == wanted.next() && there.next() == wanted.next();
    let variants = (there.next(), wanted.next());
    same && (variants.0.is_none() || variants.1.is_none() || variants.0 == variants.1)
}

fn wanted_platform(architecture: &str) -> String {
    let (name, variant) = architecture.split_once('/').unwrap_or((architecture, ""));
    platform_text("linux", name, Some(variant))
}

fn choose(candidates: Vec<Candidate>, architecture: &str) -> Outcome<Candidate> {
    let platforms: Vec<String> = candidates.iter().map(|candidate| candidate.platform.clone()).collect();
    let wanted = wanted_platform(architecture);
    let suitable = candidates.into_iter().filter(|candidate| suits(&candidate.platform, architecture));
    let (exact, near): (Vec<_>, Vec<_>) = suitable.partition(|candidate| candidate.platform == wanted);
    let mut chosen = if exact.is_empty() { near } else { exact };
    match chosen.len() {
        0 => Err(wrong_platform(&platforms, architecture)),
        1 => Ok(chosen.remove(0)),
        count => Err(several(count, architecture)),
    }
}

pub(super) fn wrong_platform(platforms: &[String], architecture: &str) -> Failure {
    let there = if platforms.is_empty() {
        "none".to_owned()
    } else {
        escape::escape(platforms.join(", ").as_bytes())
    };
    let why = format!("no image for linux/{architecture} in it; there: {there}");
    Failure::Refused(why, "pull with --platform and save that image")
}

pub(super) fn several(count: usize, architecture: &str) -> Failure {
    let why = format!("{count} images for linux/{architecture} in it");
    Failure::Refused(why, "save one image only, and of one variant of the architecture")
}

/// A reference that people can use: `debian:12`.
fn reference(descriptor: &Descriptor) -> Option<String> {
    let annotations = descriptor.annotations.as_ref()?;
    let full = annotations.get("io.containerd.image.name").map(|name| familiar(name));
    // The other one is often the tag alone.
    full.or_else(|| {
        annotations.get("org.opencontainers.image.ref.name").filter(|name| name.contains([':', '/'])).cloned()
    })
}

/// Docker Hub's names without its host and `library/`.
pub(super) fn familiar(name: &str) -> String {
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    name.strip_prefix("library/").unwrap_or(name).to_owned()
}

fn blob(store: &Store<'_>, digest: &Sha256, size: u64) -> Outcome<Vec<u8>> {
    let member = digest_path(digest);
    store.verify(&member, digest, Some(size))?;
    let document = store.document(&member)?;
    // The file may have changed in between.
    same_digest(&escape::escape(&member), digest, &digest_of(&document)).map(|()| document)
}

pub(super) fn digest_of(document: &[u8]) -> Sha256 {
    use sha2::Digest;
    sha2::Sha256::digest(document).into()
}

fn read_config(store: &Store<'_>, descriptor: &Descriptor) -> Outcome<ImageConfig> {
    let digest = parse_digest(&descriptor.digest)?;
    parse(&digest_path(&digest), &blob(store, &digest, descriptor.size)?)
}

/// A JSON document; the error names it and the place in it, not what stands there.
pub(super) fn parse<T: DeserializeOwned>(name: &[u8], document: &[u8]) -> Outcome<T> {
    serde_json::from_slice(document).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        refused(format!("{} is not what it should be ({place})", escape::escape(name)))
    })
}

/// Media types of layers: OCI's and Docker's, compressed or not, distributable or not. How the blob
/// really is compressed its first bytes tell; `docker save` has called plain layers gzip.
fn layer(descriptor: &Descriptor) -> Outcome<Layer> {
    const TYPES: [&str; 4] = [
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.docker.image.rootfs.foreign.diff.tar",
    ];
    let media_type = descriptor.media_type.as_str();
    let end = TYPES.iter().find_map(|known| media_type.strip_prefix(known));
    if !matches!(end, Some("" | "+gzip" | ".gzip" | "+zstd" | ".zstd")) {
        let shown = escape::escape(media_type.as_bytes());
        return Err(refused(format!("a layer of the type {shown}, which is not read here")));
    }
    let digest = parse_digest(&descriptor.digest)?;
    Ok(Layer { member: digest_path(&digest), blob: Some((digest, descriptor.size)) })
}

/// Applies the layers and takes over what the configuration says; digests and name are the caller's.
pub(super) fn assemble(store: &Store<'_>, config: &ImageConfig, layers: &[Layer]) -> Outcome<BaseImage> {
    let diff_ids = &config.rootfs.diff_ids;
    if diff_ids.len() != layers.len() || layers.len() > MAX_LAYERS {
        let counts = format!("{} layers, but its configuration {}", layers.len(), diff_ids.len());
        return Err(refused(format!("the image lists {counts}")));
    }
    let mut tree = Layers::new(&is_wanted);
    for (layer, diff_id) in layers.iter().zip(diff_ids) {
        apply(store, layer, &parse_digest(diff_id)?, &mut tree)?;
    }
    let contents = tree.finish();
    let none = Execution::default();
    let execution = config.config.as_ref().unwrap_or(&none);
    Ok(BaseImage {
        architecture: config.architecture.clone(),
        os: config.os.clone(),
        config: Config {
            env: execution.env.clone().unwrap_or_default(),
            cmd: execution.cmd.clone().unwrap_or_default(),
            entrypoint: execution.entrypoint.clone().unwrap_or_default(),
            working_dir: execution.working_dir.clone().unwrap_or_default(),
            user: execution.user.clone().unwrap_or_default(),
        },
        nodes: contents.nodes,
        files: contents.files,
        xattrs: contents.xattrs,
        ..BaseImage::default()
    })
}

/// Verifies the blob before anything of it is parsed, and the archive in it afterwards.
fn apply(store: &Store<'_>, layer: &Layer, diff_id: &Sha256, tree: &mut Layers<'_>) -> Outcome<()> {
    let shown = format!("layer {}", escape::escape(&layer.member));
    if let Some((digest, size)) = &layer.blob {
        store.verify(&layer.member, digest, Some(*size))?;
    }
    let named = |error: io::Error| match error.raw_os_error() {
        Some(_) => error, // the disk's, not the layer's
        None => io::Error::new(error.kind(), format!("{shown}: {error}")),
    };
    let (blob, _) = store.open(&layer.member)?;
    let (_, plain) = compression::decompress(blob).map_err(named)?;
    let mut plain = Hashing::new(plain);
    read_ahead(&mut plain, |archive| tree.apply(archive)).map_err(named)?;
    let (found, _) = plain.finish();
    same_digest(&format!("the archive of {shown}"), diff_id, &found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_count_where_both_name_one() {
        for (platform, architecture, suitable) in [
            ("linux/amd64", "amd64", true),
            ("linux/amd64/v2", "amd64", true),
            ("linux/arm64", "arm64/v8", true),
            ("linux/arm/v7", "arm/v7", true),
            ("linux/arm", "arm/v7", true),
            ("linux/arm/v5", "arm/v7", false),
            ("windows/amd64", "amd64", false),
            ("linux/arm64", "arm", false),
        ] {
            assert_eq!(suits(platform, architecture), suitable, "{platform} for {architecture}");
        }
    }

    #[test]
    fn names_are_as_people_write_them() {
        for (name, short) in [
            ("docker.io/library/debian:12", "debian:12"),
            ("docker.io/user/image:1", "user/image:1"),
            ("quay.io/library/x:1", "quay.io/library/x:1"),
        ] {
            assert_eq!(familiar(name), short);
        }
    }
}
