//! Turns the Linux machine that it runs on into container images whose files match the machine.
//!
//! ```text
//! detect   ─► Inventory        os, architecture, mounts, users, processes, sockets, units
//! pkg      ─► Catalog          installed packages, dependencies, owned files with digests
//! image    ─► Base             the image to build FROM, and its contents as far as they are known
//! pkg::plan ► PackagePlan      where the image gets every package from                 pure
//! compare  ─► ExpectedTree     what the lower layers will certainly provide            pure
//! walk     ─► Tree             what is on disk
//! compare  ─► Delta            provided, added, changed, removed                       pure
//! plan     ─► Plan             every decision with its reason; --dry-run stops here    pure
//! services ─► Workload         one container per application service
//! emit     ─► context          the directory that `apply` and `verify` read
//! transfer ─► Receipt          the context on a server, confirmed
//! ```
//!
//! [`pipeline::convert`] is this list as code. Each stage has one plain, sorted type. The root
//! directory is opened in one place ([`system::root`]) and passed down. Names are bytes
//! ([`model::escape`] displays them). Nothing on the machine is executed.
//! `docs/how-it-works.md` describes each stage, `docs/decisions/` the reasons.

mod apply;
pub mod cli;
pub mod commands;
mod compare;
pub mod context;
pub mod detect;
mod emit;
pub mod error;
mod glob;
pub mod image;
pub mod model;
mod pipeline;
pub mod pkg;
mod plan;
pub mod policy;
mod preflight;
mod report;
pub mod rewrite;
mod services;
mod summary;
pub mod system;
pub mod transfer;
mod walk;
