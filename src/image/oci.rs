//! Finds and assembles an image from its index, manifest, configuration and layers (OCI
//! image-spec: `image-index.md`, `manifest.md`, `config.md`).
//!
//! Each document is verified with the digest in the document that refers to it.

use super::image_layers::ImageLayers;
use super::store::{digest_text, parse_digest};
use super::{BaseImage, Config, Failure, Outcome, is_wanted, refused};
use crate::model::digest::Sha256;
use crate::model::escape;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};

/// Maximum depth of nested indexes. Real images have at most two levels.
const MAX_DEPTH: usize = 4;
const MAX_DOCUMENTS: usize = 1024;
const MAX_LAYERS: usize = 1024;

/// Media types of image configurations. Manifests with another one are artifacts that are stored
/// together with images (signatures, SBOMs).
const CONFIG_TYPES: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

/// Reference from one document to another (image-spec: `descriptor.md`).
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    platform: Option<Platform>,
    annotations: Option<BTreeMap<String, String>>,
}

impl Descriptor {
    /// Returns a descriptor without media type, platform and annotations.
    pub(crate) fn of(digest: &Sha256, size: u64) -> Self {
        let media_type = String::new();
        Descriptor { media_type, digest: digest_text(digest), size, platform: None, annotations: None }
    }
}

#[derive(Clone, Debug, Deserialize)]
struct Platform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    variant: Option<String>,
}

/// Index or image manifest.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    schema_version: Option<u64>,
    pub(super) manifests: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
}

/// Image configuration (`config.md`).
#[derive(Debug, Deserialize)]
pub(crate) struct ImageConfig {
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

/// Manifest that was found in the index.
struct Candidate {
    digest: Sha256,
    name: Option<String>,
    platform: String,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// Source of the documents of an image.
pub(crate) trait Documents {
    /// Whether the manifest or index exists. `docker save` writes the index of all platforms, but
    /// only the documents of the saved ones.
    fn has(&self, digest: &Sha256) -> bool;

    /// Whether to read manifests for other platforms too. Registries count each one as a pull.
    fn shows_all(&self) -> bool;

    /// Reads a manifest or an index and verifies digest and size.
    fn manifest(&self, digest: &Sha256, size: u64) -> Outcome<Vec<u8>>;

