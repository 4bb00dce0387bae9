//! The package layer: adds package files from the context, and removes files that images should
//! not contain.

use super::target::{self, Target};
use super::{failed, listed};
use crate::context::{reader, tar};
use crate::detect::accounts;
use crate::error::{Code, Error, Result};
use crate::model::escape;
use crate::model::findings::Findings;
use crate::model::holes::ReadHoles;
use crate::model::tree::{self, Kind, Node, Stat};
use crate::pkg::{Family, Pin};
use crate::policy::{Action, Policy};
use crate::system::file;
use crate::system::mounts;
use crate::system::root::{self, Root};
use crate::walk::{self, Progress, Scope, WalkedEntry};
use std::collections::BTreeSet;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Counts of what the package layer gained, lost and checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prepared {
    /// Members unpacked from `packages.tar.zst`.
    pub unpacked: usize,
    /// Objects that the installation created and that images should not contain: lists, logs,
    /// caches, keys, new databases.
    pub removed: usize,
    /// Packages that were checked to be installed in exactly the planned version.
    pub checked: usize,
}

/// Finishes the package layer inside its own build step, so that removed files leave no bytes in
/// a layer.
///
/// Only the built-in policy decides here. The layer must depend only on the machine's packages.
pub fn prepare(context: &Path, root: &Root, threads: usize) -> Result<Prepared> {
    let unpacked = match archive_in(context)? {
        pieces if pieces.is_empty() => 0,
        pieces => unpack(pieces, root)?,
    };
    let removed = sweep(context, root, threads)?;
    let checked = match ["installed.list", "database.list"].map(|name| context.join("packages").join(name)) {
        [list, _] if list.exists() => check_installed(&list, root)?,
        [_, list] if list.exists() => check_database(&list, root)?,
        _ => 0,
    };
    Ok(Prepared { unpacked, removed, checked })
}

/// Returns the chunks of the package archive, if the context has one. The build mounts only the
/// part of the context that this layer needs.
fn archive_in(context: &Path) -> Result<Vec<PathBuf>> {
    let failed = |cause| Error::io(escape::escape(context.as_os_str().as_bytes()), cause);
    let mut pieces = Vec::new();
    for entry in std::fs::read_dir(context).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_str().is_some_and(|name| reader::is_archive(name, reader::PACKAGES)) {
            pieces.push(entry.path());
        }
    }
    pieces.sort();
    Ok(pieces)
}

fn unpack(pieces: Vec<PathBuf>, root: &Root) -> Result<usize> {
    let damaged = |cause: io::Error| Error::io(reader::PACKAGES, cause).hint("copy the context again");
    let plain = reader::decompress(pieces)?;
    let mut members = tar::Reader::with_any_holes(io::BufReader::with_capacity(1 << 20, plain));
    let mut target = Target::new(root);
    let mut directories: Vec<Node> = Vec::new();
    let mut unpacked = 0;
    while let Some(mut entry) = members.next_entry().map_err(damaged)? {
        let node = entry.node.clone();
        let placed = place(&mut target, root, &node, entry.hard_link.as_deref(), &mut entry.content);
        let made = placed.map_err(|cause| failed("unpack", &node.path, cause))?;
        unpacked += 1;
        if made && node.kind == Kind::Directory {
            directories.push(node);
        }
    }
    if !members.has_end_marker() {
        return Err(damaged(io::ErrorKind::UnexpectedEof.into()));
    }
    // Deepest first, so that nothing is put into a directory after its time was set.
    for node in directories.iter().rev() {
        target.set_metadata(node).map_err(|cause| failed("set metadata of", &node.path, cause))?;
    }
    Ok(unpacked)
}

/// Creates missing parent directories: rpm packages need not own the directories of their files.
/// The system layer sets their metadata.
fn make_parents(target: &mut Target<'_>, root: &Root, path: &[u8]) -> io::Result<()> {
    match root.open_directory_exactly(path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound && !path.is_empty() => {
            make_parents(target, root, tree::parent(path))?;
            let (kind, stat) = (Kind::Directory, Stat { mode: 0o755, ..Stat::default() });
            let node = Node { path: path.into(), kind, stat, group: 0, xattrs: None };
            target.make(&node)?;
            target.set_metadata(&node)
        }
        opened => opened.map(drop),
    }
}

/// Puts one member in place; an existing directory stays as it is (`false`).
fn place(
    target: &mut Target<'_>,
    root: &Root,
    node: &Node,
    hard_link: Option<&[u8]>,
    content: &mut impl ReadHoles,
) -> io::Result<bool> {
    make_parents(target, root, tree::parent(&node.path))?;
    let directory = root.open_directory_exactly(tree::parent(&node.path))?;
    let existing = root::stat_at(std::os::fd::AsFd::as_fd(&directory), tree::file_name(&node.path)).ok();
    let is_directory = existing.is_some_and(|stat| {
        rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Directory
    });
    if is_directory && node.kind == Kind::Directory {
        return Ok(false);
    }
    // Nothing beneath it can be on the machine, which has no directory here.
    if is_directory {
        target.remove_all(&node.path, true)?;
    }
    if let Some(leader) = hard_link {
        return target.link(leader, &node.path).map(|_| true);
    }
    if matches!(node.kind, Kind::File { .. }) {
        let mut file = target.begin(&node.path)?;
        target::write_sparse(content, &mut file)?;
        target.settle(&node.path)?;
    } else {
        if existing.is_some() && !is_directory {
            target.remove(&node.path, false)?;
        }
        target.make(node)?;
    }
    if node.kind != Kind::Directory {
        target.set_metadata(node)?;
    }
    Ok(true)
}

