//! The machine's files as the decisions about services need them.

use crate::model::manifest::Verdict;
use crate::model::tree::{self, Kind, Node};
use crate::pkg::{PackageId, PlannedPackages};
use crate::plan::{Plan, PlanInput};
use crate::system::root::Root;
use std::collections::BTreeSet;

/// A configuration file larger than this is not looked into.
const LARGEST_TEXT: u64 = 1 << 20;
/// So many files of a service are looked into.
const MOST_TEXTS: usize = 400;

/// Directories in which every package puts a file: they say nothing about whose configuration lies beside it.
const SHARED: &[&str] = &[
    "etc/alternatives",
    "etc/apparmor.d",
    "etc/apt",
    "etc/bash_completion.d",
    "etc/binfmt.d",
    "etc/ca-certificates",
    "etc/cron.d",
    "etc/cron.daily",
    "etc/cron.hourly",
    "etc/cron.monthly",
    "etc/cron.weekly",
    "etc/dbus-1",
    "etc/default",
    "etc/init.d",
    "etc/insserv.conf.d",
    "etc/ld.so.conf.d",
    "etc/logcheck",
    "etc/logrotate.d",
    "etc/modprobe.d",
    "etc/network",
    "etc/pam.d",
    "etc/profile.d",
    "etc/rc0.d",
    "etc/rc1.d",
    "etc/rc2.d",
    "etc/rc3.d",
    "etc/rc4.d",
    "etc/rc5.d",
    "etc/rc6.d",
    "etc/rcS.d",
    "etc/resolvconf",
    "etc/rsyslog.d",
    "etc/security",
    "etc/ssl",
    "etc/sudoers.d",
    "etc/sysctl.d",
    "etc/systemd",
    "etc/tmpfiles.d",
    "etc/udev",
    "etc/ufw",
    "etc/update-motd.d",
    "etc/X11",
    "etc/xdg",
];

/// Files, packages and decisions.
#[derive(Clone, Copy)]
pub(super) struct ServiceFiles<'a> {
    /// The machine's files.
    pub(super) root: &'a Root,
    /// What was found.
    pub(super) facts: PlanInput<'a>,
    /// What becomes of it.
    pub(super) plan: &'a Plan,
}

impl<'a> ServiceFiles<'a> {
    fn index(&self, path: &[u8]) -> Option<usize> {
        let path = relative(path);
        self.facts.tree.found.binary_search_by(|found| (*found.node.path).cmp(path)).ok()
    }

    /// What is at this absolute path; links in it are not followed.
    pub(super) fn node(&self, path: &[u8]) -> Option<&'a Node> {
        self.index(path).map(|index| &self.facts.tree.found[index].node)
    }

    fn is_directory(&self, path: &[u8]) -> bool {
        self.node(path).is_none_or(|node| node.kind == Kind::Directory)
    }

    /// Whether the administrator wrote what is there, and no package.
    pub(super) fn is_own(&self, path: &[u8]) -> bool {
        self.index(path).is_some_and(|index| {
            let decision = &self.plan.decisions[index];
            self.facts.is_own(decision) || decision.verdict == Verdict::Withhold
        })
    }

    /// Whether there is a program: a file, or a link that leads to one.
    pub(super) fn has_program(&self, path: &[u8]) -> bool {
        self.root.open_file(relative(path)).is_ok()
    }

    /// Bytes of the files beneath an absolute path.
    pub(super) fn bytes(&self, path: &[u8]) -> u64 {
        let size = |node: &Node| if let Kind::File { size, .. } = node.kind { size } else { 0 };
        beneath(self.facts, relative(path)).map(size).sum()
    }

    /// The directories right beneath an absolute path.
    pub(super) fn directories(&self, path: &[u8]) -> Vec<&'a Node> {
        let path = relative(path);
        let is_child = |node: &&Node| tree::parent(&node.path) == path && node.kind == Kind::Directory;
        beneath(self.facts, path).filter(is_child).collect()
    }

    /// Every file whose path is withheld, or made anew by every machine, absolute.
    pub(super) fn with_verdict(&self, verdict: Verdict) -> impl Iterator<Item = (Vec<u8>, &'a Node)> {
        let found = self.facts.tree.found.iter().zip(&self.plan.decisions);
        let wanted = found.filter(move |(found, decision)| {
            decision.verdict == verdict && found.node.kind != Kind::Directory
        });
        wanted.map(|(found, _)| ([b"/", &*found.node.path].concat(), &found.node))
    }

    /// The packages that ship a path.
    pub(super) fn packages(&self, path: &[u8]) -> &'a [PackageId] {
        let owned = self.facts.packages.and_then(|packages| packages.catalog.owned.get(relative(path)));
        owned.map_or(&[], |owned| owned.packages)
    }

    /// The text files that configure a service: of its packages, of its name, and those that it was told.
    ///
    /// `names` are the service's and the program's; `packages` those that ship the program.
    pub(super) fn configuration(
        &self,
        names: &BTreeSet<Vec<u8>>,
        packages: &BTreeSet<PackageId>,
        told: &BTreeSet<Vec<u8>>,
    ) -> Vec<Vec<u8>> {
        let mut places: BTreeSet<Vec<u8>> = told.clone();
        for name in names {
            for path in [
                [b"etc/", &name[..]].concat(),
                [b"etc/default/", &name[..]].concat(),
                [b"etc/", &name[..], b".conf"].concat(),
            ] {
                places.insert(path);
            }
        }
        if let Some(PlannedPackages { catalog, .. }) = self.facts.packages {
            let own = catalog.owned.iter().filter(|(path, owned)| {
                path.starts_with(b"etc/")
                    && !self.is_directory(path)
                    && owned.packages.iter().any(|package| packages.contains(package))
            });
            for (path, _) in own {
                let directory = tree::parent(path);
                let is_shared = SHARED.iter().any(|shared| tree::is_within(directory, shared.as_bytes()))
                    || directory == b"etc";
                places.insert(if is_shared { path.to_vec() } else { directory.to_vec() });
            }
        }
        let mut files: BTreeSet<Vec<u8>> = BTreeSet::new();
        for place in &places {
            files.extend(beneath(self.facts, relative(place)).filter(is_text).map(|node| node.path.to_vec()));
        }
        files.into_iter().take(MOST_TEXTS).collect()
    }
}

/// Everything at and beneath a path of the tree.
fn beneath<'a, 'p>(facts: PlanInput<'a>, path: &'p [u8]) -> impl Iterator<Item = &'a Node> + use<'a, 'p> {
    let found = &facts.tree.found;
    let from = found.partition_point(|found| &*found.node.path < path);
    let nodes = found[from..].iter().map(|found| &found.node);
    // Names such as `a-b` sort between `a` and `a/b`.
    nodes
        .take_while(move |node| node.path.starts_with(path))
        .filter(move |node| tree::is_within(&node.path, path))
}

fn is_text(node: &&Node) -> bool {
    // Debian's way to keep configuration that is not in use beside that which is.
    if node.path.split(|&byte| byte == b'/').any(|name| name.ends_with(b"-available")) {
        return false;
    }
    match node.kind {
        Kind::File { size, .. } => size > 0 && size <= LARGEST_TEXT,
        Kind::Symlink(_) => true,
        _ => false,
    }
}

/// A path as the tree has it.
pub(super) fn relative(path: &[u8]) -> &[u8] {
    path.strip_prefix(b"/").unwrap_or(path)
}
