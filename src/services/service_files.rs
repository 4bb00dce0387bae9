//! Provides the machine's files, their packages and verdicts to the service modules.

use crate::model::manifest::Verdict;
use crate::model::tree::{self, Kind, Node};
use crate::pkg::{PackageId, PlannedPackages};
use crate::plan::{Plan, PlanInput};
use crate::system::root::Root;
use std::collections::{BTreeMap, BTreeSet};

/// Maximum size of a configuration file that is read, in bytes.
const MAX_FILE_SIZE: u64 = 1 << 20;
/// Maximum number of configuration files read per service.
const MAX_FILES: usize = 400;

/// Directories that many packages put files in. Their other files say nothing about a service.
const SHARED_DIRECTORIES: &[&str] = &[
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
    "etc/dhcp",
    "etc/init.d",
    "etc/insserv.conf.d",
    "etc/ld.so.conf.d",
    "etc/logcheck",
    "etc/logrotate.d",
    "etc/modprobe.d",
    "etc/network",
    "etc/pam.d",
    "etc/pki",
    "etc/ppp",
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
    "etc/sysconfig",
    "etc/sysctl.d",
    "etc/systemd",
    "etc/tmpfiles.d",
    "etc/udev",
    "etc/ufw",
    "etc/update-motd.d",
    "etc/X11",
    "etc/xdg",
];

/// The machine's files with packages and verdicts.
#[derive(Clone, Copy)]
pub(super) struct ServiceFiles<'a> {
    /// Root of the machine.
    pub(super) root: &'a Root,
    /// Files and packages that were found.
    pub(super) input: PlanInput<'a>,
    /// Verdict for each file.
    pub(super) plan: &'a Plan,
}

impl<'a> ServiceFiles<'a> {
    fn index(&self, path: &[u8]) -> Option<usize> {
        self.input.tree.index(relative(path))
    }

    /// Returns the node at an absolute path, without following symbolic links.
    pub(super) fn node(&self, path: &[u8]) -> Option<&'a Node> {
        self.index(path).map(|index| &self.input.tree.found[index].node)
    }

    fn is_directory(&self, path: &[u8]) -> bool {
        self.node(path).is_none_or(|node| node.kind == Kind::Directory)
    }

    /// Returns whether the path is local: not from a package.
    pub(super) fn is_local(&self, path: &[u8]) -> bool {
        self.index(path).is_some_and(|index| {
            let decision = &self.plan.decisions[index];
            self.input.is_own(decision) || decision.verdict == Verdict::Withhold
        })
    }

    /// Returns whether the file is withheld. `path` has no symbolic links.
    pub(super) fn is_withheld(&self, path: &[u8]) -> bool {
        self.index(path).is_some_and(|index| self.plan.decisions[index].verdict == Verdict::Withhold)
    }

    /// Returns UID, GID and mode of the regular file at an absolute path, or of the file that a
    /// symbolic link there leads to.
    pub(super) fn owner(&self, path: &[u8]) -> Option<(u32, u32, u16)> {
        let tree = self.input.tree;
        let node = &tree.found[tree.resolve(relative(path))?].node;
        let is_file = matches!(node.kind, Kind::File { .. });
        is_file.then_some((node.stat.uid, node.stat.gid, node.stat.mode))
    }

    /// Returns whether an executable exists. Follows symbolic links.
    pub(super) fn has_program(&self, path: &[u8]) -> bool {
        self.root.open_file(relative(path)).is_ok()
    }

    /// Returns the total size of the files below an absolute path, in bytes.
    pub(super) fn bytes(&self, path: &[u8]) -> u64 {
        let size = |node: &Node| if let Kind::File { size, .. } = node.kind { size } else { 0 };
        below(self.input, relative(path)).map(size).sum()
    }

    /// Returns the subdirectories of an absolute path.
    pub(super) fn directories(&self, path: &[u8]) -> Vec<&'a Node> {
        let path = relative(path);
        let is_child = |node: &&Node| tree::parent(&node.path) == path && node.kind == Kind::Directory;
        below(self.input, path).filter(is_child).collect()
    }

    /// Returns all files with this verdict, as absolute paths.
    pub(super) fn with_verdict(&self, verdict: Verdict) -> impl Iterator<Item = (Vec<u8>, &'a Node)> {
        let found = self.input.tree.found.iter().zip(&self.plan.decisions);
        let wanted = found.filter(move |(found, decision)| {
            decision.verdict == verdict && found.node.kind != Kind::Directory
        });
        wanted.map(|(found, _)| ([b"/", &*found.node.path].concat(), &found.node))
    }

    /// Returns the symbolic links that lead to files with one of these verdicts: absolute path of
    /// the file, and of the link. Sorted.
    pub(super) fn links_to(&self, verdicts: &[Verdict]) -> BTreeMap<Vec<u8>, Vec<Vec<u8>>> {
        let mut links: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
        let tree = self.input.tree;
        for found in tree.found.iter().filter(|found| matches!(found.node.kind, Kind::Symlink(_))) {
            let target = tree.resolve(&found.node.path);
            if let Some(target) =
                target.filter(|&target| verdicts.contains(&self.plan.decisions[target].verdict))
            {
                let absolute = |path: &[u8]| [b"/", path].concat();
                let link = absolute(&found.node.path);
                links.entry(absolute(&tree.found[target].node.path)).or_default().push(link);
            }
        }
        links
    }

    /// Returns the packages that contain a path.
    pub(super) fn packages(&self, path: &[u8]) -> &'a [PackageId] {
        let owned = self.input.packages.and_then(|packages| packages.catalog.owned.get(relative(path)));
        owned.map_or(&[], |owned| owned.packages)
    }

    /// Returns the directories in `etc` that belong to packages, relative to the root. Packages can
    /// also add a file to the directory of another one, which has the name of that package.
    pub(super) fn configuration_directories(&self, packages: &BTreeSet<PackageId>) -> BTreeSet<Vec<u8>> {
        let mut directories = BTreeSet::new();
        let mut of_others = BTreeSet::new();
        let Some(PlannedPackages { catalog, .. }) = self.input.packages.filter(|_| !packages.is_empty())
        else {
            return directories;
        };
        for (path, owned) in catalog.owned.iter().filter(|(path, _)| path.starts_with(b"etc/")) {
            let inside = if self.is_directory(path) { tree::join(path, b".") } else { path.to_vec() };
            let Some(directory) = configuration_directory(&inside) else { continue };
            let name = tree::file_name(directory);
            let is_named = |id: &PackageId| catalog[*id].name.as_bytes() == name && !packages.contains(id);
            if owned.packages.iter().any(|id| packages.contains(id)) {
                directories.insert(directory.to_vec());
            }
            // A package that only has the directory itself can be one without files.
            if !self.is_directory(path) && owned.packages.iter().any(is_named) {
                of_others.insert(directory.to_vec());
            }
        }
        &directories - &of_others
    }

    /// Returns the text files that configure a service, relative to the root.
    ///
    /// `names` are the names of the service and its executable. `packages` contain the
    /// executable. `paths` are further paths, from the unit and the arguments.
    pub(super) fn configuration(
        &self,
        names: &BTreeSet<Vec<u8>>,
        packages: &BTreeSet<PackageId>,
        paths: &BTreeSet<Vec<u8>>,
    ) -> Vec<Vec<u8>> {
        let mut paths = paths.clone();
        for name in names {
            for path in [
                [b"etc/", &name[..]].concat(),
                [b"etc/default/", &name[..]].concat(),
                [b"etc/sysconfig/", &name[..]].concat(),
                [b"etc/", &name[..], b".conf"].concat(),
            ] {
                paths.insert(path);
            }
        }
        let directories = self.configuration_directories(packages);
        if let Some(PlannedPackages { catalog, .. }) = self.input.packages {
            let configuration = catalog.owned.iter().filter(|(path, owned)| {
                path.starts_with(b"etc/")
                    && !self.is_directory(path)
                    && owned.packages.iter().any(|package| packages.contains(package))
            });
            for (path, _) in configuration {
                let directory = configuration_directory(path).filter(|path| directories.contains(*path));
                paths.insert(directory.unwrap_or(path).to_vec());
            }
        }
        let mut files: BTreeSet<Vec<u8>> = BTreeSet::new();
        for path in &paths {
            files.extend(below(self.input, relative(path)).filter(is_text).map(|node| node.path.to_vec()));
        }
        files.into_iter().take(MAX_FILES).collect()
    }
}

