//! vm2docker-self turns the Linux machine it runs on into a container image that is provably that machine.

pub mod archive;
pub mod base;
pub mod compress;
pub mod detect;
pub mod diff;
pub mod equal;
pub mod error;
pub mod escape;
pub mod expected;
pub mod findings;
pub mod generated;
pub mod hash;
pub mod layer;
pub mod manifest;
pub mod pkg;
pub mod plan;
pub mod policy;
pub mod rewrite;
pub mod root;
pub mod summary;
pub mod tree;
pub mod walk;
