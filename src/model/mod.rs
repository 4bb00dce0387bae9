//! The plain types that all stages share, and how their values are written.
//!
//! - [`tree`]: a file system as a sorted value.
//! - [`manifest`]: the same with a verdict for each path.
//! - [`digest`]: a digest of a file with its algorithm.
//! - [`findings`]: everything that was skipped, unstable, unreadable or withheld.
//! - [`problem`]: a line that a parser could not use.
//! - [`merged_usr`]: the links that make `/bin` and its like part of `/usr`.
//! - [`document`]: the schema that each JSON document names.
//! - [`openpgp`]: public keys of a file, and their validity.
//! - [`escape`] and [`size`]: bytes and sizes as readable text.

pub mod digest;
pub mod document;
pub mod escape;
pub mod findings;
pub mod holes;
pub mod manifest;
pub mod merged_usr;
pub mod openpgp;
pub mod problem;
pub mod size;
pub mod tree;
