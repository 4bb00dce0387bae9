//! Conversion of a system with directories `/bin`, `/lib` and `/sbin` to one where these are
//! links into `/usr`, as `usrmerge(7)` does it. Pure; `apply` moves the files.
//!
//! The official image of Debian 11 has no merged `/usr`, but a machine with that release can have
//! one. Packages unpack to the machine's paths only if the image is merged before the first
//! package is unpacked.

use super::tree::{self, Kind, Node};
use std::collections::BTreeMap;

/// Name in the root, and what it becomes a link to; both relative to the root.
pub type Link = (Box<[u8]>, Box<[u8]>);

/// The links that a merged `/usr` has, where they were not seen.
pub const USUAL: [(&str, &str); 6] = [
    ("bin", "usr/bin"),
    ("lib", "usr/lib"),
    ("lib32", "usr/lib32"),
    ("lib64", "usr/lib64"),
    ("libx32", "usr/libx32"),
    ("sbin", "usr/sbin"),
];

/// A tree after its `/usr` was merged, and how it got there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// The tree, sorted by path.
    pub nodes: Vec<Node>,
    /// From where, and what it is there; parents before what is in them. Whatever had that path
    /// goes.
    pub moves: Vec<(Box<[u8]>, Node)>,
    /// Old paths of objects that are replaced by another object of the same name.
    pub lost: Vec<Box<[u8]>>,
    /// Directories that are empty then and go, deepest last.
    pub emptied: Vec<Box<[u8]>>,
    /// Links that replace directories in the root.
    pub links: Vec<Node>,
}

/// Merges sorted `nodes`. Ignores a link that exists already, or that has no directory to
/// replace.
pub fn merge(nodes: Vec<Node>, links: &[Link]) -> Merged {
    let is_directory =
        |path: &[u8]| tree::find(&nodes, path).is_some_and(|index| nodes[index].kind == Kind::Directory);
    let links: Vec<&Link> = links.iter().filter(|(name, _)| is_directory(name)).collect();
    let mut merged = Merged::default();
    let mut tree: BTreeMap<Box<[u8]>, Node> = BTreeMap::new();
    let mut moving = Vec::new();
    for node in nodes {
        match links.iter().find(|(name, _)| tree::is_within(&node.path, name)) {
            Some(link) => moving.push((*link, node)),
            None => drop(tree.insert(node.path.clone(), node)),
        }
    }
    for ((name, target), node) in moving {
        let to: Box<[u8]> = [target, &node.path[name.len()..]].concat().into();
        let is_directory = node.kind == Kind::Directory;
        if is_directory {
            merged.emptied.push(node.path.clone());
        }
        if node.path == *name {
            let kind = Kind::Symlink(target.clone());
            merged.links.push(Node { kind, group: 0, xattrs: None, ..node.clone() });
        }
        if tree.get(&to).is_none_or(|there| is_replaced_by(there, &node)) {
            let moved = Node { path: to.clone(), ..node.clone() };
            merged.moves.push((node.path, moved.clone()));
            tree.insert(to, moved);
        } else if !is_directory {
            merged.lost.push(node.path);
        }
    }
    tree.extend(merged.links.iter().map(|link| (link.path.clone(), link.clone())));
    merged.nodes = tree.into_values().collect();
    tree::number_groups(&mut merged.nodes);
    merged
}

