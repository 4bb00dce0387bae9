//! The operating system's side: where the machine is read from and what keeps it unchanged.
//!
//! - [`root`]: the file system to convert, opened once; every path is resolved beneath it.
//! - [`mounts`]: which file systems it consists of.
//! - [`file`](mod@file): opening and reading a regular file without a trace; [`cache_neutral`] leaves the page cache as it was.
//! - [`sandbox`]: read-only mounts, seccomp, Landlock.
//! - [`throttle`]: low priority, and pauses while others need the disk.
//! - [`child`]: a process of this program that was started before the sandbox.
//! - [`console`]: standard output and standard error.

pub mod cache_neutral;
pub mod child;
pub mod console;
pub mod file;
pub mod mounts;
pub mod root;
pub mod sandbox;
pub mod throttle;
