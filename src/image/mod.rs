//! Base image: the image of the `FROM` instruction, and what is known about its contents.
//!
//! - `choice`: chooses the image.
//! - `discovery`: determines the contents of the image.
//! - [`closest`]: finds the dated tag that is closest to the machine's packages.
//! - `images`: table of distributions and their images.
//!
//! Formats of images:
//!
//! - [`registry`]: images in a registry (distribution-spec).
//! - [`image_layers`]: applies layers on top of each other (image-spec: `layer.md`).
//! - `oci`: finds the image for an architecture in an index (image-spec: `image-index.md`,
//!   `manifest.md`, `config.md`).
//! - `layout`: OCI layouts (image-spec: `image-layout.md`).
//! - `docker`: archives of `docker save` before version 25 (Docker Image Specification v1.2).
//! - `store`: members of an image in a directory or an uncompressed archive.
//! - `appearance`: names the type of a file that is not an image.

mod discovery;
pub mod image_layers;
pub mod registry;

mod appearance;
mod choice;
pub mod closest;
mod docker;
pub mod images;
mod layer;
mod layout;
pub(crate) mod oci;
pub(crate) mod store;

pub use crate::pkg::dpkg::base::profile::Profile;
pub use choice::{Base, BaseFrom, choose, intended};
pub use discovery::{BaseContents, Discovery};

use crate::context::decompress;
use crate::context::tar::{self, Contents, XattrClasses};
use crate::error::{Code, Error, Result};
use crate::model::escape;
use crate::model::tree::{self, Node};
use crate::pkg::Family;
use crate::transfer::net;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use store::{Section, Store};

/// Base image with all its files, from a file or a registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BaseImage {
    /// Reference from the file or of the request: `debian:12`.
    pub name: Option<String>,
    /// `sha256:...` of the image configuration, which is Docker's image ID. `None` for an archive
    /// of a root file system.
    pub config_digest: Option<String>,
    /// `sha256:...` of the index or image manifest that the name refers to in the registry;
    /// `FROM` is pinned to it. `None` if the image is not from a registry.
    pub index_digest: Option<String>,
    /// `sha256:...` of the image manifest for this architecture.
    ///
    /// It differs from the registry's digest if the file was written by `docker save` without the
    /// containerd image store, which generates a new manifest.
    pub manifest_digest: Option<String>,
    /// Docker's name of the architecture, if the file states it.
    pub architecture: Option<String>,
    /// Operating system (`linux`), if the file states it.
    pub os: Option<String>,
    /// Execution parameters of containers, unless the Dockerfile changes them.
    pub config: Config,
    /// Objects sorted by path, the root first; see [`Contents::nodes`].
    pub nodes: Vec<Node>,
    /// Contents of existing files that [`is_wanted`] selects, by path.
    pub files: BTreeMap<Box<[u8]>, Vec<u8>>,
    /// Classes of extended attributes that occur in the archives.
    pub xattrs: XattrClasses,
}

/// Execution parameters of the image configuration (OCI image-spec, `config.md`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Environment as `NAME=value`, in the order of the image.
    pub env: Vec<String>,
    /// Command, or the arguments of the entry point.
    pub cmd: Vec<String>,
    /// Entry point; it gets the command as arguments.
    pub entrypoint: Vec<String>,
    /// Working directory; empty for the root directory.
    pub working_dir: String,
    /// `user[:group]` by name or number; empty for root.
    pub user: String,
}

/// Whether later stages need the contents of this file.
pub fn is_wanted(path: &[u8]) -> bool {
    const ALWAYS: [&[u8]; 4] = [b"etc/group", b"etc/os-release", b"etc/passwd", b"usr/lib/os-release"];
    ALWAYS.contains(&path) || Family::ALL.iter().any(|family| family.manager().reads(path))
}

/// Reads a base image from a file and verifies every digest in it.
///
/// Supports archives of a root file system (plain, gzip, zstd), archives of `docker save`, and
/// OCI layouts as a directory or an archive. `architecture` is Docker's name (`amd64`, `arm/v7`).
///
/// Fails with exit code 20 if the file has another format, is for another architecture, contains
/// several images, or is inconsistent. Fails with 1 if it cannot be read.
pub fn read(file: &Path, architecture: &str) -> Result<BaseImage> {
    let shown = escape::escape(file.as_os_str().as_encoded_bytes());
    read_any(file, architecture).map_err(|failure| match failure {
        Failure::Io(cause) => Error::io(format!("cannot read base image {shown}"), cause),
        Failure::Refused(why, hint) => {
            let error = Error::new(Code::NotStarted, format!("base image {shown}: {why}"));
            if hint.is_empty() { error } else { error.hint(hint) }
        }
        Failure::Net(failure) => failure.into(),
    })
}

