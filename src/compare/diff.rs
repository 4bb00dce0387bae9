//! Comparison of the machine with what the lower layers will provide, path by path. Pure.

use super::expected::{ExpectedTree, Provided};
use crate::model::manifest::{Names, ProvidedBy};
use crate::model::tree::{Kind, Node};
use crate::walk::{Tree, WalkedEntry};

/// Comparison of one object of the machine with the lower layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// They provide exactly this object.
    Provided(ProvidedBy),
    /// They provide nothing certain under its path.
    Added,
    /// They provide another object.
    Changed,
}

/// Differences between the machine and the lower layers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// One change per object of the tree, in its order.
    pub changes: Vec<Change>,
    /// Paths that the lower layers contain and the machine does not, sorted.
    pub removed: Vec<Vec<u8>>,
}

/// Compares the machine with the lower layers.
pub fn diff(tree: &Tree, expected: &ExpectedTree<'_>) -> Delta {
    let changes = tree.found.iter().map(|found| change(found, expected)).collect();
    let is_there = |path: &[u8]| tree.index(path).is_some();
    let mut removed: Vec<Vec<u8>> =
        expected.paths().filter(|path| !is_there(path)).map(<[u8]>::to_vec).collect();
    removed.sort_unstable();
    removed.dedup();
    Delta { changes, removed }
}

fn change(found: &WalkedEntry, expected: &ExpectedTree<'_>) -> Change {
    let path = &found.node.path;
    if expected.beneath(path).is_some_and(|base| is_same(&found.node, base)) {
        return Change::Provided(ProvidedBy::Base);
    }
    match expected.given(path) {
        None => Change::Added,
        Some(given) if is_given(found, &given, expected.names()) => Change::Provided(given.layer()),
        Some(_) => Change::Changed,
    }
}

/// Whether a distribution publishes the file under this path. With `found`, also whether the
/// content on the machine is the published one.
pub fn is_published(path: &[u8], found: Option<&WalkedEntry>, expected: &ExpectedTree<'_>) -> bool {
    let digests = [expected.shipped(path), expected.seen(path)];
    let mut digests = digests.into_iter().flatten();
    match found {
        None => digests.next().is_some(),
        Some(found) => digests.any(|digest| found.digest(digest.algorithm()) == Some(digest)),
    }
}

fn is_given(found: &WalkedEntry, given: &Provided<'_>, names: &Names) -> bool {
    let is_file = matches!(found.node.kind, Kind::File { .. });
    match given {
        Provided::Exact(base) => is_same(&found.node, base),
        Provided::Package { digest, metadata, .. } => {
            let same_content = match digest {
                Some(digest) => found.digest(digest.algorithm()) == Some(*digest),
                None => !is_file,
            };
            same_content && metadata.is_none_or(|metadata| metadata.matches(&found.node, names))
        }
    }
}

/// Whether content and metadata are equal. Timestamps are not compared, because those of the base
/// image are as good. The plan compares hard links, because that needs the whole group.
fn is_same(node: &Node, base: &Node) -> bool {
    let stat = |node: &Node| (node.stat.mode, node.stat.uid, node.stat.gid);
    let known = !matches!(node.kind, Kind::File { sha256: None, .. });
    known && node.kind == base.kind && stat(node) == stat(base) && node.xattrs == base.xattrs
}
