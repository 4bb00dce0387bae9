//! Forecast of the space that a context needs, before the content of the machine is read.

use crate::context::compress::{Compression, Format};
use crate::context::output::ContextWriter;
use crate::error::{Code, Error, Result};
use crate::model::escape;
use crate::model::size;
use crate::model::tree::{self, Kind};
use crate::policy::content::{self, Search};
use crate::policy::{Action, Policy};
use crate::system::file;
use crate::system::mounts::{Class, Mounts};
use crate::system::root::Root;
use crate::walk::{self, Progress, Scope, Tree, WalkedEntry};
use rustix::fs::{self, SeekFrom};
use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

/// Size on the disk from which [`data_bytes`] opens a file, in bytes.
const LARGE: u64 = 64 << 20;
/// Maximum number of data ranges that [`data_bytes`] counts in one file.
const MAX_RANGES: usize = 10_000;
/// Number of bytes at the start of a file that show whether it is swap space or a key store.
const HEAD: usize = 128 << 10;

/// Parameters of [`check_space`].
pub struct Space<'a> {
    /// The machine.
    pub root: &'a Root,
    /// The scope of the walk that follows.
    pub scope: &'a Scope<'a>,
    /// Returns whether a package owns a path. The delta may not need the file then.
    pub is_packaged: &'a dyn Fn(&[u8]) -> bool,
    /// How the archives are compressed.
    pub compression: Compression,
    /// Number of threads.
    pub threads: usize,
}

/// Fails with exit code 20 if a context on this machine certainly does not fit into the output.
///
/// Lists the files of the machine only if the free space is less than the least possible size of an
/// archive of its file systems, because the list takes up to a tenth of a run.
pub fn check_space(space: &Space<'_>, writer: &ContextWriter) -> Result<()> {
    let executable =
        std::fs::metadata("/proc/self/exe").map_err(|cause| Error::io("/proc/self/exe", cause))?.len();
    let needed = |bytes| executable.saturating_add(least_archive(bytes, space.compression));
    if used(space.root, space.scope.mounts).is_ok_and(|bytes| writer.check_room(needed(bytes)).is_ok()) {
        return Ok(());
    }
    let progress = Progress::default();
    let listing = Scope { content: &|_| false, progress: &progress, ..*space.scope };
    let tree = walk::walk(space.root, &listing, space.threads)
        .map_err(|cause| Error::io(space.root.name(), cause))?;
    let carried = carried(&tree, space);
    writer.check_room(needed(carried.bytes)).map_err(|error| match carried.largest {
        Some((path, length)) if error.code == Code::NoSpace => {
            let largest = format!("{} ({})", escape::display(path), size::bytes(length));
            error.with_code(Code::NotStarted).hint(format!(
                "choose another file system with --out, or leave out files with --exclude; the largest \
                 is {largest}"
            ))
        }
        _ => error.with_code(Code::NotStarted),
    })
}

/// Returns the least size of an archive of files with this many bytes.
pub fn least_archive(bytes: u64, compression: Compression) -> u64 {
    match compression.format {
        Format::None => bytes,
        // zstd has never left less than a fifth of a complete system.
        Format::Zstd | Format::Gzip => bytes / 5,
    }
}

/// Returns the bytes of a regular file that an archive contains: not those of holes.
///
/// A large file is opened, because ranges that were allocated and never written contain only zeros
/// (fallocate(2)). Returns 0 if it begins like a file that is left out for its content.
pub fn data_bytes(root: &Root, found: &WalkedEntry) -> u64 {
    let allocated = found.node.size().saturating_sub(found.unallocated());
    if allocated < LARGE {
        return allocated;
    }
    let path = &found.node.path;
    let opened = root.open_directory_exactly(tree::parent(path));
    let opened = opened.and_then(|directory| file::open_regular(directory.as_fd(), tree::file_name(path)));
    let measured = opened.map(File::from).and_then(|file| {
        let mut head = vec![0; HEAD];
        let length = file.read_at(&mut head, 0)?;
        let mut search = Search::new(content::Kind::of(path, found.node.stat.mode, found.node.group != 0));
        search.feed(&head[..length]);
        let stays_out = search.finish().is_some_and(|secret| secret.certain);
        if stays_out { Ok(0) } else { count_data(&file, found.node.size()) }
    });
    measured.map_or(0, |bytes| bytes.min(allocated))
}

/// Returns the number of bytes in the first [`MAX_RANGES`] data ranges of a file.
fn count_data(file: &File, size: u64) -> io::Result<u64> {
    let (mut bytes, mut position) = (0, 0);
    for _ in 0..MAX_RANGES {
        let from = match fs::seek(file, SeekFrom::Data(position)) {
            Ok(from) => from,
            // No more data (lseek(2)).
            Err(rustix::io::Errno::NXIO) => break,
            // The file system does not support SEEK_DATA.
            Err(_) => return Ok(size),
        };
        position = fs::seek(file, SeekFrom::Hole(from))?;
        bytes += position.saturating_sub(from);
    }
    Ok(bytes)
}

/// Returns the bytes that all files of the machine take on the disk, and other files of the same
/// file systems.
fn used(root: &Root, mounts: &Mounts) -> io::Result<u64> {
    let bytes = |stat: fs::StatVfs| stat.f_blocks.saturating_sub(stat.f_bfree).saturating_mul(stat.f_frsize);
    let mut sum = bytes(fs::fstatvfs(root.directory())?);
    for mount in mounts.iter().filter(|mount| mount.class == Class::Local && !mount.point.is_empty()) {
        let directory = root.open_directory_exactly(&mount.point)?;
        sum = sum.saturating_add(bytes(fs::fstatvfs(&directory)?));
    }
    Ok(sum)
}

/// Data of the files that the delta contains whatever the lower layers provide.
#[derive(Default)]
struct Carried<'a> {
    /// Sum in bytes.
    bytes: u64,
    /// Path and bytes of the largest.
    largest: Option<(&'a [u8], u64)>,
}

fn carried<'a>(tree: &'a Tree, space: &Space<'_>) -> Carried<'a> {
    let mut seen: HashSet<u32> = HashSet::new();
    let mut carried = Carried::default();
    for found in tree.found.iter().filter(|found| is_carried(found, space)) {
        if found.node.group != 0 && !seen.insert(found.node.group) {
            continue;
        }
        let bytes = data_bytes(space.root, found);
        carried.bytes = carried.bytes.saturating_add(bytes);
        if carried.largest.is_none_or(|(_, most)| bytes > most) {
            carried.largest = Some((&found.node.path, bytes));
        }
    }
    carried
}

fn is_carried(found: &WalkedEntry, space: &Space<'_>) -> bool {
    let path = &found.node.path;
    let action = |policy: &Policy| found.rule.map(|id| policy.rule(id).action);
    let is_kept = space.scope.policy.and_then(action).is_none_or(|action| action == Action::Keep);
    let may_be_provided = (space.is_packaged)(path) || (space.scope.published)(path, None);
    matches!(found.node.kind, Kind::File { .. }) && is_kept && !may_be_provided
}
