//! The parameters and results of a walk.

use crate::model::digest::{Algorithm, Digest};
use crate::model::findings::Findings;
use crate::model::holes::{Coverage, LARGE_HOLES};
use crate::model::tree::{self, Kind, Node};
use crate::policy::content::Detection;
use crate::policy::{Policy, RuleId};
use crate::system::mounts::Mounts;
use std::sync::atomic::AtomicU64;

/// Size up to which a file that is withheld by its name can be the copy of a package's template.
pub(super) const LARGEST_TEMPLATE: u64 = 64 << 10;

/// Parameters of a walk: which paths to read and what to determine about them.
pub struct Scope<'a> {
    /// Rules that exclude paths from being read; `None` reads every path.
    pub policy: Option<&'a Policy>,
    /// Mount table, to recognize directories of other file systems.
    pub mounts: &'a Mounts,
    /// Device and inode of vm2docker-self's own files (output, executable), which are skipped.
    pub ours: &'a [(u64, u64)],
    /// Returns the algorithm of the digest that a package database claims for a path.
    pub claimed: &'a (dyn Fn(&[u8]) -> Option<Algorithm> + Sync),
    /// Returns whether to read the content of a path; other paths are only listed.
    pub content: &'a (dyn Fn(&[u8]) -> bool + Sync),
    /// Returns which bytes the digest of a path has to cover, given the size of its holes. `None`
    /// if no digest is needed: then a sparse file gets none.
    pub coverage: &'a (dyn Fn(&[u8], u64) -> Option<Coverage> + Sync),
    /// Returns whether a distribution publishes a file under this path. With an entry, returns
    /// whether the entry equals the published file. Published files are not searched for secrets.
    pub published: &'a (dyn Fn(&[u8], Option<&WalkedEntry>) -> bool + Sync),
    /// Counts for a progress display.
    pub progress: &'a Progress,
}

/// Progress of a walk.
#[derive(Debug, Default)]
pub struct Progress {
    /// Number of objects found.
    pub objects: AtomicU64,
    /// Number of bytes read.
    pub bytes: AtomicU64,
    /// Number of objects that the disk failed to read (`EIO`).
    pub faults: AtomicU64,
}

/// State of a regular file's content after the walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// The content was read, or the object is not a regular file.
    Known,
    /// The content was not read: a rule excludes the file, or [`Scope::content`] returned false.
    Unread,
    /// The content could not be read or changed during each read. A finding says why.
    Lost,
}

/// One object of the file system with the results of the walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalkedEntry {
    /// Path, type and metadata.
    pub node: Node,
    /// Policy rule for the path.
    pub rule: Option<RuleId>,
    /// State of the content.
    pub content: Content,
    /// Secret in the content, if there is a policy.
    pub secret: Option<Detection>,
    /// Whether a distribution publishes a file with this path and content.
    pub published: bool,
    /// Properties that few files have.
    pub extra: Option<Box<Extra>>,
}

/// Properties that few files have. They are separate because a machine can have millions of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extra {
    /// Digest by the algorithm of [`Scope::claimed`], if that is not SHA-256. Not computed for files
    /// with large holes.
    Claimed(Digest),
    /// A file with large holes.
    Sparse {
        /// Bytes for which the file system has allocated no blocks.
        unallocated: u64,
        /// Bytes that the digest of the content covers.
        coverage: Coverage,
    },
}

impl Extra {
    /// Returns `None` for a file with small holes or none, because they hardly matter.
    pub(super) fn sparse(unallocated: u64, coverage: Coverage) -> Option<Self> {
        let is_large = unallocated >= LARGE_HOLES || coverage == Coverage::Data;
        is_large.then_some(Extra::Sparse { unallocated, coverage })
    }
}

impl WalkedEntry {
    pub(super) fn new(node: Node, rule: Option<RuleId>, content: Content) -> Self {
        WalkedEntry { node, rule, content, secret: None, published: false, extra: None }
    }

    /// Returns the digest by the algorithm of [`Scope::claimed`], if that is not SHA-256.
    pub fn claimed(&self) -> Option<Digest> {
        if let Some(Extra::Claimed(digest)) = self.extra.as_deref() { Some(*digest) } else { None }
    }

    /// Returns the bytes of a file with large holes for which no blocks are allocated; 0 for others.
    pub fn unallocated(&self) -> u64 {
        if let Some(Extra::Sparse { unallocated, .. }) = self.extra.as_deref() { *unallocated } else { 0 }
    }

    /// Returns the bytes that the digest of the content covers.
    pub fn coverage(&self) -> Coverage {
        if let Some(Extra::Sparse { coverage, .. }) = self.extra.as_deref() {
            *coverage
        } else {
            Coverage::All
        }
    }

    /// Returns the digest of the content by this algorithm.
    ///
    /// Returns `None` if the walk did not compute it or the content is not known.
    pub fn digest(&self, algorithm: Algorithm) -> Option<Digest> {
        let Kind::File { sha256, .. } = self.node.kind else { return None };
        let known = match algorithm {
            Algorithm::Sha256 => sha256.filter(|_| self.coverage() == Coverage::All).map(Digest::Sha256),
            Algorithm::Md5 | Algorithm::Sha1 => self.claimed(),
        };
        known.filter(|digest| self.content == Content::Known && digest.algorithm() == algorithm)
    }
}

/// All objects under a root, sorted by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// Objects in the order of their paths.
    pub found: Vec<WalkedEntry>,
    /// Unreadable objects and skipped mounts.
    pub findings: Findings,
}

impl Tree {
    /// Returns the index of a path.
    pub fn index(&self, path: &[u8]) -> Option<usize> {
        self.found.binary_search_by(|found| (*found.node.path).cmp(path)).ok()
    }

    /// Returns the index of the object that a path leads to, following symbolic links.
    pub fn resolve(&self, path: &[u8]) -> Option<usize> {
        let real = tree::resolve(path, |link| match &self.found[self.index(link)?].node.kind {
            Kind::Symlink(target) => Some(target.to_vec()),
            _ => None,
        });
        self.index(&real)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walked_entry_is_small() {
        // A machine with a million files has a million of them, and 200 bytes per file in total.
        assert!(size_of::<WalkedEntry>() <= 128, "{} bytes", size_of::<WalkedEntry>());
    }
}