/// Removes what the built-in policy never lets into an image.
fn sweep(context: &Path, root: &Root, threads: usize) -> Result<usize> {
    let policy = Policy::new(Vec::new(), &accounts::homes(root, &mut Findings::default()));
    let mountinfo = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    let ours: Vec<(u64, u64)> = root::identity_of(context).into_iter().collect();
    let scope = Scope {
        policy: Some(&policy),
        mounts: &mounts::parse(&mountinfo, root.absolute()),
        ours: &ours,
        claimed: &|_| None,
        content: &|_| false,
        published: &|_, _| false,
        coverage: &|_, _| None,
        progress: &Progress::default(),
    };
    let tree = walk::walk(root, &scope, threads).map_err(|cause| Error::io(root.name(), cause))?;
    let mut target = Target::new(root);
    let mut removed = 0;
    for found in tree.found.iter().rev().filter(|found| is_swept(&policy, found)) {
        let is_directory = found.node.kind == Kind::Directory;
        match target.remove(&found.node.path, is_directory) {
            Ok(()) => removed += 1,
            // A directory that holds something which is kept, or a mount.
            Err(cause)
                if matches!(cause.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::ResourceBusy) => {
            }
            Err(cause) => return Err(failed("remove", &found.node.path, cause)),
        }
    }
    Ok(removed)
}

fn is_swept(policy: &Policy, found: &WalkedEntry) -> bool {
    let Some(rule) = found.rule else { return false };
    match policy.rule(rule).action {
        Action::Drop | Action::Withhold | Action::DropSecret | Action::Volume | Action::Regenerate => true,
        Action::DropFiles => found.node.kind != Kind::Directory,
        Action::Keep | Action::Rewrite | Action::Runtime => false,
    }
}

/// Proves that every package of the machine is there at its version, and no other.
fn check_installed(list: &Path, root: &Root) -> Result<usize> {
    let text = read_list(list)?;
    let kept = read_list(&list.with_file_name("keep.list"))?;
    let (wanted, kept): (BTreeSet<&str>, BTreeSet<&str>) = (text.lines().collect(), kept.lines().collect());
    let installed = installed(root)?;
    let missing = wanted.iter().filter(|line| !installed.contains(**line));
    let is_kept = |line: &&String| line.split('=').next().is_some_and(|name| kept.contains(name));
    let extra = installed.iter().filter(|line| !is_kept(line));
    expect_no_differences(missing.copied(), extra.map(String::as_str))?;
    Ok(wanted.len())
}

/// Proves that the database that the build wrote has the machine's packages, and no other.
fn check_database(list: &Path, root: &Root) -> Result<usize> {
    let text = read_list(list)?;
    let wanted: BTreeSet<&str> = text.lines().collect();
    let installed = installed(root)?;
    let missing = wanted.iter().filter(|line| !installed.contains(**line));
    let extra = installed.iter().filter(|line| !wanted.contains(&***line));
    expect_no_differences(missing.copied(), extra.map(String::as_str))?;
    Ok(wanted.len())
}

fn read_list(list: &Path) -> Result<String> {
    let text = file::read_untrusted(list, reader::MAX_LIST).and_then(file::text);
    let name = list.file_name().unwrap_or_default().as_bytes();
    text.map_err(|cause| Error::io(format!("packages/{}", escape::escape(name)), cause))
}

/// Returns the packages in the root's database, in the form of the lists.
fn installed(root: &Root) -> Result<BTreeSet<String>> {
    let family = Family::of(root)
        .ok_or_else(|| Error::new(Code::Failed, "the package layer has no package database"))?;
    let pins = family.manager().installed(&|path| root.read(path).ok());
    Ok(pins.iter().map(Pin::to_string).collect())
}

fn expect_no_differences<'a>(
    missing: impl Iterator<Item = &'a str>,
    extra: impl Iterator<Item = &'a str>,
) -> Result<()> {
    let missing = missing.map(|line| format!("missing: {line}"));
    let lines: Vec<String> = missing.chain(extra.map(|line| format!("not on the machine: {line}"))).collect();
    if lines.is_empty() {
        return Ok(());
    }
    let what = format!(
        "the package layer is not the machine's; {} packages differ:\n{}",
        lines.len(),
        listed(&lines)
    );
    let what = escape::escape(what.as_bytes()).replace("\\x0a", "\n");
    Err(Error::new(Code::NotEqual, what)
        .hint("the archive no longer has these versions: make the context again with --packages carry"))
}
