//! The machine cannot be changed, whatever the rest of this program does: doors are closed one after the other, each as soon
//! as nothing needs it any more.
//!
//! 1. [`mounts`]: a mount namespace of our own in which every local file system is read-only and keeps no access times.
//! 2. [`seccomp`]: no program is started; no owner, mode, attribute or time is set; no mount, clock or module is changed.
//! 3. [`landlock`]: nothing is made, written or removed but in the output directory; no socket is opened.
//!
//! The output is reached through descriptors from before the first step, which belong to the machine's own mounts.

mod landlock;
mod mounts;
mod seccomp;

use crate::error::{Code, Error, Result};
use rustix::process::{DumpableBehavior, Resource, Rlimit};
use serde::Serialize;
use std::os::fd::BorrowedFd;

/// Which doors are closed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Sandbox {
    /// How many file systems are read-only for this process; nothing where the kernel or the container does not allow it.
    pub read_only: Option<usize>,
    /// Why they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
    /// Whether the kernel refuses programs, and changes of owners, modes, attributes, times, mounts (`seccomp(2)`).
    pub calls: bool,
    /// Whether the kernel refuses all writes but to the output (`landlock(7)`).
    pub writes: bool,
}

impl Sandbox {
    /// Closes the first doors; to be called before any file of the machine is opened, while there is one thread that works.
    ///
    /// Code 20 where the mounts cannot be made read-only and `required` says that they must.
    pub fn enter(required: bool) -> Result<Self> {
        // No memory image of this process is written, which would hold what it has read.
        let none = Rlimit { current: Some(0), maximum: Some(0) };
        let _ = rustix::process::setrlimit(Resource::Core, none);
        let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
        let (read_only, why_not) = match mounts::make_read_only() {
            Ok(count) => (Some(count), None),
            Err(why) => (None, Some(why)),
        };
        if let Some(why) = why_not.as_ref().filter(|_| required) {
            return Err(Error::new(Code::NotStarted, format!("--require-readonly: {why}"))
                .hint("without it the run goes on; it opens nothing of the machine for writing anyway"));
        }
        Ok(Sandbox { read_only, why_not, calls: seccomp::forbid(seccomp::CHANGES), writes: false })
    }

    /// Closes the last: from now on the output is the only place that can be written to, and nobody can be talked to. `/proc`
    /// of other processes cannot be read any more.
    pub fn restrict_writes(&mut self, directory: Option<BorrowedFd<'_>>) {
        // Landlock takes one thread at a time: this one, from which others will come, and those that are there.
        let shut = || landlock::only_in(directory);
        self.writes = rayon::broadcast(|_| shut()).into_iter().all(|shut| shut) && shut();
        self.calls &= seccomp::forbid(seccomp::SOCKETS);
    }
}
