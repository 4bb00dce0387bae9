//! Comparison of the image with the manifest, path by path: the definition of "equal".
//!
//! Type, mode, owner, size, content, link target, device numbers, hard-link
//! groups, `security.capability`, POSIX ACLs and `user.*`; the modification
//! time to the second of everything that the delta carries, directories
//! excepted; and no path that the manifest does not have.

use crate::model::escape;
use crate::model::manifest::{ProvidedBy, Record, Verdict};
use crate::model::tree::{self, Kind, Node, Xattrs};
use std::collections::{HashMap, HashSet};

/// One respect in which an object is not what the manifest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Aspect {
    /// Not there.
    Missing,
    /// There, and not in the manifest.
    Unexpected,
    /// Another type of object.
    Type,
    /// Other bytes, or another length.
    Content,
    /// Another link target.
    Target,
    /// Other device numbers.
    Device,
    /// Another owner or group.
    Owner,
    /// Other permission bits.
    Mode,
    /// Other extended attributes or ACLs.
    Xattrs,
    /// Not the same inode as the paths that it should be one with, or one with others.
    HardLinks,
    /// Another modification time.
    Mtime,
}

/// A path that is not equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Where.
    pub path: Box<[u8]>,
    /// The differing aspects, each with both values as text.
    pub aspects: Vec<(Aspect, String)>,
}

impl Difference {
    /// Whether one of the respects is `aspect`.
    pub fn is(&self, aspect: &Aspect) -> bool {
        self.aspects.iter().any(|(other, _)| other == aspect)
    }
}

/// Returns the difference as one line of text.
pub fn describe(difference: &Difference) -> String {
    let texts: Vec<&str> = difference.aspects.iter().map(|(_, text)| text.as_str()).collect();
    format!("{}: {}", escape::display(&difference.path), texts.join("; "))
}

/// How much of an object the place that is compared can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// POSIX ACLs and `user.*`; a `docker export` stream has neither.
    pub acls_and_user: bool,
    /// `security.capability`.
    pub capabilities: bool,
}

impl View {
    /// A mounted file system shows everything.
    pub const FULL: View = View { acls_and_user: true, capabilities: true };

    /// Whether an attribute of this name can be seen.
    pub fn shows(self, name: &[u8]) -> bool {
        if name == b"security.capability" { self.capabilities } else { self.acls_and_user }
    }
}

/// Whether engines and container runtimes create the path or mount over it, so that the image
/// does not determine it. The root directory is such a path: Docker and Buildah each set their
/// own mode.
pub fn is_runtimes(path: &[u8]) -> bool {
    const FILES: &[&[u8]] = &[
        b".dockerenv",
        b"etc/hostname",
        b"etc/hosts",
        b"etc/mtab",
        b"etc/resolv.conf",
        b"run/.containerenv",
    ];
    let mounted = [&b"dev"[..], b"proc", b"sys"].iter().any(|directory| tree::is_within(path, directory));
    path.is_empty() || FILES.contains(&path) || mounted
}

/// Returns every path that differs. `expected` and `actual` must be sorted by path. Only records
/// that are in the image count. Files of a package database that the build writes are not compared.
pub fn differences(expected: &[Record], actual: &[Node], view: View) -> Vec<Difference> {
    let built = expected.iter().filter(|record| record.verdict == Verdict::Built);
    let built: HashSet<&[u8]> = built.map(|record| &*record.node.path).collect();
    let expected: Vec<&Record> = expected.iter().filter(|record| counts(record)).collect();
    let is_compared = |node: &&Node| !is_runtimes(&node.path) && !built.contains(&*node.path);
    let actual: Vec<&Node> = actual.iter().filter(is_compared).collect();
    let wanted_links = leaders(expected.iter().map(|record| &record.node));
    let actual_links = leaders(actual.iter().copied());
    let mut differences = Vec::new();
    let mut report = |path: &[u8], aspects: Vec<(Aspect, String)>| {
        if !aspects.is_empty() {
            differences.push(Difference { path: path.into(), aspects });
        }
    };
    let mut rest = actual.into_iter().peekable();
    for record in expected {
        let path = &record.node.path;
        while let Some(extra) = rest.next_if(|node| node.path < *path) {
            report(&extra.path, unexpected(extra));
        }
        let Some(node) = rest.next_if(|node| node.path == *path) else {
            report(path, vec![(Aspect::Missing, format!("missing ({})", record.node.kind.name()))]);
            continue;
        };
        let mut aspects = compare(record, node, view);
        if leader(&wanted_links, &record.node) != leader(&actual_links, node)
            && !has_type_difference(&aspects)
        {
            aspects.push((Aspect::HardLinks, "hard links differ".to_owned()));
        }
        report(path, aspects);
    }
    for extra in rest {
        report(&extra.path, unexpected(extra));
    }
    differences
}

