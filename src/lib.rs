//! vm2docker-self turns the Linux machine it runs on into a container image that is provably that machine.
//!
//! ```text
//! detect ──► Inventory     os, architecture, mounts, users, service
//! pkg    ──► Catalog       installed packages, dependency graph, owned files with digests
//! base   ──► Base          the image that is built FROM, as far as it is known
//! layer  ──► PackageLayer  where the image gets every package from            pure
//! expected ► ExpectedTree  what the layers below surely give, path by path    pure
//! walk   ──► Tree          what is on disk
//! diff   ──► Delta         given, added, changed, removed                     pure
//! plan   ──► Plan          every decision with its reason                     pure; --dry-run stops here
//! emit   ──► context       the directory that `apply` and `verify` read
//! ```
//!
//! One plain, sorted type per stage. `/` is opened in one place ([`root`]) and
//! passed down; names are bytes ([`escape`] shows them); nothing of the machine
//! is ever executed. `docs/architecture.md` has the reasons.

pub mod commands;
pub mod compare;
pub mod context;
pub mod image;
pub mod model;
pub mod system;
pub mod transfer;

pub mod apply;
pub mod cli;
pub mod detect;
pub mod emit;
pub mod error;
mod glob;
pub mod pipeline;
pub mod pkg;
pub mod plan;
pub mod policy;
pub mod report;
pub mod rewrite;
pub mod services;
pub mod summary;
pub mod walk;
