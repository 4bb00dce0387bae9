//! What a walk is told and what it returns.

use crate::model::digest::{Algorithm, Digest};
use crate::model::findings::Findings;
use crate::model::tree::{Kind, Node};
use crate::policy::content::Detection;
use crate::policy::{Policy, RuleId};
use crate::system::mounts::Mounts;
use std::sync::atomic::AtomicU64;

/// What to walk and what to find out.
pub struct Scope<'a> {
    /// Which paths are not read; without one, every path is.
    pub policy: Option<&'a Policy>,
    /// Which directories belong to other file systems.
    pub mounts: &'a Mounts,
    /// Device and inode of what is ours (output, binary) and no part of the machine.
    pub ours: &'a [(u64, u64)],
    /// Returns the algorithm of the digest that a package claims for a path.
    pub claimed: &'a (dyn Fn(&[u8]) -> Option<Algorithm> + Sync),
    /// Paths whose content is of interest; others are only listed.
    pub content: &'a (dyn Fn(&[u8]) -> bool + Sync),
    /// Paths whose digest is used. Another file with holes has none, and they are not read.
    pub digest: &'a (dyn Fn(&[u8]) -> bool + Sync),
    /// Whether distributions publish what should be under a path and, given what was found there, whether it is that:
    /// published files hold no secrets, so they are not searched for any.
    pub published: &'a (dyn Fn(&[u8], Option<&WalkedEntry>) -> bool + Sync),
    /// Counts for a progress display.
    pub progress: &'a Progress,
}

/// How far the walk is.
#[derive(Debug, Default)]
pub struct Progress {
    /// Objects seen.
    pub objects: AtomicU64,
    /// Bytes read.
    pub bytes: AtomicU64,
    /// Objects that the disk could not give (`EIO`).
    pub faults: AtomicU64,
}

/// What became of a regular file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Read, or nothing to read: not a regular file.
    Known,
    /// Not read: a rule keeps it out of the image, or nobody asked.
    Unread,
    /// Could not be read, or kept changing; there is a finding.
    Lost,
}

/// One object with what the walk found out about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalkedEntry {
    /// The object.
    pub node: Node,
    /// The policy's rule for it.
    pub rule: Option<RuleId>,
    /// Whether the content is known.
    pub content: Content,
    /// The digest that a package claims, where [`Scope::claimed`] asked for one that is not SHA-256.
    pub claimed: Option<Box<Digest>>,
    /// The secret that its content holds, if there is a policy.
    pub secret: Option<Detection>,
    /// Whether distributions publish this very content.
    pub published: bool,
}

impl WalkedEntry {
    pub(super) fn new(node: Node, rule: Option<RuleId>, content: Content) -> Self {
        WalkedEntry { node, rule, content, claimed: None, secret: None, published: false }
    }

    /// Returns the digest of its content by this algorithm, if the walk computed it and the file held still.
    pub fn digest(&self, algorithm: Algorithm) -> Option<Digest> {
        let Kind::File { sha256, .. } = self.node.kind else { return None };
        let known = match algorithm {
            Algorithm::Sha256 => sha256.map(Digest::Sha256),
            Algorithm::Md5 | Algorithm::Sha1 => self.claimed.as_deref().copied(),
        };
        known.filter(|digest| self.content == Content::Known && digest.algorithm() == algorithm)
    }
}

/// Everything under a root, sorted by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// The objects.
    pub found: Vec<WalkedEntry>,
    /// What could not be read, and mounts that were left alone.
    pub findings: Findings,
}