/// Whether the record's path is one that the image decides about.
pub fn counts(record: &Record) -> bool {
    record.verdict.in_image() && !is_runtimes(&record.node.path)
}

fn unexpected(node: &Node) -> Vec<(Aspect, String)> {
    vec![(Aspect::Unexpected, format!("not on the machine ({})", node.kind.name()))]
}

fn has_type_difference(aspects: &[(Aspect, String)]) -> bool {
    aspects.iter().any(|(aspect, _)| *aspect == Aspect::Type)
}

/// First name of each hard-link group.
fn leaders<'a>(nodes: impl Iterator<Item = &'a Node>) -> HashMap<u32, &'a [u8]> {
    let mut leaders = HashMap::new();
    for node in nodes.filter(|node| node.group != 0) {
        leaders.entry(node.group).or_insert(&*node.path);
    }
    leaders
}

fn leader<'a>(leaders: &HashMap<u32, &'a [u8]>, node: &'a Node) -> &'a [u8] {
    leaders.get(&node.group).copied().unwrap_or(&node.path)
}

fn compare(record: &Record, actual: &Node, view: View) -> Vec<(Aspect, String)> {
    let expected = &record.node;
    if !expected.kind.same_type(&actual.kind) {
        return vec![(
            Aspect::Type,
            format!("a {}, expected a {}", actual.kind.name(), expected.kind.name()),
        )];
    }
    let mut aspects = Vec::new();
    match (&expected.kind, &actual.kind) {
        (Kind::File { size, .. }, Kind::File { size: other, .. }) if size != other => {
            aspects.push((Aspect::Content, format!("{other} bytes, expected {size}")));
        }
        (Kind::File { sha256, .. }, Kind::File { sha256: other, .. }) if sha256 != other => {
            aspects.push((Aspect::Content, "content differs".to_owned()));
        }
        (Kind::Symlink(target), Kind::Symlink(other)) if target != other => {
            let text = format!("points to {}, expected {}", escape::escape(other), escape::escape(target));
            aspects.push((Aspect::Target, text));
        }
        (kind, other) if device(kind) != device(other) => {
            aspects
                .push((Aspect::Device, format!("device {:?}, expected {:?}", device(other), device(kind))));
        }
        _ => {}
    }
    let (stat, other) = (&expected.stat, &actual.stat);
    if (stat.uid, stat.gid) != (other.uid, other.gid) {
        let text = format!("owner {}:{}, expected {}:{}", other.uid, other.gid, stat.uid, stat.gid);
        aspects.push((Aspect::Owner, text));
    }
    // A symbolic link's own mode means nothing (symlink(7)).
    if stat.mode != other.mode && !matches!(expected.kind, Kind::Symlink(_)) {
        aspects.push((Aspect::Mode, format!("mode {:04o}, expected {:04o}", other.mode, stat.mode)));
    }
    let names = differing_xattrs(expected.xattrs.as_deref(), actual.xattrs.as_deref(), view);
    if !names.is_empty() {
        aspects.push((Aspect::Xattrs, format!("attributes differ: {}", names.join(", "))));
    }
    let carried = record.layer == Some(ProvidedBy::Delta) && expected.kind != Kind::Directory;
    if carried && stat.mtime != other.mtime {
        aspects.push((Aspect::Mtime, format!("modified at {}, expected {}", other.mtime, stat.mtime)));
    }
    aspects
}

fn device(kind: &Kind) -> Option<(u32, u32)> {
    match kind {
        Kind::CharDevice(major, minor) | Kind::BlockDevice(major, minor) => Some((*major, *minor)),
        _ => None,
    }
}

