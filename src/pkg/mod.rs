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
//! * [`Pin`] is one version of one package; what archives offer of them tells [`crate::pkg::dpkg::repository`].
//!
//! Every parser takes `&[u8]`, returns what could be read and reports damage
//! as [`Problem`]s with line numbers; none of them panics or fails as a whole.

pub mod dpkg;
pub mod plan;

pub mod aliases;
pub mod graph;
pub mod owned;
mod pin;
pub mod relation;
pub mod rpm;

pub use crate::model::problem::Problem;
pub use aliases::Aliases;
pub use dpkg::admin::{Alternative, Choice, Diversion, StatOverride};
pub use dpkg::database::Catalog;
pub use dpkg::filters::PathFilters;
pub use dpkg::status::{Conffile, MultiArch, Package, State, Want, parse_status, parse_status_d};
pub use graph::Graph;
pub use owned::{Owned, OwnedFiles};
pub use pin::Pin;
pub use relation::{Group, Operator, Provision, Relation};
