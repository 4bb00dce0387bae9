//! Walks the file system: returns every path under the root with its metadata and digests.
//!
//! The walk runs in parallel over directories and batches of files. It opens each name relative to
//! the descriptor of its directory and follows no symbolic link. It reads a file once: the SHA-256,
//! the MD5 (if the dpkg database has one) and the search for secrets use the same bytes. It reads a
//! file twice only if the content differs from the package's, because it then searches the file.

pub mod content;
pub mod md5_batch;

mod attributes;
mod entry;
mod surroundings;

pub use entry::{Content, Extra, Progress, Scope, Tree, WalkedEntry};

use crate::model::digest::Algorithm;
use crate::model::escape;
use crate::model::findings::{self, Findings};
use crate::model::holes::{self, Coverage};
use crate::model::tree::{self, Kind, Node, Stat, Xattrs};
use crate::policy::content::{Kind as SearchKind, with_attributes};
use crate::policy::{self, Action, RuleId};
use crate::system::file;
use crate::system::mounts::{Class, Mount};
use crate::system::root::{self, Root};
use attributes::{attributes, attributes_of};
use content::{Aspects, Reading, StableFile};
use md5_batch::{Md5Batch, Wanted};
use rustix::fs::{self, FileType, OFlags};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use surroundings::{OpenDirectory, Surroundings};

/// Maximum size of a batch of files for one thread, in bytes and in files.
const BATCH_BYTES: u64 = 8 << 20;
const BATCH_FILES: usize = 64;
/// Maximum number of waiting batches per thread. Without it, a directory of a million names would
/// be in memory twice.
const MOST_WAITING: usize = 64;
/// Maximum number of names of one directory in memory while its entries are walked.
const MAX_NAMES: usize = 16 << 10;
/// Size from which a file with an MD5 is read alone, in bytes. In a batch it would end seconds
/// after the other files and keep its thread busy at the end of the walk.
const ALONE: u64 = 32 << 20;

/// Number of read errors at which the walk stops. A disk with that many is failing, and each
/// further read can destroy more of it.
const MOST_FAULTS: u64 = 50;

/// Walks all paths under `root` with `threads` threads. The result does not depend on `threads`.
///
/// Reports unreadable objects as findings. Returns an error if the root cannot be opened, if the
/// threads cannot be started, or after 50 read errors of the disk.
pub fn walk(root: &Root, scope: &Scope<'_>, threads: usize) -> io::Result<Tree> {
    let batches = (0..threads).map(|_| Mutex::default()).collect();
    let (inodes, tree, waiting) = (Mutex::default(), Mutex::default(), AtomicUsize::new(0));
    let walker = Walker { scope, batches, inodes, tree, waiting, most_waiting: threads * MOST_WAITING };
    let top = Directory {
        parent: Arc::new(root.open_directory_exactly(b"")?),
        path: Vec::new(),
        surroundings: Surroundings::default(),
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(io::Error::other)?;
    pool.scope(|tasks| walker.directory(tasks, top));
    pool.scope(|tasks| walker.batches.iter().for_each(|batch| tasks.spawn(|_| walker.finish(batch))));
    if walker.is_failing() {
        return Err(io::Error::other(format!(
            "{MOST_FAULTS} read errors: the disk is failing; copy it to an image and convert the image"
        )));
    }
    let mut tree = walker.tree.into_inner().unwrap_or_else(PoisonError::into_inner);
    share_within_groups(&mut tree.found);
    tree.found.sort_unstable_by(|a, b| a.node.path.cmp(&b.node.path));
    // A directory that changes can list a name twice (readdir(3)).
    tree.found.dedup_by(|later, first| later.node.path == first.node.path);
    tree::number_groups(tree.found.iter_mut().map(|found| &mut found.node));
    Ok(tree)
}

/// A directory to walk: its path and the descriptor of its parent. The path of the root is empty.
struct Directory {
    parent: Arc<OwnedFd>,
    path: Vec<u8>,
    surroundings: Surroundings,
}

/// A regular file to read.
struct Pending {
    path: Vec<u8>,
    rule: Option<RuleId>,
    group: u32,
    size: u64,
    mode: u16,
    /// Bytes that its digest has to cover.
    coverage: Option<Coverage>,
}

impl Wanted for Pending {
    fn name(&self) -> &[u8] {
        tree::file_name(&self.path)
    }
}

/// A hard-linked inode: its group, and whether one of its names is already selected to be read.
struct Inode {
    group: u32,
    read: bool,
}

struct Walker<'a> {
    scope: &'a Scope<'a>,
    /// Files that need an MD5, one batch per thread.
    batches: Vec<Mutex<Md5Batch<Pending>>>,
    inodes: Mutex<HashMap<(u64, u64), Inode>>,
    tree: Mutex<Tree>,
    /// Number of batches that wait for a thread, and its maximum.
    waiting: AtomicUsize,
    most_waiting: usize,
}

