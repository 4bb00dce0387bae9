//! Properties of a path that the directories above it determine: a live database, a nested root.

use crate::policy::{Engine, Policy, RuleId, Sign};
use rustix::fd::OwnedFd;
use std::sync::Arc;

/// Properties of a path that the directories above it determine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Surroundings {
    /// Rule of the live database that contains the path.
    pub(super) database: Option<RuleId>,
    /// Length of the path of the innermost nested root, with its slash; 0 if there is none.
    pub(super) root: usize,
}

impl Surroundings {
    /// Returns the rule for a path.
    pub(super) fn rule(self, path: &[u8], policy: &Policy) -> Option<RuleId> {
        let rule = policy.for_path(path, self.database);
        // A chroot, a container or a snapshot has its secrets in the same places as the machine.
        rule.or_else(|| policy.for_secret(path.get(self.root..).filter(|_| self.root > 0)?))
    }
}

/// The directory whose entries are being walked.
pub(super) struct OpenDirectory {
    pub(super) fd: Arc<OwnedFd>,
    pub(super) device: u64,
    pub(super) sign: Option<Sign>,
    /// Properties of all its entries.
    pub(super) surroundings: Surroundings,
}

impl OpenDirectory {
    /// Returns the properties of an entry of this directory.
    pub(super) fn around(&self, name: &[u8], policy: Option<&Policy>) -> Surroundings {
        let database = self.surroundings.database.or_else(|| Some(policy?.for_engine(self.engine(name)?)));
        Surroundings { database, ..self.surroundings }
    }

    /// Returns the database engine to which an entry of this directory belongs.
    fn engine(&self, name: &[u8]) -> Option<Engine> {
        match self.sign.as_ref()? {
            Sign::Directory(engine) => Some(*engine),
            Sign::Files(engine, files) => {
                files.binary_search_by(|file| (**file).cmp(name)).is_ok().then_some(*engine)
            }
        }
    }
}

/// Whether a directory with these names is a root (`hier(7)`).
pub(super) fn is_root(names: &[Vec<u8>]) -> bool {
    ["etc", "usr", "var"].iter().all(|name| names.iter().any(|found| found == name.as_bytes()))
}
