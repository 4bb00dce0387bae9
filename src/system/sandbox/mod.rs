//! Sandbox: restricts this process so that an error in it cannot change the machine.
//!
//! There are three steps, each as early as the run allows:
//!
//! 1. [`mounts`]: in a mount namespace, every local file system is read-only and `noatime`.
//! 2. [`seccomp`]: a filter denies system calls that start programs, that change owners,
//!    permissions, extended attributes or timestamps, and that change mounts, clocks or modules.
//! 3. [`landlock`]: only the output directory can be changed. The seccomp filter also denies
//!    sockets.
//!
//! The output is written through file descriptors that were opened before the first step, because
//! these refer to the original, writable mounts.

mod landlock;
mod mounts;
mod seccomp;

use crate::error::{Code, Error, Result};
use rustix::process::{DumpableBehavior, Resource, Rlimit};
use serde::Serialize;
use std::os::fd::BorrowedFd;

/// Restrictions that are in effect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Sandbox {
    /// Number of file systems that are read-only for this process. `None` if the kernel or the
    /// container engine does not allow the remount.
    pub read_only: Option<usize>,
    /// Reason why no file system is read-only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
    /// Whether the seccomp filter is active (`seccomp(2)`).
    pub calls: bool,
    /// Whether Landlock restricts changes to the output directory (`landlock(7)`).
    pub writes: bool,
}

impl Sandbox {
    /// Enters the mount namespace and installs the seccomp filter.
    ///
    /// Must be called before any file of the machine is opened, and while no other thread works.
    /// Fails with exit code 20 if file systems cannot be made read-only and `required` is set.
    pub fn enter(required: bool) -> Result<Self> {
        // A core dump would contain file contents that this process has read.
        let none = Rlimit { current: Some(0), maximum: Some(0) };
        let _ = rustix::process::setrlimit(Resource::Core, none);
        let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
        let (read_only, why_not) = match mounts::make_read_only() {
            Ok(count) => (Some(count), None),
            Err(why) => (None, Some(why)),
        };
        if let Some(why) = why_not.as_ref().filter(|_| required) {
            return Err(Error::new(Code::NotStarted, format!("--require-readonly: {why}"))
                .hint("omit --require-readonly to continue without read-only mounts"));
        }
        Ok(Sandbox { read_only, why_not, calls: seccomp::forbid(seccomp::CHANGES), writes: false })
    }

    /// Restricts changes to `directory` and denies sockets.
    ///
    /// Afterwards, links in `/proc` of other processes cannot be read either (`landlock(7)`).
    pub fn restrict_writes(&mut self, directory: Option<BorrowedFd<'_>>) {
        // Landlock restricts a single thread, and threads inherit the restriction. So restrict
        // the existing worker threads and this one.
        let workers = rayon::broadcast(|_| landlock::only_in(directory));
        self.writes = workers.into_iter().all(|enforced| enforced) && landlock::only_in(directory);
        self.calls &= seccomp::forbid(seccomp::SOCKETS);
    }
}