impl Walker<'_> {
    fn is_failing(&self) -> bool {
        self.scope.progress.faults.load(Relaxed) >= MOST_FAULTS
    }

    fn directory<'s>(&'s self, tasks: &rayon::Scope<'s>, directory: Directory) {
        if self.is_failing() {
            return;
        }
        let Directory { parent, path, mut surroundings } = directory;
        let rule = self.rule(&path, surroundings);
        let opened = open_directory(parent.as_fd(), &path).and_then(|fd| Ok((fs::fstat(&fd)?, fd)));
        drop(parent);
        let (stat, fd) = match opened {
            Ok(opened) => opened,
            Err(cause) => return self.unreadable(&path, &cause),
        };
        let node = self.node(&path, Kind::Directory, &stat, attributes(fd.as_fd()));
        self.found([WalkedEntry::new(node, rule, Content::Known)]);
        let names = match root::list_directory(fd.as_fd()) {
            Ok(names) => names,
            Err(cause) => return self.unreadable(&path, &cause),
        };
        if !path.is_empty() && surroundings::is_root(&names) {
            surroundings.root = path.len() + 1;
            if rule.is_none() {
                self.nested_root(&path);
            }
        }
        // A database in the root directory would turn the whole file system into a volume.
        let searched = self.scope.policy.filter(|_| !path.is_empty());
        let sign = searched.and_then(|_| policy::signs(&names, |name| head(fd.as_fd(), name)));
        let opened = OpenDirectory { fd: Arc::new(fd), device: stat.st_dev, sign, surroundings };
        if names.len() <= MAX_NAMES {
            return self.entries(tasks, &path, names, &opened);
        }
        // The names of a large directory would be in memory next to the entries made of them.
        drop(names);
        let listed = root::list_in_parts(opened.fd.as_fd(), MAX_NAMES, |names| {
            self.entries(tasks, &path, names, &opened);
        });
        if let Err(cause) = listed {
            self.unreadable(&path, &cause);
        }
    }

    /// Walks the entries of one directory: spawns a task per subdirectory and per batch of files.
    fn entries<'s>(
        &'s self,
        tasks: &rayon::Scope<'s>,
        path: &[u8],
        names: Vec<Vec<u8>>,
        here: &OpenDirectory,
    ) {
        let mut batch: Vec<Pending> = Vec::new();
        for name in names {
            let path = tree::join(path, &name);
            if let Some(mount) = self.scope.mounts.foreign_at(&path) {
                self.foreign(mount);
                continue;
            }
            let stat = match root::stat_at(here.fd.as_fd(), &name) {
                Ok(stat) => stat,
                Err(cause) => {
                    self.unreadable(&path, &cause);
                    continue;
                }
            };
            if self.scope.ours.contains(&(stat.st_dev, stat.st_ino)) {
                continue;
            }
            let surroundings = here.around(&name, self.scope.policy);
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => self.subdirectory(tasks, path, surroundings, here, &stat),
                FileType::RegularFile => {
                    let pending = self.file(path, surroundings, &stat, here.fd.as_fd());
                    // If a large file waited, it could be the last to be read, with one busy thread.
                    match pending {
                        Some(large) if large.size >= ALONE => self.read_batch(&here.fd, vec![large]),
                        pending => batch.extend(pending),
                    }
                }
                _ => self.special(path, surroundings, &stat, here.fd.as_fd()),
            }
            if batch.len() >= BATCH_FILES || batch.iter().map(|file| file.size).sum::<u64>() >= BATCH_BYTES {
                self.spawn_batch(tasks, here, std::mem::take(&mut batch));
            }
        }
        self.spawn_batch(tasks, here, batch);
    }

    fn spawn_batch<'s>(&'s self, tasks: &rayon::Scope<'s>, here: &OpenDirectory, batch: Vec<Pending>) {
        if batch.is_empty() {
            return;
        }
        // This task does not hold the lock of its thread's batch, so it can read files itself.
        if self.waiting.load(Relaxed) >= self.most_waiting {
            return self.read_batch(&here.fd, batch);
        }
        self.waiting.fetch_add(1, Relaxed);
        let fd = Arc::clone(&here.fd);
        tasks.spawn(move |_| {
            self.waiting.fetch_sub(1, Relaxed);
            self.read_batch(&fd, batch)
        });
    }

    fn subdirectory<'s>(
        &'s self,
        tasks: &rayon::Scope<'s>,
        path: Vec<u8>,
        surroundings: Surroundings,
        here: &OpenDirectory,
        stat: &fs::Stat,
    ) {
        // A btrfs subvolume has a device number of its own without an entry in the mount table. On
        // other file systems a new number means a mount that was made during the walk.
        let known = stat.st_dev == here.device || self.scope.mounts.at(&path).is_some() || self.on_btrfs();
        if !known {
            self.findings(|findings| {
                findings.loss(
                    findings::Kind::Mounted,
                    &path,
                    "a file system was mounted here during the walk: not read",
                )
            });
            return self.found([self.untouched(&path)]);
        }
        let parent = Arc::clone(&here.fd);
        tasks.spawn(move |tasks| self.directory(tasks, Directory { parent, path, surroundings }));
    }

    fn on_btrfs(&self) -> bool {
        self.scope.mounts.iter().any(|mount| mount.fstype == "btrfs")
    }

    /// Returns a regular file if its content is needed; otherwise records it without content.
    fn file(
        &self,
        path: Vec<u8>,
        surroundings: Surroundings,
        stat: &fs::Stat,
        directory: BorrowedFd<'_>,
    ) -> Option<Pending> {
        let rule = self.rule(&path, surroundings);
        let size = stat.st_size as u64;
        let wanted = self.needs_content(&path, rule, size) && (self.scope.content)(&path);
        let (group, first) = self.group(stat, wanted);
        if wanted && first {
            let coverage = (self.scope.coverage)(&path, unallocated(stat));
            let mode = portable_stat(stat).mode;
            return Some(Pending { path, rule, group, size, mode, coverage });
        }
        // Extended attributes belong to the inode, so every name needs them unless the file is
        // excluded from the image.
        let action = rule.zip(self.scope.policy).map(|(id, policy)| policy.rule(id).action);
        let stays_out = action.is_some_and(|action| !matches!(action, Action::Keep | Action::Rewrite));
        let xattrs = (!stays_out).then(|| attributes_of(directory, tree::file_name(&path)));
        let kind = Kind::File { size, sha256: None };
        let mut node = self.node(&path, kind, stat, xattrs.unwrap_or(Ok(None)));
        node.group = group;
        let extra = Extra::sparse(unallocated(stat), Coverage::All).map(Box::new);
        self.found([WalkedEntry { extra, ..WalkedEntry::new(node, rule, Content::Unread) }]);
        None
    }

    /// Returns whether the content decides the verdict or goes into the image.
    ///
    /// A built-in rule by name does not apply to an empty or published file, or a small copy of one.
    fn needs_content(&self, path: &[u8], rule: Option<RuleId>, size: u64) -> bool {
        rule.zip(self.scope.policy).is_none_or(|(id, policy)| match policy.rule(id).action {
            Action::Withhold if !policy.is_users(id) => {
                size <= entry::LARGEST_TEMPLATE || (self.scope.published)(path, None)
            }
            action => action.needs_content(),
        })
    }

    /// Returns the hard link group of a file (0 for a single name), and whether to read it under this
    /// name.
    fn group(&self, stat: &fs::Stat, wanted: bool) -> (u32, bool) {
        if stat.st_nlink < 2 {
            return (0, true);
        }
        let mut inodes = self.inodes.lock().unwrap_or_else(PoisonError::into_inner);
        let next = inodes.len() as u32 + 1;
        let inode = inodes.entry((stat.st_dev, stat.st_ino)).or_insert(Inode { group: next, read: false });
        let first = wanted && !inode.read;
        inode.read |= wanted;
        (inode.group, first)
    }

    fn special(&self, path: Vec<u8>, surroundings: Surroundings, stat: &fs::Stat, directory: BorrowedFd<'_>) {
        let name = tree::file_name(&path);
        let (major, minor) = (fs::major(stat.st_rdev), fs::minor(stat.st_rdev));
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => match fs::readlinkat(directory, name, Vec::new()) {
                Ok(target) => Kind::Symlink(target.into_bytes().into()),
                Err(cause) => return self.unreadable(&path, &cause.into()),
            },
            FileType::Fifo => Kind::Fifo,
            FileType::CharacterDevice => Kind::CharDevice(major, minor),
            FileType::BlockDevice => Kind::BlockDevice(major, minor),
            _ => Kind::Socket,
        };
        // A symbolic link has no user attributes, ACLs or capabilities (xattr(7)).
        let is_link = matches!(kind, Kind::Symlink(_));
        let xattrs = if is_link { Ok(None) } else { attributes_of(directory, name) };
        let mut node = self.node(&path, kind, stat, xattrs);
        node.group = self.group(stat, false).0;
        let rule = self.rule(&path, surroundings);
        self.found([WalkedEntry::new(node, rule, Content::Known)]);
    }

    fn read_batch(&self, directory: &Arc<OwnedFd>, batch: Vec<Pending>) {
        let mut found = Vec::with_capacity(batch.len());
        // No task runs another task inside itself, so the lock of the current thread is free.
        let of_thread = rayon::current_thread_index().and_then(|thread| self.batches.get(thread));
        let mut md5_batch = of_thread.map(|lock| lock.lock().unwrap_or_else(PoisonError::into_inner));
        for pending in batch {
            let coverage = pending.coverage;
            // An MD5 would have to hash its holes, and packages hardly contain such a file.
            let claimed = (self.scope.claimed)(&pending.path).filter(|_| coverage != Some(Coverage::Data));
            let search = self.search(&pending).filter(|_| !self.can_be_published(&pending));
            match &mut md5_batch {
                Some(md5_batch)
                    if claimed == Some(Algorithm::Md5) && search.is_none() && pending.size < ALONE =>
                {
                    md5_batch.add(Arc::clone(directory), pending)
                }
                _ => {
                    let aspects = Aspects { coverage, claimed, search };
                    let reading = content::read(directory.as_fd(), pending.name(), aspects);
                    found.extend(self.read(directory.as_fd(), pending, reading));
                }
            }
        }
        if let Some(md5_batch) = &mut md5_batch {
            md5_batch
                .run(&mut |directory, pending, reading| found.extend(self.read(directory, pending, reading)));
        }
        self.found(found);
    }

    fn finish(&self, batch: &Mutex<Md5Batch<Pending>>) {
        let mut found = Vec::new();
        let mut batch = batch.lock().unwrap_or_else(PoisonError::into_inner);
        batch.finish(&mut |directory, pending, reading| found.extend(self.read(directory, pending, reading)));
        self.found(found);
    }

    /// Returns the entry for a file that was read; `None` if the file was replaced or removed.
    fn read(
        &self,
        directory: BorrowedFd<'_>,
        pending: Pending,
        reading: io::Result<Reading>,
    ) -> Option<WalkedEntry> {
        let (search, can_be_published) = (self.search(&pending), self.can_be_published(&pending));
        let Pending { path, rule, group, .. } = pending;
        match reading {
            Ok(Reading::Stable(read)) => {
                let mut found = self.stable(&path, rule, group, *read);
                let is_unsearched = search.is_some() && can_be_published;
                found.published = is_unsearched && (self.scope.published)(&path, Some(&found));
                // Copies of published files, which contain no secret, are found by their digest.
                let is_undigested = matches!(found.node.kind, Kind::File { sha256: None, .. });
                let lacks_digest = found.secret.is_some() && is_undigested && found.unallocated() == 0;
                if found.published || !is_unsearched && !lacks_digest {
                    return Some(found);
                }
                // The content differs from the package's, so it can hold secrets. One read computes
                // the digests and searches, so that both see the same bytes.
                let claimed = found.claimed().map(|digest| digest.algorithm());
                let aspects = Aspects { coverage: Some(Coverage::All), claimed, search };
                let again = content::read(directory, tree::file_name(&path), aspects);
                match again {
                    Ok(Reading::Stable(read)) => Some(self.stable(&path, rule, group, *read)),
                    other => self.unstable(directory, path, rule, group, other),
                }
            }
            other => self.unstable(directory, path, rule, group, other),
        }
    }

    /// Whether a distribution publishes a file under this path, which can be this one.
    fn can_be_published(&self, pending: &Pending) -> bool {
        pending.coverage != Some(Coverage::Data) && (self.scope.published)(&pending.path, None)
    }

    /// Returns how to search a file for secrets; `None` without a policy.
    fn search(&self, pending: &Pending) -> Option<SearchKind> {
        self.scope.policy?;
        Some(SearchKind::of(&pending.path, pending.mode, pending.group != 0))
    }

    fn stable(&self, path: &[u8], rule: Option<RuleId>, group: u32, read: StableFile) -> WalkedEntry {
        self.scope.progress.bytes.fetch_add(read.size, Relaxed);
        if read.growing {
            let text = "grew while it was read; the image has its content from the start of the read";
            self.findings(|findings| findings.note(findings::Kind::Growing, path, text));
        }
        let kind = Kind::File { size: read.size, sha256: read.sha256 };
        let mut node = self.node(path, kind, &read.stat, attributes(read.file.as_fd()));
        node.group = group;
        let mut found = WalkedEntry::new(node, rule, Content::Known);
        found.secret = self.scope.policy.and_then(|_| with_attributes(read.secret, &found.node));
        let sparse = Extra::sparse(unallocated(&read.stat), read.coverage);
        found.extra = read.claimed.map(Extra::Claimed).or(sparse).map(Box::new);
        found
    }

    /// Records why a file could not be read; returns its entry without content.
    fn unstable(
        &self,
        directory: BorrowedFd<'_>,
        path: Vec<u8>,
        rule: Option<RuleId>,
        group: u32,
        reading: io::Result<Reading>,
    ) -> Option<WalkedEntry> {
        match reading {
            Ok(Reading::Stable(read)) => Some(self.stable(&path, rule, group, *read)),
            Ok(Reading::Changing(stat)) => {
                let text = "changed during each read; stop the process that writes it, or use --exclude";
                self.findings(|findings| findings.loss(findings::Kind::Unstable, &path, text));
                Some(self.lost(&path, &stat, rule, group))
            }
            Ok(Reading::Replaced) => {
                self.findings(|findings| {
                    findings.loss(findings::Kind::Unstable, &path, "replaced by another object while read")
                });
                None
            }
            Err(cause) => {
                self.unreadable(&path, &cause);
                let stat = root::stat_at(directory, tree::file_name(&path)).ok()?;
                Some(self.lost(&path, &stat, rule, group))
            }
        }
    }

    fn lost(&self, path: &[u8], stat: &fs::Stat, rule: Option<RuleId>, group: u32) -> WalkedEntry {
        let mut node =
            self.node(path, Kind::File { size: stat.st_size as u64, sha256: None }, stat, Ok(None));
        node.group = group;
        WalkedEntry::new(node, rule, Content::Lost)
    }

    fn nested_root(&self, path: &[u8]) {
        let text = "contains another root file system (chroot, container or snapshot), which is in the image \
                    without its secrets; leave it out with --exclude if it is a copy";
        self.findings(|findings| findings.warning(findings::Kind::NestedRoot, path, text));
    }

    /// Records a mount point of another file system as an empty directory, without reading it.
    fn foreign(&self, mount: &Mount) {
        let text = match mount.class {
            Class::Remote => {
                "network, FUSE or automounted file system: not read; mount it in the container too"
            }
            Class::Image => "read-only image or CD-ROM: not read",
            Class::Volatile => "file system in memory: not read",
            Class::Pseudo | Class::Local => "kernel interface: not read",
            Class::Unknown => "unknown file system type: not read; copy its files separately",
        };
        let record = if mount.class == Class::Unknown { Findings::loss } else { Findings::note };
        self.findings(|findings| {
            record(
                findings,
                findings::Kind::Mount,
                &mount.point,
                format!("{text} ({})", escape::escape(mount.fstype.as_bytes())),
            )
        });
        self.found([self.untouched(&mount.point)]);
    }

    /// Returns the entry of a mount point. The mount covers the directory, so its usual mode is used.
    fn untouched(&self, path: &[u8]) -> WalkedEntry {
        let mode = match path {
            b"proc" | b"sys" => 0o555,
            b"tmp" | b"var/tmp" | b"dev/shm" | b"run/lock" => 0o1777,
            _ => 0o755,
        };
        let stat = Stat { mode, ..Stat::default() };
        let node = Node { path: path.into(), kind: Kind::Directory, stat, group: 0, xattrs: None };
        WalkedEntry::new(node, self.rule(path, Surroundings::default()), Content::Known)
    }

    fn node(&self, path: &[u8], kind: Kind, stat: &fs::Stat, xattrs: io::Result<Option<Xattrs>>) -> Node {
        let xattrs = xattrs.unwrap_or_else(|cause| {
            self.findings(|findings| {
                findings.loss(findings::Kind::Unreadable, path, format!("extended attributes: {cause}"))
            });
            None
        });
        Node { path: path.into(), kind, stat: portable_stat(stat), group: 0, xattrs: xattrs.map(Box::new) }
    }

    fn rule(&self, path: &[u8], surroundings: Surroundings) -> Option<RuleId> {
        self.scope.policy.and_then(|policy| surroundings.rule(path, policy))
    }

    fn found(&self, found: impl IntoIterator<Item = WalkedEntry>) {
        let mut tree = self.tree.lock().unwrap_or_else(PoisonError::into_inner);
        let before = tree.found.len();
        tree.found.extend(found);
        self.scope.progress.objects.fetch_add((tree.found.len() - before) as u64, Relaxed);
    }

    /// Records an object that cannot be read. A removed object is a note, because the machine no
    /// longer has it.
    fn unreadable(&self, path: &[u8], cause: &io::Error) {
        if file::is_fault(cause) {
            self.scope.progress.faults.fetch_add(1, Relaxed);
        }
        self.findings(|findings| match cause.kind() {
            io::ErrorKind::NotFound => {
                findings.note(findings::Kind::Vanished, path, "removed while the machine was read")
            }
            _ => findings.loss(findings::Kind::Unreadable, path, cause.to_string()),
        });
    }

    fn findings(&self, record: impl FnOnce(&mut Findings)) {
        record(&mut self.tree.lock().unwrap_or_else(PoisonError::into_inner).findings);
    }
}

