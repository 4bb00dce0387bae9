//! The only door to the machine's file system: everything is opened beneath one root directory.
//!
//! Absolute links and `..` are resolved as in a chroot, never out of the root:
//! by `openat2(2)` with `RESOLVE_IN_ROOT` where the kernel has it (5.6), else
//! component by component. Both ways pass the same table of tests.

use super::cache_neutral::CacheNeutralReader;
use super::mounts::{self, Class};
use crate::model::findings::{self, Findings};
use crate::model::{escape, tree};
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, retry_on_intr};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A database or configuration file larger than this is refused rather than read into memory.
const READ_LIMIT: u64 = 256 << 20;
/// As in the kernel's own path resolution (`path_resolution(7)`).
const MAX_LINKS: usize = 40;

/// An opened root directory.
///
/// What it could not give although it is there is kept, so that nobody who asks and can do without the answer makes it
/// silent: see [`Root::take_faults`].
#[derive(Debug)]
pub struct Root {
    directory: OwnedFd,
    path: PathBuf,
    /// Mount points beneath it that are never entered: whoever serves them may not answer.
    remote: Vec<Box<[u8]>>,
    faults: Mutex<Findings>,
}

impl Root {
    /// Opens `path` as the root of everything that follows.
    pub fn open(path: &Path) -> io::Result<Self> {
        let path = path.canonicalize()?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = fs::open(&path, flags, Mode::empty())?;
        // Where there is no table, nothing is known; the inventory says so.
        let mountinfo = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
        let mounts = mounts::parse(&mountinfo, path.as_os_str().as_bytes());
        let remote = mounts.iter().filter(|mount| mount.class == Class::Remote && !mount.point.is_empty());
        let remote = remote.map(|mount| mount.point.clone()).collect();
        Ok(Root { directory, path, remote, faults: Mutex::default() })
    }

