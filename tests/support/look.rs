//! A root as `lstat(2)`, `readlink(2)` and `lgetxattr(2)` show it: the judge of what was built.

use super::fixture;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// One object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) kind: char,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) size: u64,
    pub(crate) sha256: Vec<u8>,
    pub(crate) target: Vec<u8>,
    pub(crate) device: u64,
    /// The first name of its inode.
    pub(crate) first: Vec<u8>,
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) mtime: i64,
}

/// By absolute path; without the root itself.
pub(crate) type Listing = BTreeMap<Vec<u8>, Look>;

/// Everything beneath `root`.
pub(crate) fn look(root: &Path) -> Listing {
    let mut listing = Listing::new();
    let mut inodes = HashMap::new();
    collect(root, root, &mut listing);
    for (path, look) in &mut listing {
        let meta = std::fs::symlink_metadata(fixture::beneath(root, path)).unwrap();
        if look.kind != 'd' {
            look.first = inodes.entry(meta.ino()).or_insert_with(|| path.clone()).clone();
        }
    }
    listing
}

fn collect(root: &Path, directory: &Path, listing: &mut Listing) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let look = one(&path);
        let is_directory = look.kind == 'd';
        let relative = path.strip_prefix(root).unwrap().as_os_str().as_bytes();
        listing.insert([b"/", relative].concat(), look);
        if is_directory {
            collect(root, &path, listing);
        }
    }
}

fn one(path: &Path) -> Look {
    let meta = std::fs::symlink_metadata(path).unwrap();
    let kind = match meta.file_type() {
        kind if kind.is_dir() => 'd',
        kind if kind.is_file() => 'f',
        kind if kind.is_symlink() => 'l',
        kind if kind.is_fifo() => 'p',
        kind if kind.is_char_device() => 'c',
        kind if kind.is_block_device() => 'b',
        _ => 's',
    };
    let is = |wanted| kind == wanted;
    Look {
        kind,
        mode: if is('l') { 0 } else { meta.mode() & 0o7777 },
        owner: (meta.uid(), meta.gid()),
        size: if is('f') { meta.len() } else { 0 },
        sha256: if is('f') { Sha256::digest(std::fs::read(path).unwrap()).to_vec() } else { Vec::new() },
        target: if is('l') {
            std::fs::read_link(path).unwrap().into_os_string().into_vec()
        } else {
            Vec::new()
        },
        device: if is('c') || is('b') { meta.rdev() } else { 0 },
        first: Vec::new(),
        xattrs: xattrs(path),
        mtime: meta.mtime(),
    }
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 64 << 10];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    let names = names[..length].split(|&byte| byte == 0).filter(|name| {
        name.starts_with(b"user.")
            || name.starts_with(b"system.posix_acl_")
            || *name == b"security.capability"
    });
    let value = |name: &[u8]| {
        let mut value = vec![0; 64 << 10];
        let length = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
        (name.to_vec(), value[..length].to_vec())
    };
    names.map(value).collect()
}

/// Returns the differences between machine and image, one line per path. Times count for the
/// files of `carried`.
pub(crate) fn differences(machine: &Listing, image: &Listing, carried: &BTreeSet<Vec<u8>>) -> Vec<String> {
    let paths: BTreeSet<&Vec<u8>> = machine.keys().chain(image.keys()).collect();
    let mut lines = Vec::new();
    for path in paths {
        let (Some(a), Some(b)) = (machine.get(path), image.get(path)) else {
            let side = if machine.contains_key(path) { "missing in the image" } else { "only in the image" };
            lines.push(format!("{}: {side}", path.escape_ascii()));
            continue;
        };
        let timed = a.kind != 'd' && carried.contains(path);
        let b = Look { mtime: if timed { b.mtime } else { a.mtime }, ..b.clone() };
        if *a != b {
            lines.push(format!("{}:\n  machine {a:?}\n  image   {b:?}", path.escape_ascii()));
        }
    }
    lines
}

/// Returns the timestamps that a reader must not change: access, modification and change time,
/// with nanoseconds. Reading a link changes its access time, and no flag prevents this, so the
/// access time of links is omitted.
pub(crate) fn times(paths: &[PathBuf]) -> Vec<(PathBuf, [i64; 6])> {
    let times = |path: &PathBuf| {
        let meta = std::fs::symlink_metadata(path).unwrap();
        let access = if meta.is_symlink() { (0, 0) } else { (meta.atime(), meta.atime_nsec()) };
        let all = [access.0, access.1, meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()];
        (path.clone(), all)
    };
    paths.iter().map(times).collect()
}

/// Every path beneath a root, and the root.
pub(crate) fn paths(root: &Path) -> Vec<PathBuf> {
    let listed = look(root);
    listed.keys().map(|path| fixture::beneath(root, path)).chain([root.to_owned()]).collect()
}