/// Copies the result of the name that was read to the other names of the same inode.
fn share_within_groups(found: &mut [WalkedEntry]) {
    let read = found.iter().filter(|one| one.node.group != 0 && one.content != Content::Unread);
    let read: HashMap<u32, WalkedEntry> = read.map(|one| (one.node.group, one.clone())).collect();
    for one in found.iter_mut().filter(|one| one.content == Content::Unread) {
        if let Some(read) = read.get(&one.node.group) {
            let Node { kind, stat, xattrs, .. } = read.node.clone();
            one.node =
                Node { path: std::mem::take(&mut one.node.path), kind, stat, group: one.node.group, xattrs };
            (one.content, one.extra) = (read.content, read.extra.clone());
            (one.secret, one.published) = (read.secret, read.published);
        }
    }
}

fn open_directory(parent: BorrowedFd<'_>, path: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let name = if path.is_empty() { b"." } else { tree::file_name(path) };
    file::open_quietly(parent, name, flags).map_err(io::Error::from)
}

/// Returns the first 64 bytes of a regular file, which hold the magic numbers of databases.
fn head(directory: BorrowedFd<'_>, name: &[u8]) -> Option<Vec<u8>> {
    let file = file::open_regular(directory, name).ok()?;
    let mut bytes = vec![0; 64];
    let length = rustix::io::read(&file, bytes.as_mut_slice()).ok()?;
    bytes.truncate(length);
    Some(bytes)
}

/// Returns the bytes of a regular file that take no space on the disk.
pub(crate) fn unallocated(stat: &fs::Stat) -> u64 {
    holes::unallocated(stat.st_size as u64, stat.st_blocks as u64)
}

/// Returns the fields of a `stat(2)` result that are compared and that an image can hold.
pub(crate) fn portable_stat(stat: &fs::Stat) -> Stat {
    Stat {
        mode: (stat.st_mode & 0o7777) as u16,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: stat.st_mtime,
        mtime_nsec: stat.st_mtime_nsec as u32,
    }
}