    /// Reads a configuration and verifies digest and size.
    fn config(&self, digest: &Sha256, size: u64) -> Outcome<Vec<u8>>;
}

/// Image for one architecture.
pub(crate) struct Selected {
    /// Digest of the manifest.
    pub(crate) manifest: Sha256,
    /// Digest of the configuration.
    pub(crate) config_digest: Sha256,
    /// Reference in an annotation of the index.
    pub(crate) name: Option<String>,
    /// Configuration of the image.
    pub(crate) config: ImageConfig,
    /// Digest and size in bytes of each layer's blob, the lowest layer first.
    pub(crate) layers: Vec<(Sha256, u64)>,
}

/// Follows the descriptors to the image for this architecture. Fails if there are several or
/// none.
pub(crate) fn select(
    documents: &dyn Documents,
    descriptors: &[Descriptor],
    architecture: &str,
) -> Outcome<Selected> {
    let mut search =
        Search { documents, architecture, visited: BTreeSet::new(), found: Vec::new(), others: Vec::new() };
    search.follow(descriptors, None, 0)?;
    let chosen = choose(search.found, search.others, architecture)?;
    let config = read_config(documents, &chosen.config)?;
    if !suits(&config.platform(), architecture) {
        let why =
            format!("the index states platform {}, the configuration {}", chosen.platform, config.platform());
        return Err(refused(escape::escape(why.as_bytes())));
    }
    Ok(Selected {
        manifest: chosen.digest,
        config_digest: parse_digest(&chosen.config.digest)?,
        name: chosen.name,
        config,
        layers: chosen.layers.iter().map(layer).collect::<Outcome<_>>()?,
    })
}

/// Search through the indexes for manifests of images.
struct Search<'a> {
    documents: &'a dyn Documents,
    architecture: &'a str,
    visited: BTreeSet<Sha256>,
    found: Vec<Candidate>,
    /// Platforms in the index whose manifests were not read.
    others: Vec<String>,
}

impl Search<'_> {
    fn follow(&mut self, descriptors: &[Descriptor], name: Option<&str>, depth: usize) -> Outcome<()> {
        for descriptor in descriptors.iter().filter(|descriptor| is_image(descriptor)) {
            if depth == MAX_DEPTH || self.visited.len() > MAX_DOCUMENTS {
                return Err(refused("the index is nested too deeply or has too many entries"));
            }
            let digest = parse_digest(&descriptor.digest)?;
            let absent = depth > 0 && !self.documents.has(&digest);
            if absent || !self.visited.insert(digest) {
                continue;
            }
            match &descriptor.platform {
                Some(platform)
                    if !self.documents.shows_all() && !suits(&platform.text(), self.architecture) =>
                {
                    self.others.push(platform.text());
                }
                _ => {
                    let own_name = reference(descriptor);
                    self.visit(descriptor, digest, own_name.as_deref().or(name), depth)?;
                }
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
        let shown = digest_text(&digest);
        let document: Document = parse(&shown, &self.documents.manifest(&digest, descriptor.size)?)?;
        match document {
            Document { schema_version: Some(1), .. } => {
                Err(refused(format!("{shown} is a manifest of Docker's schema 1, which is not supported")))
            }
            Document { manifests: Some(nested), config: None, layers: None, .. } => {
                self.follow(&nested, name, depth + 1)
            }
            Document { manifests: None, config: Some(config), layers: Some(layers), .. } => {
                if CONFIG_TYPES.contains(&config.media_type.as_str()) {
                    let platform = platform(self.documents, descriptor, &config)?;
                    let name = name.map(str::to_owned);
                    self.found.push(Candidate { digest, name, platform, config, layers });
                }
                Ok(())
            }
            // A document that is both can be interpreted in two ways (CVE-2021-41190).
            _ => Err(refused(format!("{shown} is neither an index nor a manifest"))),
        }
    }
}

/// Whether the descriptor can refer to an image. Excludes attestations and other artifacts.
fn is_image(descriptor: &Descriptor) -> bool {
    let attestation = descriptor
        .annotations
        .iter()
        .flatten()
        .any(|(key, value)| key == "vnd.docker.reference.type" && value == "attestation-manifest");
    let unknown = descriptor.platform.as_ref().is_some_and(|platform| platform.os == "unknown");
    !attestation && !unknown
}

/// Returns `os/architecture[/variant]` from the descriptor or the configuration of the image.
fn platform(documents: &dyn Documents, descriptor: &Descriptor, config: &Descriptor) -> Outcome<String> {
    match &descriptor.platform {
        Some(platform) => Ok(platform.text()),
        None => Ok(read_config(documents, config)?.platform()),
    }
}

impl Platform {
    fn text(&self) -> String {
        platform_text(&self.os, &self.architecture, self.variant.as_deref())
    }
}

impl ImageConfig {
    /// Returns `os/architecture[/variant]`.
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

/// Whether an image for `platform` can be used for `architecture`. Compares variants only if both
/// have one.
pub(super) fn suits(platform: &str, architecture: &str) -> bool {
    let wanted = wanted_platform(architecture);
    let (mut offered, mut wanted) = (platform.split('/'), wanted.split('/'));
    let same = offered.next() == wanted.next() && offered.next() == wanted.next();
    let variants = (offered.next(), wanted.next());
    same && (variants.0.is_none() || variants.1.is_none() || variants.0 == variants.1)
}

fn wanted_platform(architecture: &str) -> String {
    let (name, variant) = architecture.split_once('/').unwrap_or((architecture, ""));
    platform_text("linux", name, Some(variant))
}

fn choose(candidates: Vec<Candidate>, others: Vec<String>, architecture: &str) -> Outcome<Candidate> {
    let mut platforms = others;
    platforms.extend(candidates.iter().map(|candidate| candidate.platform.clone()));
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
    let found = if platforms.is_empty() {
        "none".to_owned()
    } else {
        escape::escape(platforms.join(", ").as_bytes())
    };
    let why = format!("no image for linux/{architecture}; found: {found}");
    Failure::Refused(why, "pull the image with --platform and save it again")
}

pub(super) fn several(count: usize, architecture: &str) -> Failure {
    let why = format!("{count} images for linux/{architecture}; expected one");
    Failure::Refused(why, "save one image only, with one variant of the architecture")
}

/// Returns the reference in the annotations, in short form: `debian:12`.
fn reference(descriptor: &Descriptor) -> Option<String> {
    let annotations = descriptor.annotations.as_ref()?;
    let full = annotations.get("io.containerd.image.name").map(|name| familiar(name));
    // org.opencontainers.image.ref.name often has the tag alone.
    full.or_else(|| {
        annotations.get("org.opencontainers.image.ref.name").filter(|name| name.contains([':', '/'])).cloned()
    })
}

/// Removes `docker.io/` and `library/` from a name.
pub(super) fn familiar(name: &str) -> String {
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    name.strip_prefix("library/").unwrap_or(name).to_owned()
}

pub(crate) fn digest_of(document: &[u8]) -> Sha256 {
    use sha2::Digest;
    sha2::Sha256::digest(document).into()
}

fn read_config(documents: &dyn Documents, descriptor: &Descriptor) -> Outcome<ImageConfig> {
    let digest = parse_digest(&descriptor.digest)?;
    parse(&digest_text(&digest), &documents.config(&digest, descriptor.size)?)
}

/// Parses a JSON document. The error contains its name and the position, but none of its content.
pub(crate) fn parse<T: DeserializeOwned>(name: &str, document: &[u8]) -> Outcome<T> {
    serde_json::from_slice(document).map_err(|error| {
        let position = format!("line {}, column {}", error.line(), error.column());
        refused(format!("{name} is not a valid document ({position})"))
    })
}

/// Returns digest and size of a layer. Fails if the media type is not one of a layer.
///
/// The compression in the media type is not used, because `docker save` has labeled uncompressed
/// layers as gzip. The magic number of the blob determines it.
fn layer(descriptor: &Descriptor) -> Outcome<(Sha256, u64)> {
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
        return Err(refused(format!("layer with unsupported media type {shown}")));
    }
    Ok((parse_digest(&descriptor.digest)?, descriptor.size))
}

/// Applies the layers and copies the execution parameters of the configuration.
///
/// `apply` gets each layer with its diff ID. The caller sets name and digests of the result.
pub(crate) fn assemble<L>(
    config: &ImageConfig,
    layers: &[L],
    mut apply: impl FnMut(&L, &Sha256, &mut ImageLayers<'_>) -> Outcome<()>,
) -> Outcome<BaseImage> {
    let diff_ids = &config.rootfs.diff_ids;
    if diff_ids.len() != layers.len() || layers.len() > MAX_LAYERS {
        let counts = format!("{} layers, its configuration {}", layers.len(), diff_ids.len());
        return Err(refused(format!("the manifest lists {counts}")));
    }
    let mut tree = ImageLayers::new(&is_wanted);
    for (layer, diff_id) in layers.iter().zip(diff_ids) {
        apply(layer, &parse_digest(diff_id)?, &mut tree)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suits_variants_are_compared_if_both_have_one() {
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
    fn familiar_docker_hub_names_are_shortened() {
        for (name, short) in [
            ("docker.io/library/debian:12", "debian:12"),
            ("docker.io/user/image:1", "user/image:1"),
            ("quay.io/library/x:1", "quay.io/library/x:1"),
        ] {
            assert_eq!(familiar(name), short);
        }
    }
}
