//! The base image: what is there before the first instruction of the Dockerfile.
//!
//! - [`layers`]: layer archives, one on top of the other.
//! - `store`: where an image's members lie: a directory or an uncompressed archive.
//! - `oci`: from an index to the image for an architecture, wherever the documents lie (image-spec:
//!   `image-index.md`, `manifest.md`, `config.md`).
//! - `layout`: OCI layouts (image-spec: `image-layout.md`).
//! - `docker`: what `docker save` wrote before version 25 (Docker Image Specification v1.2).
//! - `images`: which image a distribution's release belongs to.
//! - `profile`: how images differ from the installation of their packages.
//! - `appearance`: what a file is that is no image.
//!
//! Where the image itself cannot be read:
//!
//! - [`package_list`]: which packages it holds, and how that is known.
//! - [`published`]: the lists that the images' builders publish.
//! - [`minbase`]: the list computed from the archive's indexes.
//! - [`contents`]: which files it holds, by its packages.
//! - [`closest`]: which of the dated tags is nearest to the machine.

mod discovery;
pub mod image_layers;
pub mod registry;

mod appearance;
mod choice;
pub mod closest;
mod docker;
mod images;
mod layer;
mod layout;
pub(crate) mod oci;
pub(crate) mod store;

pub use crate::pkg::dpkg::base::profile::Profile;
pub use choice::{Base, BaseFrom, choose};
pub use discovery::{BaseContents, Discovery};
pub use images::{Image, of as image_of};

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

/// A base image, read from a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BaseImage {
    /// The reference that the file itself gives, or that was asked for: `debian:12`.
    pub name: Option<String>,
    /// `sha256:...` of the image's configuration: Docker's image ID. None for a root file system's archive.
    pub config_digest: Option<String>,
    /// `sha256:...` of what the name stands for in the registry, an index of all architectures or the manifest
    /// itself: what FROM is pinned to. None unless the image came from there.
    pub index_digest: Option<String>,
    /// `sha256:...` of the image's manifest for this architecture. It is the registry's own only where the
    /// file came from there unchanged: `docker save` without the containerd image store makes a new one.
    pub manifest_digest: Option<String>,
    /// Docker's name of the architecture, where the file says it.
    pub architecture: Option<String>,
    /// The operating system, `linux`, where the file says it.
    pub os: Option<String>,
    /// What a container gets unless the Dockerfile says otherwise.
    pub config: Config,
    /// Sorted by path, the root first; see [`Contents::nodes`].
    pub nodes: Vec<Node>,
    /// The contents of the files of [`is_wanted`] that are there, by path.
    pub files: BTreeMap<Box<[u8]>, Vec<u8>>,
    /// Which extended attributes appeared in the archives at all.
    pub xattrs: XattrClasses,
}

/// The execution parameters that an image's configuration holds (OCI image-spec, `config.md`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// `NAME=value`, in the image's order.
    pub env: Vec<String>,
    /// The command, or the arguments of the entry point.
    pub cmd: Vec<String>,
    /// What is run with the command as arguments.
    pub entrypoint: Vec<String>,
    /// Empty for the root directory.
    pub working_dir: String,
    /// `user[:group]` by name or number; empty for root.
    pub user: String,
}

/// Files whose contents later stages need.
pub fn is_wanted(path: &[u8]) -> bool {
    const ALWAYS: [&[u8]; 4] = [b"etc/group", b"etc/os-release", b"etc/passwd", b"usr/lib/os-release"];
    ALWAYS.contains(&path) || Family::ALL.iter().any(|family| family.manager().reads(path))
}

/// Reads a base image: a root file system's archive (plain, gzip, zstd), what `docker save` writes, or an
/// OCI layout as a directory or an archive. `architecture` is Docker's name (`amd64`, `arm64`, `arm/v7`).
///
/// Every digest that the file states is verified. Code 20 where the file is no such thing, holds another
/// architecture or several images, or contradicts itself; 1 where it cannot be read.
pub fn read(file: &Path, architecture: &str) -> Result<BaseImage> {
    let shown = escape::escape(file.as_os_str().as_encoded_bytes());
    read_any(file, architecture).map_err(|failure| match failure {
        Failure::Io(cause) => Error::io(format!("reading the base image {shown}"), cause),
        Failure::Refused(why, hint) => {
            let error = Error::new(Code::NotStarted, format!("base image {shown}: {why}"));
            if hint.is_empty() { error } else { error.hint(hint) }
        }
        Failure::Net(failure) => failure.into(),
    })
}

/// Why a base image was not read; [`read`] adds the file's name.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The disk.
    Io(std::io::Error),
    /// The image itself: why, and what to do about its file (empty for nothing).
    Refused(String, &'static str),
    /// The network.
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
            // The decoders' own errors carry no number of the operating system.
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
        let hint = "give a root file system's tar, the output of `docker save`, or an OCI layout";
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
    let hint = "an OCI layout has the files oci-layout and index.json; pack a root file system as a tar";
    Err(Failure::Refused("a directory that is no OCI layout".to_owned(), hint))
}

fn read_rootfs(file: &File) -> Outcome<BaseImage> {
    let (compression, reader) = decompress::decompress(Section::whole(file)?)?;
    let Contents { nodes, files, xattrs } = read_rootfs_stream(reader)?;
    let has = |name: &[u8]| tree::find(&nodes, name).is_some();
    if compression != decompress::Compression::None && (has(docker::MANIFEST) || has(layout::LAYOUT)) {
        let why = "a compressed image archive, which cannot be read out of order".to_owned();
        return Err(Failure::Refused(why, "decompress it first: `gzip -d` or `zstd -d`"));
    }
    if ![&b"etc"[..], b"usr", b"bin"].into_iter().any(has) {
        let why = "a tar archive, but neither an image nor a root file system: no /etc, /usr or /bin in it"
            .to_owned();
        return Err(Failure::Refused(why, "a root file system's tar begins at the root directory"));
    }
    Ok(BaseImage { nodes, files, xattrs, ..BaseImage::default() })
}

fn read_rootfs_stream(reader: impl Read + Send) -> Outcome<Contents> {
    Ok(tar::read_tree(reader, &is_wanted)?)
}