fn differing_xattrs(expected: Option<&Xattrs>, actual: Option<&Xattrs>, view: View) -> Vec<String> {
    let empty = Xattrs::new();
    let (expected, actual) = (expected.unwrap_or(&empty), actual.unwrap_or(&empty));
    let mut names: Vec<&[u8]> = expected.keys().chain(actual.keys()).map(|name| &**name).collect();
    names.sort_unstable();
    names.dedup();
    names.retain(|name| view.shows(name) && expected.get(*name) != actual.get(*name));
    names.into_iter().map(escape::escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::holes::Coverage;
    use crate::model::tree::Stat;

    fn file(path: &str, group: u32) -> Node {
        let stat = Stat { mode: 0o644, uid: 1, gid: 2, mtime: 5, mtime_nsec: 6 };
        let kind = Kind::File { size: 3, sha256: Some([1; 32]) };
        let xattrs = Xattrs::from([(b"user.a"[..].into(), b"v"[..].into())]);
        Node { path: path.as_bytes().into(), kind, stat, group, xattrs: Some(Box::new(xattrs)) }
    }

    fn record(node: Node) -> Record {
        let (layer, reason) = (Some(ProvidedBy::Delta), String::new());
        Record { node, coverage: Coverage::All, verdict: Verdict::Keep, layer, reason }
    }

    fn aspects(expected: &[Record], actual: &[Node], view: View) -> Vec<(String, Aspect)> {
        let pairs = differences(expected, actual, view).into_iter().flat_map(|difference| {
            let path = escape::escape(&difference.path);
            difference.aspects.into_iter().map(move |(aspect, _)| (path.clone(), aspect))
        });
        pairs.collect()
    }

    #[test]
    fn each_respect_is_seen_alone() {
        type Mutation = (Aspect, fn(&mut Node));
        let mutations: [Mutation; 9] = [
            (Aspect::Type, |node| node.kind = Kind::Fifo),
            (Aspect::Content, |node| node.kind = Kind::File { size: 4, sha256: Some([1; 32]) }),
            (Aspect::Content, |node| node.kind = Kind::File { size: 3, sha256: Some([2; 32]) }),
            (Aspect::Owner, |node| node.stat.uid = 9),
            (Aspect::Owner, |node| node.stat.gid = 9),
            (Aspect::Mode, |node| node.stat.mode = 0o4644),
            (Aspect::Mtime, |node| node.stat.mtime = 4),
            (Aspect::Xattrs, |node| node.xattrs = None),
            (Aspect::HardLinks, |node| node.group = 7),
        ];
        let expected = [record(file("a", 0)), record(file("b", 0))];
        for (aspect, mutate) in mutations {
            let mut actual = [file("a", 0), file("b", 7)];
            mutate(&mut actual[0]);
            if aspect != Aspect::HardLinks {
                actual[1].group = 0;
                assert_eq!(aspects(&expected, &actual, View::FULL), [("a".to_owned(), aspect)]);
            } else {
                assert_eq!(aspects(&expected, &actual, View::FULL), [("b".to_owned(), aspect)]);
            }
        }
        assert_eq!(aspects(&expected, &[file("a", 0), file("b", 0)], View::FULL), []);
    }

    #[test]
    fn missing_and_unexpected_paths_are_named_and_the_runtimes_own_are_not() {
        let expected = [record(file("b", 0)), record(file("etc/hosts", 0))];
        let actual = [file(".dockerenv", 0), file("a", 0), file("c", 0), file("dev/console", 0)];
        let found = aspects(&expected, &actual, View::FULL);
        let wanted = [("a", Aspect::Unexpected), ("b", Aspect::Missing), ("c", Aspect::Unexpected)];
        assert_eq!(found, wanted.map(|(path, aspect)| (path.to_owned(), aspect)));
    }

    #[test]
    fn differences_attributes_outside_view_are_ignored() {
        let mut bare = file("a", 0);
        bare.xattrs = None;
        let export = View { acls_and_user: false, capabilities: true };
        assert_eq!(aspects(&[record(file("a", 0))], &[bare], export), []);
    }

    #[test]
    fn differences_dropped_path_in_image_is_unexpected() {
        let dropped = Record { verdict: Verdict::Drop, ..record(file("a", 0)) };
        assert_eq!(aspects(&[dropped], &[file("a", 0)], View::FULL), [("a".to_owned(), Aspect::Unexpected)]);
    }

    #[test]
    fn differences_built_database_is_not_compared() {
        let built = Record { verdict: Verdict::Built, ..record(file("a", 0)) };
        let changed = Node { kind: Kind::File { size: 4, sha256: None }, ..file("a", 0) };
        assert_eq!(aspects(std::slice::from_ref(&built), &[changed], View::FULL), []);
        assert_eq!(aspects(&[built], &[], View::FULL), []);
    }

    #[test]
    fn times_count_only_for_what_the_delta_carries() {
        let mut given = record(file("a", 0));
        given.layer = Some(ProvidedBy::Base);
        let mut other = file("a", 0);
        other.stat.mtime = 99;
        assert_eq!(aspects(&[given], &[other], View::FULL), []);
    }
}