/// Reason why a base image was not read. [`read`] adds the name of the file.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Error of the operating system.
    Io(std::io::Error),
    /// The image cannot be used: the reason, and a hint about its file (can be empty).
    Refused(String, &'static str),
    /// A request failed.
    Net(net::Failure),
}

impl From<net::Failure> for Failure {
    fn from(failure: net::Failure) -> Self {
        Failure::Net(failure)
    }
}

impl From<std::io::Error> for Failure {
    fn from(cause: std::io::Error) -> Self {
        use std::io::ErrorKind::{InvalidData, UnexpectedEof, Unsupported};
        match cause.kind() {
            UnexpectedEof => Failure::Refused(cause.to_string(), store::DAMAGED),
            InvalidData | Unsupported => Failure::Refused(cause.to_string(), ""),
            // Errors of the decoders have no error number of the operating system.
            _ if cause.raw_os_error().is_none() => Failure::Refused(cause.to_string(), ""),
            _ => Failure::Io(cause),
        }
    }
}

pub(crate) fn refused(why: impl Into<String>) -> Failure {
    Failure::Refused(why.into(), "")
}

pub(crate) type Outcome<T> = std::result::Result<T, Failure>;

fn read_any(path: &Path, architecture: &str) -> Outcome<BaseImage> {
    let metadata = std::fs::metadata(path)?;
    if metadata.is_dir() {
        return read_directory(path, architecture);
    }
    if !metadata.is_file() {
        return Err(refused("neither a regular file nor a directory"));
    }
    let file = File::open(path)?;
    let head = appearance::head(&file)?;
    if decompress::detect(&head)? != decompress::Compression::None {
        return read_rootfs(&file);
    }
    if !appearance::is_tar(&head) {
        let hint = "pass a tar archive of a root file system, of `docker save`, or an OCI layout";
        return Err(Failure::Refused(
            format!("not an image; it looks like {}", appearance::name(&head)),
            hint,
        ));
    }
    let store = Store::archive(&file)?;
    if store.contains(layout::LAYOUT) && store.contains(layout::INDEX) {
        layout::read(&store, architecture)
    } else if store.contains(docker::MANIFEST) {
        docker::read(&store, architecture)
    } else {
        read_rootfs(&file)
    }
}

fn read_directory(path: &Path, architecture: &str) -> Outcome<BaseImage> {
    let store = Store::directory(path);
    if store.contains(layout::LAYOUT) && store.contains(layout::INDEX) {
        return layout::read(&store, architecture);
    }
    let hint = "pass an OCI layout (with oci-layout and index.json), or a root file system as a tar archive";
    Err(Failure::Refused("the directory is not an OCI layout".to_owned(), hint))
}

fn read_rootfs(file: &File) -> Outcome<BaseImage> {
    let (compression, reader) = decompress::decompress(Section::whole(file)?)?;
    let Contents { nodes, files, xattrs } = read_rootfs_stream(reader)?;
    let has = |name: &[u8]| tree::find(&nodes, name).is_some();
    if compression != decompress::Compression::None && (has(docker::MANIFEST) || has(layout::LAYOUT)) {
        // The members of an image archive are read in the order of its manifest.
        let why = "the image archive is compressed; it must be uncompressed".to_owned();
        return Err(Failure::Refused(why, "decompress it first: `gzip -d` or `zstd -d`"));
    }
    if ![&b"etc"[..], b"usr", b"bin"].into_iter().any(has) {
        let why = "the tar archive is neither an image nor a root file system: it has no /etc, /usr or /bin"
            .to_owned();
        return Err(Failure::Refused(why, "pass a tar archive whose paths start at the root directory"));
    }
    Ok(BaseImage { nodes, files, xattrs, ..BaseImage::default() })
}

fn read_rootfs_stream(reader: impl Read + Send) -> Outcome<Contents> {
    Ok(tar::read_tree(reader, &is_wanted)?)
}
