//! What dpkg and apt know about the machine, read from their files and never by running them.
//!
//! * [`deb822`] splits stanzas (`Field: value`) from bytes and survives damage.
//! * [`version`] orders versions, [`relation`] reads `Depends` and its like.
//! * [`dpkg`] turns the status database into [`Package`]s; it takes bytes, so it reads a base image's database too.
//! * [`admin`] reads what was set through dpkg's tools: diversions, stat overrides, alternatives.
//! * [`aliases`] maps `bin/ls` to `usr/bin/ls` on merged-`/usr` machines, [`filters`] is dpkg's `path-exclude`.
//! * [`owned`] holds every packaged path with owner and digest; [`database`] loads it all into a [`Catalog`].
//! * [`lock`] tells whether a package manager is at work meanwhile.
//! * [`graph`] answers which packages to name, to carry and to drop.
//! * [`Pin`] is one version of one package; what archives offer of them tells [`crate::apt`].
//!
//! Every parser takes `&[u8]`, returns what could be read and reports damage
//! as [`Problem`]s with line numbers; none of them panics or fails as a whole.

pub mod admin;
pub mod aliases;
pub mod database;
pub mod deb822;
pub mod dpkg;
pub mod filters;
pub mod graph;
pub mod lock;
pub mod owned;
mod pin;
pub mod relation;
pub mod rpm;
pub mod version;

pub use admin::{Alternative, Choice, Diversion, StatOverride};
pub use aliases::Aliases;
pub use database::Catalog;
pub use deb822::Problem;
pub use dpkg::{Conffile, MultiArch, Package, State, Want, parse_status, parse_status_d};
pub use filters::PathFilters;
pub use graph::Graph;
pub use owned::{Owned, OwnedFiles};
pub use pin::Pin;
pub use relation::{Group, Operator, Provision, Relation};
