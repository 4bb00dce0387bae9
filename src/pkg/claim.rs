//! A package database's record of one path.

use crate::model::digest::Digest;
use crate::model::manifest::Names;
use crate::model::tree::{Kind, Node};
use std::sync::Arc;

/// A package's claim about one path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// Digest of the packaged content. `None` if the path is not a regular file, if the package
    /// records no digest, or if the path's owners disagree.
    pub digest: Option<Digest>,
    /// All other recorded metadata. `None` if the database records only digests (dpkg).
    pub metadata: Option<Arc<ClaimedMetadata>>,
    /// Purpose of the path.
    pub role: FileRole,
    /// Whether the package still ships the path, and whether it ships it here.
    pub state: ClaimState,
}

/// Purpose of a packaged path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileRole {
    /// A path that belongs to the package but is not in its archive (rpm `%ghost`).
    Ghost,
    /// A path without a special purpose.
    #[default]
    Ordinary,
    /// Documentation, which images may exclude (rpm `%doc`).
    Documentation,
    /// A configuration file, which updates do not overwrite (deb-conffiles(5), rpm `%config`).
    Configuration,
}

/// Location of the path in the installed version of the package.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClaimState {
    /// At this path.
    #[default]
    Shipped,
    /// At another path; a diversion moves it here (dpkg-divert(1)).
    Diverted,
    /// Nowhere; only an earlier version shipped it.
    Obsolete,
}

/// Metadata that a package records for a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedMetadata {
    /// Type, with the target of a symbolic link; the size and the digest of a file are not set
    /// here.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u16,
    /// Name of the owner.
    pub user: Box<str>,
    /// Name of the group.
    pub group: Box<str>,
    /// File capabilities as `security.capability` holds them (capabilities(7)).
    pub capabilities: Option<Box<[u8]>>,
}

impl ClaimedMetadata {
    /// Whether an object of the machine has the recorded metadata. `names` are the machine's
    /// accounts. The content of a file is not compared.
    pub fn matches(&self, node: &Node, names: &Names) -> bool {
        let same_kind = match (&self.kind, &node.kind) {
            (Kind::File { .. }, Kind::File { .. }) => true,
            (claimed, found) => claimed == found,
        };
        // A symbolic link has no mode of its own (symlink(7)).
        let same_mode = matches!(self.kind, Kind::Symlink(_)) || self.mode == node.stat.mode;
        let found_capabilities =
            node.xattrs.as_ref().and_then(|xattrs| xattrs.get(&b"security.capability"[..]));
        same_kind
            && same_mode
            && names.users.get(&node.stat.uid).is_some_and(|user| *user == self.user.as_bytes())
            && names.groups.get(&node.stat.gid).is_some_and(|group| *group == self.group.as_bytes())
            && found_capabilities == self.capabilities.as_ref()
    }
}

impl Claim {
    /// Whether it is a claim on a configuration file.
    pub fn is_configuration(&self) -> bool {
        self.role == FileRole::Configuration
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tree::{Stat, Xattrs};

    const CAPABILITY: &[u8] = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

    fn node(kind: Kind, mode: u16, uid: u32, gid: u32) -> Node {
        let stat = Stat { mode, uid, gid, ..Stat::default() };
        Node { path: b"usr/bin/ping"[..].into(), kind, stat, group: 0, xattrs: None }
    }

    #[test]
    fn claimed_metadata_other_mode_owner_type_or_capability_differs() {
        let names = Names {
            users: [(0, b"root".to_vec()), (33, b"www-data".to_vec())].into(),
            groups: [(0, b"root".to_vec()), (15, b"man".to_vec())].into(),
        };
        let file = Kind::File { size: 3, sha256: None };
        let claim =
            |kind: &Kind, mode, user: &str, group: &str, capabilities: Option<&[u8]>| ClaimedMetadata {
                kind: kind.clone(),
                mode,
                user: user.into(),
                group: group.into(),
                capabilities: capabilities.map(Into::into),
            };
        let root = claim(&Kind::File { size: 0, sha256: None }, 0o755, "root", "root", None);
        assert!(root.matches(&node(file.clone(), 0o755, 0, 0), &names));
        assert!(!root.matches(&node(file.clone(), 0o4755, 0, 0), &names));
        assert!(!root.matches(&node(file.clone(), 0o755, 33, 0), &names));
        assert!(!root.matches(&node(file.clone(), 0o755, 0, 15), &names));
        assert!(!root.matches(&node(Kind::Directory, 0o755, 0, 0), &names));
        // A UID without an account cannot be the user that the package names.
        assert!(!root.matches(&node(file.clone(), 0o755, 7, 0), &names));

        let mut ping = node(file.clone(), 0o755, 0, 0);
        ping.xattrs = Some(Box::new(Xattrs::from([(b"security.capability"[..].into(), CAPABILITY.into())])));
        assert!(!root.matches(&ping, &names));
        assert!(claim(&file, 0o755, "root", "root", Some(CAPABILITY)).matches(&ping, &names));

        let link = Kind::Symlink(b"mawk"[..].into());
        let claimed = claim(&link, 0o777, "root", "root", None);
        assert!(claimed.matches(&node(link, 0o700, 0, 0), &names));
        assert!(!claimed.matches(&node(Kind::Symlink(b"gawk"[..].into()), 0o777, 0, 0), &names));
    }
}
