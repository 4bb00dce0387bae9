//! What the machine's archives offer: apt's sources, asked as apt asks them and verified as apt verifies them.
//!
//! * [`sources`] reads `sources.list(5)` in both formats, [`source`] is one entry, [`written`]
//!   writes the entries that a build can use.
//! * [`address`] knows apt's names for cached lists and whose password belongs to whom.
//! * [`signed`] takes signed text apart, [`keyring`] knows whose signature counts, [`release`] is what is signed.
//! * [`scan`] looks for packages in an index; [`cache`] holds those that apt has fetched, `index` fetches others.
//! * [`lists`] asks all sources and answers who offers what; [`whole`] reads the distribution's indexes from begin to end.
//! * [`snapshot`] looks for what no archive has any more in those that keep earlier states, which
//!   `snapshot_services` names.
//! * [`deb`] looks into package files.

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
