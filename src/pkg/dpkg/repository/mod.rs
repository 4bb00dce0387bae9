//! The machine's repositories: apt's sources, queried and verified as apt does it.
//!
//! - [`sources`] reads both formats of sources.list(5) into [`source`]; [`written`] writes those
//!   that a build can use.
//! - [`address`] parses URIs, returns apt's names of cached lists and matches passwords to
//!   repositories.
//! - [`signed`] parses signed text, [`keyring`] verifies signatures, [`release`] parses the
//!   signed text.
//! - [`scan`] searches packages in an index; [`cache`] has the indexes that apt fetched, `index`
//!   fetches others.
//! - [`lists`] queries all sources and records their offers; [`whole`] reads complete indexes of
//!   the distribution.
//! - [`snapshot`] searches packages that no repository has any more in the snapshot repositories
//!   of `snapshot_services`.
//! - [`deb`] reads package files.

pub mod address;
mod ar;
pub mod cache;
pub mod date;
pub mod deb;
mod deb822_sources;
mod index;
pub mod keyring;
pub mod lists;
mod one_line_sources;
pub mod release;
pub mod scan;
pub mod signed;
pub mod snapshot;
mod snapshot_services;
pub mod source;
pub mod sources;
pub mod whole;
pub mod written;

pub use lists::{Lists, Query, Repository, RepositoryPackage, RepositoryStatus, ask};
pub use source::{Signer, Source};

#[cfg(test)]
mod keyring_tests;
#[cfg(test)]
mod lists_tests;
#[cfg(test)]
mod mirror;
#[cfg(test)]
mod snapshot_tests;
