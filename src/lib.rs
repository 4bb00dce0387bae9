//! vm2docker-self turns the Linux machine it runs on into a container image that is provably that machine.

pub mod archive;
pub mod compress;
pub mod detect;
pub mod equal;
pub mod error;
pub mod escape;
pub mod findings;
pub mod hash;
pub mod manifest;
pub mod pkg;
pub mod policy;
pub mod root;
pub mod tree;
pub mod walk;
