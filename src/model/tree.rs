//! A file system as a sorted value.

use super::digest::Sha256;
use std::collections::BTreeMap;

/// Extended attributes by full name (`security.capability`, `user.comment`).
pub type Xattrs = BTreeMap<Box<[u8]>, Box<[u8]>>;

/// Owner, permissions and time, as `lstat(2)` gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Stat {
    /// Permission bits with setuid, setgid and sticky; no type bits.
    pub mode: u16,
    /// Owner by number.
    pub uid: u32,
    /// Group by number.
    pub gid: u32,
    /// Last modification: seconds since 1970, negative before.
    pub mtime: i64,
    /// The nanoseconds of `mtime`.
    pub mtime_nsec: u32,
}

/// The type of an object with what only that type has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file. `sha256` is `None` where the content was not read.
    File {
        /// Length in bytes.
        size: u64,
        /// Digest of the content.
        sha256: Option<Sha256>,
    },
    /// A symbolic link.
    Symlink(Box<[u8]>),
    /// A named pipe.
    Fifo,
    /// A character device.
    CharDevice(u32, u32),
    /// A block device.
    BlockDevice(u32, u32),
    /// A socket; only a running process can make one.
    Socket,
}

impl Kind {
    /// The word that the manifest and messages use.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Directory => "directory",
            Kind::File { .. } => "file",
            Kind::Symlink(_) => "symlink",
            Kind::Fifo => "fifo",
            Kind::CharDevice(..) => "char-device",
            Kind::BlockDevice(..) => "block-device",
            Kind::Socket => "socket",
        }
    }

    /// Whether both are of the same type, whatever they hold.
    pub fn same_type(&self, other: &Kind) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// One object of a file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Relative to the root, without a leading slash; the root itself is empty.
    pub path: Box<[u8]>,
    /// Type, content and target.
    pub kind: Kind,
    /// Owner, permissions, time.
    pub stat: Stat,
    /// Names that share a number other than 0 are one inode (hard links).
    pub group: u32,
    /// The attributes that an image can hold: `security.capability`, POSIX ACLs, `user.*`.
    pub xattrs: Option<Box<Xattrs>>,
}

impl Node {
    /// Length of a regular file's content, else 0.
    pub fn size(&self) -> u64 {
        if let Kind::File { size, .. } = self.kind { size } else { 0 }
    }
}

/// Whether the attribute is one that images can hold and that equality covers.
///
/// A build cannot set SELinux labels (`security.selinux`), `security.ima`, `security.evm` and
/// `trusted.*`.
pub fn is_portable_xattr(name: &[u8]) -> bool {
    matches!(name, b"security.capability" | b"system.posix_acl_access" | b"system.posix_acl_default")
        || name.starts_with(b"user.")
}

/// The directory part of a path; the root's own is the root.
pub fn parent(path: &[u8]) -> &[u8] {
    memchr::memrchr(b'/', path).map_or(b"", |slash| &path[..slash])
}

/// The last component of a path.
pub fn file_name(path: &[u8]) -> &[u8] {
    memchr::memrchr(b'/', path).map_or(path, |slash| &path[slash + 1..])
}

/// `directory/name`, where the root is empty.
pub fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, b"/", name].concat() }
}

/// Whether `path` is `directory` or is below it.
pub fn is_within(path: &[u8], directory: &[u8]) -> bool {
    directory.is_empty()
        || path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// Returns the path, relative to the root, that the symbolic link at `path` names. `..` in the root
/// directory stays there. Links on the way are not followed.
pub fn link_target(path: &[u8], target: &[u8]) -> Vec<u8> {
    let from = if target.starts_with(b"/") { b"" } else { parent(path) };
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in from.split(|&byte| byte == b'/').chain(target.split(|&byte| byte == b'/')) {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

/// Returns a path with all symbolic links resolved. `read_link` returns the target of a link, and
/// `None` for other objects. After 40 links, as in `path_resolution(7)`, links are not followed.
pub fn resolve(path: &[u8], read_link: impl Fn(&[u8]) -> Option<Vec<u8>>) -> Vec<u8> {
    const MAX_LINKS: usize = 40;
    let components =
        |path: &[u8]| path.split(|&byte| byte == b'/').rev().map(<[u8]>::to_vec).collect::<Vec<_>>();
    let (mut real, mut rest, mut links) = (Vec::new(), components(path), 0);
    while let Some(name) = rest.pop() {
        let next = join(&real, &name);
        match &*name {
            b"" | b"." => {}
            b".." => real = parent(&real).to_vec(),
            _ => match read_link(&next).filter(|_| links < MAX_LINKS) {
                Some(target) => {
                    links += 1;
                    if target.starts_with(b"/") {
                        real.clear();
                    }
                    rest.extend(components(&target));
                }
                None => real = next,
            },
        }
    }
    real
}

/// Index of the node with this path in nodes sorted by path.
pub fn find(nodes: &[Node], path: &[u8]) -> Option<usize> {
    nodes.binary_search_by(|node| (*node.path).cmp(path)).ok()
}

/// Renumbers hard-link groups by their first name, so that the numbers do not depend on the order
/// of discovery. An inode with only one name in `nodes` is not a group.
pub fn number_groups<'a>(nodes: impl IntoIterator<Item = &'a mut Node>) {
    let mut nodes: Vec<&mut Node> = nodes.into_iter().filter(|node| node.group != 0).collect();
    let mut names: BTreeMap<u32, u32> = BTreeMap::new();
    nodes.iter().for_each(|node| *names.entry(node.group).or_default() += 1);
    let mut numbers: BTreeMap<u32, u32> = BTreeMap::new();
    for node in &mut nodes {
        let next = numbers.len() as u32 + 1;
        node.group = if names[&node.group] < 2 { 0 } else { *numbers.entry(node.group).or_insert(next) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_apart_by_component() {
        assert_eq!((parent(b"etc/ssh/x"), file_name(b"etc/ssh/x")), (&b"etc/ssh"[..], &b"x"[..]));
        assert_eq!((parent(b"etc"), file_name(b"etc")), (&b""[..], &b"etc"[..]));
        assert_eq!((join(b"", b"etc"), join(b"etc", b"x")), (b"etc".to_vec(), b"etc/x".to_vec()));
        assert!(is_within(b"etc/x", b"etc") && is_within(b"etc", b"etc") && is_within(b"x", b""));
        assert!(!is_within(b"etcetera", b"etc"));
    }

    #[test]
    fn link_target_relative_and_absolute_targets_return_paths() {
        for (path, target, expected) in [
            ("etc/rc2.d/S01cron", "../init.d/cron", "etc/init.d/cron"),
            ("etc/a/b", "/lib/./x", "lib/x"),
            ("etc/a", "../../../x", "x"),
            ("a", "b", "b"),
            ("a", "", ""),
        ] {
            let found = link_target(path.as_bytes(), target.as_bytes());
            assert_eq!(found, expected.as_bytes(), "{path} {target}");
        }
    }

    #[test]
    fn groups_are_numbered_by_first_name_and_lone_names_are_none() {
        let node = |path: &[u8], group| Node {
            path: path.into(),
            kind: Kind::Fifo,
            stat: Stat::default(),
            group,
            xattrs: None,
        };
        let mut nodes =
            [node(b"a", 9), node(b"b", 7), node(b"c", 9), node(b"d", 3), node(b"e", 7), node(b"f", 0)];
        number_groups(&mut nodes);
        assert_eq!(nodes.map(|node| node.group), [1, 2, 1, 0, 2, 0]);
    }
}
