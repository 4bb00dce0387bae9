//! What a base image of Debian or Ubuntu contains, where the image itself cannot be read.
//!
//! - [`package_list`]: names and versions of its packages.
//! - [`published`]: the lists that the builders of the images publish.
//! - [`minbase`]: the list computed from the repositories' indexes.
//! - [`contents`]: the files of those packages.
//! - [`profile`]: how an image differs from the plain installation of its packages.

pub mod contents;
pub mod minbase;
pub mod package_list;
pub mod profile;
pub mod published;