/// Whether the object in `/usr` is replaced: it is only a link that compensates for the missing
/// object, or it cannot contain the objects that follow.
fn is_replaced_by(there: &Node, moving: &Node) -> bool {
    match (&there.kind, &moving.kind) {
        (Kind::Directory, _) => false,
        (_, Kind::Directory) => true,
        (Kind::Symlink(_), kind) => !matches!(kind, Kind::Symlink(_)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tree::Stat;

    fn node(path: &str, kind: Kind, group: u32) -> Node {
        Node { path: path.as_bytes().into(), kind, stat: Stat::default(), group, xattrs: None }
    }

    fn file(path: &str, size: u64) -> Node {
        node(path, Kind::File { size, sha256: None }, 0)
    }

    fn link(path: &str, target: &str) -> Node {
        node(path, Kind::Symlink(target.as_bytes().into()), 0)
    }

    fn directory(path: &str) -> Node {
        node(path, Kind::Directory, 0)
    }

    fn sorted(mut nodes: Vec<Node>) -> Vec<Node> {
        nodes.sort_by(|one, other| one.path.cmp(&other.path));
        nodes
    }

    fn links() -> Vec<Link> {
        ["bin", "lib", "lib64"]
            .map(|name| (name.as_bytes().into(), format!("usr/{name}").into_bytes().into()))
            .to_vec()
    }

    fn split() -> Vec<Node> {
        sorted(vec![
            directory(""),
            directory("bin"),
            file("bin/sh", 1),
            link("bin/which", "/usr/bin/which"),
            node("bin/bzip2", Kind::File { size: 7, sha256: None }, 3),
            node("bin/bunzip2", Kind::File { size: 7, sha256: None }, 3),
            directory("lib"),
            directory("lib/udev"),
            file("lib/udev/rule", 2),
            directory("lib/own"),
            file("lib/own/x", 3),
            link("lib64", "usr/lib64"),
            directory("usr"),
            directory("usr/bin"),
            link("usr/bin/sh", "/bin/sh"),
            file("usr/bin/which", 4),
            directory("usr/lib"),
            directory("usr/lib/udev"),
            file("usr/lib/udev/other", 5),
            link("usr/lib/own", "/lib/own"),
            directory("srv"),
        ])
    }

    #[test]
    fn everything_moves_and_what_made_up_for_it_goes() {
        let merged = merge(split(), &links());
        let expected = sorted(vec![
            directory(""),
            link("bin", "usr/bin"),
            link("lib", "usr/lib"),
            link("lib64", "usr/lib64"),
            directory("srv"),
            directory("usr"),
            directory("usr/bin"),
            node("usr/bin/bunzip2", Kind::File { size: 7, sha256: None }, 1),
            node("usr/bin/bzip2", Kind::File { size: 7, sha256: None }, 1),
            file("usr/bin/sh", 1),
            file("usr/bin/which", 4),
            directory("usr/lib"),
            directory("usr/lib/own"),
            file("usr/lib/own/x", 3),
            directory("usr/lib/udev"),
            file("usr/lib/udev/other", 5),
            file("usr/lib/udev/rule", 2),
        ]);
        assert_eq!(merged.nodes, expected);
        let moves: Vec<(&str, &str)> = merged
            .moves
            .iter()
            .map(|(from, to)| (str::from_utf8(from).unwrap(), str::from_utf8(&to.path).unwrap()))
            .collect();
        assert_eq!(
            moves,
            [
                ("bin/bunzip2", "usr/bin/bunzip2"),
                ("bin/bzip2", "usr/bin/bzip2"),
                ("bin/sh", "usr/bin/sh"),
                ("lib/own", "usr/lib/own"),
                ("lib/own/x", "usr/lib/own/x"),
                ("lib/udev/rule", "usr/lib/udev/rule"),
            ]
        );
        assert_eq!(merged.lost, [Box::from(&b"bin/which"[..])]);
        let emptied = ["bin", "lib", "lib/own", "lib/udev"].map(|path| Box::from(path.as_bytes()));
        assert_eq!(merged.emptied, emptied);
    }

    #[test]
    fn merge_missing_directory_is_created_and_second_call_changes_nothing() {
        let split = merge(
            vec![directory(""), directory("lib64"), file("lib64/ld.so", 1), directory("usr")],
            &links(),
        );
        assert_eq!(
            split.nodes,
            [
                directory(""),
                link("lib64", "usr/lib64"),
                directory("usr"),
                directory("usr/lib64"),
                file("usr/lib64/ld.so", 1)
            ]
        );
        assert_eq!(split.moves[0], (b"lib64"[..].into(), directory("usr/lib64")));
        let again = merge(split.nodes.clone(), &links());
        assert_eq!(again, Merged { nodes: split.nodes, ..Merged::default() });
    }
}
