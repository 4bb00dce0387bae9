//! vm2docker-self turns the Linux machine it runs on into a container image that is provably that machine.

pub mod archive;
pub mod compress;
pub mod error;
pub mod escape;
pub mod findings;
pub mod pkg;
pub mod root;
pub mod tree;
