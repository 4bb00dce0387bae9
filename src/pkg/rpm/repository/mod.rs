//! The machine's repositories, as yum, dnf and zypper have them configured.
//!
//! - [`config`] reads `.repo` files, [`variables`] replaces their variables.
//! - `mirrors` parses lists of mirrors and metalinks; `metadata` fetches `repomd.xml` and the list
//!   of packages, and verifies checksums and signatures; `cache` reads the metadata that the
//!   machine's tools have stored.
//! - [`offers`] queries all repositories for the machine's packages.
//! - [`written`] writes the usable repositories for the build.

mod cache;
pub mod config;
mod metadata;
mod mirrors;
pub(super) mod offers;
#[cfg(test)]
mod offers_tests;
pub(super) mod variables;
pub(super) mod written;
