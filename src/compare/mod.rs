//! Comparison of file systems, path by path: pure functions.
//!
//! - [`expected`]: what the base image and the package layer will put on the disk.
//! - [`diff`]: the machine against that.
//! - [`equal`]: what equality means, for `apply` and `verify`.

pub mod diff;
pub mod equal;
pub mod expected;