    /// Everything since the last call that is there and could not be read, as losses.
    pub fn take_faults(&self) -> Findings {
        std::mem::take(&mut *self.faults.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keeps a failure that is none of the answers that people expect. The kernel's own interfaces refuse for many reasons.
    fn checked<T>(&self, path: &[u8], result: io::Result<T>) -> io::Result<T> {
        const ANSWERS: [Errno; 6] =
            [Errno::NOENT, Errno::NOTDIR, Errno::LOOP, Errno::INVAL, Errno::REMOTE, Errno::NAMETOOLONG];
        if let Err(cause) = &result
            && let Some(number) = cause.raw_os_error()
            && !ANSWERS.contains(&Errno::from_raw_os_error(number))
            && ![&b"proc"[..], b"sys"].iter().any(|directory| tree::is_within(path, directory))
        {
            let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
            faults.loss(findings::Kind::Unreadable, path, cause.to_string());
        }
        result
    }

    /// Where the root was opened, absolute and without links, as the mount table writes it.
    pub fn absolute(&self) -> &[u8] {
        self.path.as_os_str().as_bytes()
    }

    /// The same for messages.
    pub fn name(&self) -> String {
        escape::escape(self.absolute())
    }

    /// Whether this is the running machine's own root, whose `/proc` tells about it.
    pub fn is_live(&self) -> bool {
        self.path == Path::new("/")
    }

    /// The root directory itself.
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// The content of a regular file, following links inside the root.
    pub fn read(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        self.checked(path, self.read_whole(path))
    }

    fn read_whole(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        let file = CacheNeutralReader::new(File::from(self.open_regular(path)?));
        let mut content = Vec::new();
        file.take(READ_LIMIT + 1).read_to_end(&mut content)?;
        if content.len() as u64 > READ_LIMIT {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 256 MiB"));
        }
        Ok(content)
    }

    /// A regular file, opened for reading, following links inside the root.
    ///
    /// `O_NONBLOCK` keeps a FIFO that stands in the file's place from blocking the run.
    pub fn open_file(&self, path: &[u8]) -> io::Result<OwnedFd> {
        self.checked(path, self.open_regular(path))
    }

    fn open_regular(&self, path: &[u8]) -> io::Result<OwnedFd> {
        let file = self.resolve(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        match FileType::from_raw_mode(retry_on_intr(|| fs::fstat(&file))?.st_mode) {
            FileType::RegularFile => Ok(file),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
        }
    }

    /// The `stat` of what a path leads to, following links inside the root.
    pub fn stat(&self, path: &[u8]) -> io::Result<fs::Stat> {
        let object = self.resolve(path, OFlags::PATH)?;
        Ok(retry_on_intr(|| fs::fstat(&object))?)
    }

    /// The names in a directory, sorted, following links inside the root; without `.` and `..`.
    pub fn list(&self, path: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        let directory = self.resolve(path, OFlags::RDONLY | OFlags::DIRECTORY);
        self.checked(path, directory.and_then(|directory| list_directory(directory.as_fd())))
    }

    /// The target of a symbolic link; links before the last component are followed inside the root.
    pub fn read_link(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        let directory = self.resolve(tree::parent(path), OFlags::PATH | OFlags::DIRECTORY)?;
        let target = retry_on_intr(|| fs::readlinkat(&directory, tree::file_name(path), Vec::new()));
        Ok(target?.into_bytes())
    }

    /// A directory, opened a component at a time; a link anywhere on the way is an error (`ELOOP` or `ENOTDIR`).
    pub fn open_directory_exactly(&self, path: &[u8]) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if self.remote.iter().any(|point| tree::is_within(path, point)) {
            return Err(Errno::REMOTE.into());
        }
        let open = |above: BorrowedFd<'_>, name: &[u8]| {
            retry_on_intr(|| fs::openat(above, name, flags, Mode::empty()))
        };
        let mut directory = open(self.directory.as_fd(), b".")?;
        for component in path.split(|&byte| byte == b'/').filter(|component| !component.is_empty()) {
            directory = open(directory.as_fd(), component)?;
        }
        Ok(directory)
    }

    /// Opens what `path` leads to; without leaving an access time behind, which owners and root may ask for.
    fn resolve(&self, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        // openat2(2) takes O_NOATIME with O_PATH for a mistake; nothing is read then.
        let quietly = if flags.contains(OFlags::PATH) { flags } else { flags | OFlags::NOATIME };
        match self.resolve_as_asked(path, quietly) {
            // The kernel's answer to O_NOATIME; no right to the object itself is another (EACCES).
            Err(cause) if cause.raw_os_error() == Some(Errno::PERM.raw_os_error()) => {
                self.resolve_as_asked(path, flags)
            }
            result => result,
        }
    }

    fn resolve_as_asked(&self, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        match self.resolve_by_kernel(path, flags) {
            // Filters of old container engines answer EPERM for calls that they do not know.
            Err(Errno::NOSYS | Errno::PERM) => self.resolve_by_hand(path, flags),
            // Another file system is on the way, and some of them are not to be entered.
            Err(Errno::XDEV) if !self.remote.is_empty() => self.resolve_by_hand(path, flags),
            result => Ok(result?),
        }
    }

    fn resolve_by_kernel(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b"." } else { path };
        let mut how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        if !self.remote.is_empty() {
            how |= ResolveFlags::NO_XDEV;
        }
        let flags = flags | OFlags::CLOEXEC;
        retry_on_intr(|| fs::openat2(&self.directory, path, flags, Mode::empty(), how))
    }

    fn resolve_by_hand(&self, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        let inner = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut stack: Vec<(OwnedFd, Vec<u8>)> = Vec::new();
        let mut todo: Vec<Vec<u8>> = components(path);
        let mut links = 0;
        while let Some(component) = todo.pop() {
            if component == b".." {
                stack.pop();
                continue;
            }
            let here = stack.last().map_or(self.directory.as_fd(), |(fd, _)| fd.as_fd());
            let whole = tree::join(stack.last().map_or(b"", |(_, path)| path), &component);
            if self.remote.iter().any(|point| **point == *whole) {
                return Err(Errno::REMOTE.into());
            }
            let entry = retry_on_intr(|| fs::openat(here, component.as_slice(), inner, Mode::empty()))?;
            match FileType::from_raw_mode(retry_on_intr(|| fs::fstat(&entry))?.st_mode) {
                FileType::Symlink => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Errno::LOOP.into());
                    }
                    let target = fs::readlinkat(&entry, "", Vec::new())?.into_bytes();
                    if target.first() == Some(&b'/') {
                        stack.clear();
                    }
                    todo.extend(components(&target));
                }
                FileType::Directory => stack.push((entry, whole)),
                _ if todo.is_empty() => {
                    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    let open = || fs::openat(here, component.as_slice(), flags, Mode::empty());
                    return Ok(retry_on_intr(open)?);
                }
                _ => return Err(Errno::NOTDIR.into()),
            }
        }
        let here = stack.last().map_or(self.directory.as_fd(), |(fd, _)| fd.as_fd());
        Ok(retry_on_intr(|| fs::openat(here, ".", flags | OFlags::CLOEXEC, Mode::empty()))?)
    }
}