/// Returns the directory in `etc` that contains a path at any depth: `etc/ldap` for
/// `etc/ldap/schema/core.ldif`. The application reads all of it. `None` for a path directly in
/// `etc`, and in directories of many packages.
pub(super) fn configuration_directory(path: &[u8]) -> Option<&[u8]> {
    let parent = tree::parent(path);
    let second_slash = memchr::memchr_iter(b'/', parent).nth(1);
    let directory = &parent[..second_slash.unwrap_or(parent.len())];
    let is_shared = SHARED_DIRECTORIES.iter().any(|shared| tree::is_within(directory, shared.as_bytes()));
    (directory.starts_with(b"etc/") && !is_shared).then_some(directory)
}

/// Returns the nodes at a path of the tree and below.
fn below<'a, 'p>(input: PlanInput<'a>, path: &'p [u8]) -> impl Iterator<Item = &'a Node> + use<'a, 'p> {
    let found = &input.tree.found;
    let from = found.partition_point(|found| &*found.node.path < path);
    let nodes = found[from..].iter().map(|found| &found.node);
    // Names such as `a-b` sort between `a` and `a/b`.
    nodes
        .take_while(move |node| node.path.starts_with(path))
        .filter(move |node| tree::is_within(&node.path, path))
}

fn is_text(node: &&Node) -> bool {
    // Debian keeps unused configuration in directories such as `sites-available`.
    if node.path.split(|&byte| byte == b'/').any(|name| name.ends_with(b"-available")) {
        return false;
    }
    match node.kind {
        Kind::File { size, .. } => size > 0 && size <= MAX_FILE_SIZE,
        Kind::Symlink(_) => true,
        _ => false,
    }
}

/// Returns a path without its leading slash, as the tree stores it.
pub(super) fn relative(path: &[u8]) -> &[u8] {
    path.strip_prefix(b"/").unwrap_or(path)
}
