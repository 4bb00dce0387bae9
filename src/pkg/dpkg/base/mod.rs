//! Contents of a base image that was not pulled: its packages, and their files.
//!
//! - [`published`] fetches published package lists; [`minbase`] computes the list as debootstrap
//!   does.
//! - [`package_list`] is such a list; [`contents`] returns the files of its packages.
//! - [`profile`] lists the differences between an image and the plain installation of its
//!   packages.

pub mod contents;
pub mod minbase;
pub mod package_list;
pub mod profile;
pub mod published;