/// The names in an opened directory, sorted; without `.` and `..`.
pub fn list_directory(directory: BorrowedFd<'_>) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    // The same open directory, with its flags: opening it anew would leave an access time behind.
    let directory = rustix::io::fcntl_dupfd_cloexec(directory, 0)?;
    let mut entries = fs::Dir::new(directory)?;
    // Its position is that of every descriptor of it: someone may have listed it before.
    entries.rewind();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Device and inode number of what a path of our own leads to: what it is, whatever its names.
pub fn identity_of(path: &Path) -> io::Result<(u64, u64)> {
    let stat = fs::stat(path)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// `lstat` of a name in an opened directory.
pub fn stat_at(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<fs::Stat> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    Ok(retry_on_intr(|| fs::statat(directory, name, flags))?)
}

/// The components of a path in reverse, ready to be popped.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    let kept = path.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    kept.rev().map(<[u8]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn fixture() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("outside"), "secret").unwrap();
        let top = dir.path().join("root");
        std::fs::create_dir_all(top.join("usr/lib")).unwrap();
        std::fs::write(top.join("usr/lib/os-release"), "ID=debian").unwrap();
        std::fs::create_dir(top.join("etc")).unwrap();
        symlink("../usr/lib/os-release", top.join("etc/os-release")).unwrap();
        symlink("/usr/lib", top.join("lib")).unwrap();
        symlink("../../../../outside", top.join("etc/escape")).unwrap();
        symlink(dir.path().join("outside"), top.join("etc/absolute")).unwrap();
        symlink("loop", top.join("etc/loop")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, top.join("etc/fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let root = Root::open(&top).unwrap();
        (dir, root)
    }

    /// Path, and what it opens to: the content, or nothing.
    const CASES: &[(&str, Option<&str>)] = &[
        ("usr/lib/os-release", Some("ID=debian")),
        ("/usr//lib/./os-release", Some("ID=debian")),
        ("etc/os-release", Some("ID=debian")),
        ("lib/os-release", Some("ID=debian")),
        ("../../usr/lib/os-release", Some("ID=debian")),
        ("etc/escape", None),
        ("etc/absolute", None),
        ("etc/loop", None),
        ("etc/none", None),
        ("etc/os-release/x", None),
    ];

    #[test]
    fn both_resolvers_stay_inside_the_root() {
        let (_dir, root) = fixture();
        let read = |fd: OwnedFd| io::read_to_string(File::from(fd)).unwrap();
        for (path, content) in CASES {
            let kernel = root.resolve_by_kernel(path.as_bytes(), OFlags::RDONLY).ok().map(read);
            let hand = root.resolve_by_hand(path.as_bytes(), OFlags::RDONLY).ok().map(read);
            assert_eq!(kernel.as_deref(), *content, "kernel: {path}");
            assert_eq!(hand.as_deref(), *content, "by hand: {path}");
        }
        assert!(root.resolve_by_hand(b"", OFlags::RDONLY).is_ok());
        assert!(root.resolve_by_kernel(b"", OFlags::RDONLY).is_ok());
    }

    #[test]
    fn a_fifo_in_a_files_place_neither_blocks_nor_reads() {
        let (_dir, root) = fixture();
        assert_eq!(root.read(b"etc/fifo").unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(root.read(b"etc").unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn reading_leaves_no_access_time() {
        let (_dir, root) = fixture();
        let old = rustix::fs::Timespec { tv_sec: 1, tv_nsec: 0 };
        let times = rustix::fs::Timestamps { last_access: old, last_modification: old };
        for name in ["usr/lib/os-release", "usr/lib"] {
            fs::utimensat(root.directory(), name, &times, AtFlags::empty()).unwrap();
        }
        root.read(b"usr/lib/os-release").unwrap();
        root.list(b"usr/lib").unwrap();
        for name in ["usr/lib/os-release", "usr/lib"] {
            assert_eq!(stat_at(root.directory(), name.as_bytes()).unwrap().st_atime, 1, "{name}");
        }
    }

    #[test]
    fn exact_opening_refuses_links() {
        let (_dir, root) = fixture();
        assert!(root.open_directory_exactly(b"usr/lib").is_ok());
        assert!(root.open_directory_exactly(b"").is_ok());
        assert!(root.open_directory_exactly(b"lib").is_err());
    }

    #[test]
    fn names_come_sorted_and_links_unfollowed() {
        let (_dir, root) = fixture();
        let names = ["absolute", "escape", "fifo", "loop", "os-release"].map(|name| name.as_bytes().to_vec());
        assert_eq!(root.list(b"etc").unwrap(), names);
        assert_eq!(root.read_link(b"etc/os-release").unwrap(), b"../usr/lib/os-release");
    }
}
