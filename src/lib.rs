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

pub mod apply;
pub mod apt;
pub mod archive;
pub mod archives;
pub mod base;
pub mod cli;
pub mod companion;
pub mod compress;
pub mod context;
pub mod convert;
pub mod detect;
pub mod diff;
pub mod emit;
pub mod equal;
pub mod error;
pub mod escape;
pub mod expected;
pub mod explain;
pub mod findings;
pub mod generated;
pub mod guard;
pub mod hash;
pub mod layer;
pub mod manifest;
pub mod merged_usr;
pub mod net;
pub mod out;
pub mod pace;
pub mod pkg;
pub mod plan;
pub mod policy;
pub mod registry;
pub mod removal;
pub mod report;
pub mod rewrite;
pub mod root;
pub mod run;
pub mod services;
pub mod summary;
pub mod tree;
pub mod units;
pub mod upload;
pub mod verify;
pub mod walk;
