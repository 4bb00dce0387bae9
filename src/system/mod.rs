//! Interface to the operating system.
//!
//! - [`root`]: root directory to convert; every path is resolved below it.
//! - [`mounts`]: parser and classification of the mount table.
//! - [`file`](mod@file): opens files without changing access times and detects changes while
//!   reading.
//! - [`cache_neutral`]: reads files without changing the page cache.
//! - [`sandbox`]: read-only mounts, seccomp, Landlock.
//! - [`throttle`]: low priority, and pauses while other processes need the disk.
//! - [`child`]: child process that starts before the sandbox.
//! - [`console`]: standard output and standard error.

pub mod cache_neutral;
pub mod child;
pub mod console;
pub mod file;
pub mod mounts;
pub mod root;
pub mod sandbox;
pub mod throttle;
