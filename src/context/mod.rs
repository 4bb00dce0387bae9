//! Reader and writer of the build context, as files.
//!
//! - [`tar`]: the archives in it, and those of base images and packages.
//! - [`compress`] and [`decompress`]: gzip, xz and zstd.
//! - [`stream`]: readers that hash or read ahead.
//! - [`output`]: the directory or the connection that a context is written to.
//! - [`reader`]: a finished context, checked against its `COMPLETE` file.
//! - [`recipient`]: encryption of the withheld files.

pub mod compress;
pub mod decompress;
pub mod output;
pub mod reader;
pub mod recipient;
pub mod stream;
pub mod tar;

/// Directory on which the build mounts the context's parts. During a build step `/dev` is a file
/// system in memory, so no layer contains the mount point. In other directories, Docker 20.10
/// leaves an empty directory behind.
pub const MOUNT: &str = "/dev/vm2docker";
