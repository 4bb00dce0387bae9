//! Root directory to convert. All files of the machine are opened below it.
//!
//! Absolute symbolic links and `..` are resolved as in a chroot, never out of the root. The
//! kernel does this with `openat2(2)` and `RESOLVE_IN_ROOT` (Linux 5.6); on older kernels the
//! path is resolved component by component. One table of tests checks both.

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

/// Maximum size in bytes of a file that [`Root::read`] reads into memory.
const READ_LIMIT: u64 = 256 << 20;
/// Maximum number of symbolic links in a path, as in the kernel (`path_resolution(7)`).
const MAX_LINKS: usize = 40;

/// Open root directory.
///
/// Records read errors of existing files, so that a caller that ignores an error does not hide
/// it: see [`Root::take_faults`].
#[derive(Debug)]
pub struct Root {
    directory: OwnedFd,
    path: PathBuf,
    /// Mount points of remote file systems. They are never entered because the server may not
    /// respond.
    remote: Vec<Box<[u8]>>,
    faults: Mutex<Findings>,
}

impl Root {
    /// Opens `path` as root directory.
    pub fn open(path: &Path) -> io::Result<Self> {
        let path = path.canonicalize()?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = fs::open(&path, flags, Mode::empty())?;
        // If the mount table cannot be read, the inventory reports it.
        let mountinfo = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
        let mounts = mounts::parse(&mountinfo, path.as_os_str().as_bytes());
        let remote = mounts.iter().filter(|mount| mount.class == Class::Remote && !mount.point.is_empty());
        let remote = remote.map(|mount| mount.point.clone()).collect();
        Ok(Root { directory, path, remote, faults: Mutex::default() })
    }

    /// Returns the read errors since the last call as losses.
    pub fn take_faults(&self) -> Findings {
        std::mem::take(&mut *self.faults.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Records an error, unless it only means that the object does not exist or has another type.
    ///
    /// Ignores `/proc` and `/sys`, where reads fail for many harmless reasons.
    fn checked<T>(&self, path: &[u8], result: io::Result<T>) -> io::Result<T> {
        const EXPECTED: [Errno; 6] =
            [Errno::NOENT, Errno::NOTDIR, Errno::LOOP, Errno::INVAL, Errno::REMOTE, Errno::NAMETOOLONG];
        if let Err(cause) = &result
            && let Some(number) = cause.raw_os_error()
            && !EXPECTED.contains(&Errno::from_raw_os_error(number))
            && ![&b"proc"[..], b"sys"].iter().any(|directory| tree::is_within(path, directory))
        {
            let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
            faults.loss(findings::Kind::Unreadable, path, cause.to_string());
        }
        result
    }

    /// Returns the absolute path of the root without symbolic links, as in the mount table.
    pub fn absolute(&self) -> &[u8] {
        self.path.as_os_str().as_bytes()
    }

    /// Returns the absolute path of the root, escaped for messages.
    pub fn name(&self) -> String {
        escape::escape(self.absolute())
    }

    /// Whether this is the root of the running machine, so that `/proc` belongs to it.
    pub fn is_live(&self) -> bool {
        self.path == Path::new("/")
    }

    /// Returns the descriptor of the root directory.
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Reads a regular file of at most 256 MiB. Follows symbolic links inside the root.
    pub fn read(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        self.checked(path, self.read_unchecked(path))
    }

    fn read_unchecked(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        let file = CacheNeutralReader::new(File::from(self.open_regular(path)?));
        let mut content = Vec::new();
        file.take(READ_LIMIT + 1).read_to_end(&mut content)?;
        if content.len() as u64 > READ_LIMIT {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 256 MiB"));
        }
        Ok(content)
    }

    /// Opens a regular file for reading. Follows symbolic links inside the root.
    ///
    /// Uses `O_NONBLOCK`, so that a FIFO at this path does not block the run (fifo(7)).
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

    /// Returns the stat of the object at a path. Follows symbolic links inside the root.
    pub fn stat(&self, path: &[u8]) -> io::Result<fs::Stat> {
        let object = self.resolve(path, OFlags::PATH)?;
        Ok(retry_on_intr(|| fs::fstat(&object))?)
    }

    /// Returns the names in a directory, sorted, without `.` and `..`. Follows symbolic links
    /// inside the root.
    pub fn list(&self, path: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        let directory = self.resolve(path, OFlags::RDONLY | OFlags::DIRECTORY);
        self.checked(path, directory.and_then(|directory| list_directory(directory.as_fd())))
    }

    /// Returns the target of a symbolic link. Follows links before the last component inside the
    /// root.
    pub fn read_link(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        let directory = self.resolve(tree::parent(path), OFlags::PATH | OFlags::DIRECTORY)?;
        let target = retry_on_intr(|| fs::readlinkat(&directory, tree::file_name(path), Vec::new()));
        Ok(target?.into_bytes())
    }

    /// Opens a directory component by component. Fails with `ELOOP` or `ENOTDIR` if a component
    /// is a symbolic link.
    pub fn open_directory_exactly(&self, path: &[u8]) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if self.remote.iter().any(|point| tree::is_within(path, point)) {
            return Err(Errno::REMOTE.into());
        }
        let open = |parent: BorrowedFd<'_>, name: &[u8]| {
            retry_on_intr(|| fs::openat(parent, name, flags, Mode::empty()))
        };
        let mut directory = open(self.directory.as_fd(), b".")?;
        for component in path.split(|&byte| byte == b'/').filter(|component| !component.is_empty()) {
            directory = open(directory.as_fd(), component)?;
        }
        Ok(directory)
    }

    /// Opens the object at `path`, with `O_NOATIME` if the kernel allows it.
    fn resolve(&self, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        // openat2(2) rejects O_NOATIME together with O_PATH, which reads nothing anyway.
        let with_noatime = if flags.contains(OFlags::PATH) { flags } else { flags | OFlags::NOATIME };
        match self.resolve_with(path, with_noatime) {
            // EPERM: O_NOATIME is not allowed (open(2)). No access to the object would be EACCES.
            Err(cause) if cause.raw_os_error() == Some(Errno::PERM.raw_os_error()) => {
                self.resolve_with(path, flags)
            }
            result => result,
        }
    }

    fn resolve_with(&self, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        match self.resolve_by_kernel(path, flags) {
            // Seccomp filters of old container engines return EPERM for unknown system calls.
            Err(Errno::NOSYS | Errno::PERM) => self.resolve_by_component(path, flags),
            // The path crosses a mount point, which can be one of a remote file system.
            Err(Errno::XDEV) if !self.remote.is_empty() => self.resolve_by_component(path, flags),
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

    fn resolve_by_component(&self, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        let inner = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut stack: Vec<(OwnedFd, Vec<u8>)> = Vec::new();
        let mut remaining: Vec<Vec<u8>> = components(path);
        let mut links = 0;
        while let Some(component) = remaining.pop() {
            if component == b".." {
                stack.pop();
                continue;
            }
            let here = stack.last().map_or(self.directory.as_fd(), |(fd, _)| fd.as_fd());
            let full = tree::join(stack.last().map_or(b"", |(_, path)| path), &component);
            if self.remote.iter().any(|point| **point == *full) {
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
                    remaining.extend(components(&target));
                }
                FileType::Directory => stack.push((entry, full)),
                _ if remaining.is_empty() => {
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

/// Returns the names in an open directory, sorted, without `.` and `..`.
pub fn list_directory(directory: BorrowedFd<'_>) -> io::Result<Vec<Vec<u8>>> {
    let mut all = Vec::new();
    list_in_parts(directory, usize::MAX, |names| all = names)?;
    Ok(all)
}

/// Passes the names in an open directory to `each`, at most `most` at a time. Each part is sorted;
/// all but the last have `most` names.
pub fn list_in_parts(
    directory: BorrowedFd<'_>,
    most: usize,
    mut each: impl FnMut(Vec<Vec<u8>>),
) -> io::Result<()> {
    let mut names = Vec::new();
    // Duplicates the descriptor, which keeps O_NOATIME. Opening the directory again would not.
    let directory = rustix::io::fcntl_dupfd_cloexec(directory, 0)?;
    let mut entries = fs::Dir::new(directory)?;
    // Duplicates share the file offset (dup(2)), which an earlier listing has moved.
    entries.rewind();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
        if names.len() == most {
            names.sort_unstable();
            each(std::mem::take(&mut names));
        }
    }
    names.sort_unstable();
    each(names);
    Ok(())
}

/// Returns device and inode number of a file outside the root, which identify it under any name.
pub fn identity_of(path: &Path) -> io::Result<(u64, u64)> {
    let stat = fs::stat(path)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// Returns the stat of a name in an open directory. Does not follow a symbolic link.
pub fn stat_at(directory: BorrowedFd<'_>, name: &[u8]) -> io::Result<fs::Stat> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    Ok(retry_on_intr(|| fs::statat(directory, name, flags))?)
}

/// Returns the components of a path in reverse order, to be popped.
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

    /// Path, and the content that is read; `None` if it cannot be opened.
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
    fn list_in_parts_any_size_lists_each_name_once() {
        let dir = tempfile::tempdir().unwrap();
        let names: Vec<Vec<u8>> = (0..10).map(|number| format!("name{number}").into_bytes()).collect();
        for name in &names {
            std::fs::write(dir.path().join(std::ffi::OsStr::from_bytes(name)), "").unwrap();
        }
        let directory = File::open(dir.path()).unwrap();
        for most in [1, 3, 5, 10, 11, usize::MAX] {
            let mut parts = Vec::new();
            list_in_parts(directory.as_fd(), most, |part| parts.push(part)).unwrap();
            assert!(parts.iter().all(|part| part.len() <= most && part.is_sorted()), "{most}");
            let mut all = parts.concat();
            all.sort_unstable();
            assert_eq!(all, names, "{most}");
        }
        assert_eq!(list_directory(directory.as_fd()).unwrap(), names);
    }

    #[test]
    fn root_resolve_both_ways_stay_inside() {
        let (_dir, root) = fixture();
        let read = |fd: OwnedFd| io::read_to_string(File::from(fd)).unwrap();
        for (path, content) in CASES {
            let kernel = root.resolve_by_kernel(path.as_bytes(), OFlags::RDONLY).ok().map(read);
            let component = root.resolve_by_component(path.as_bytes(), OFlags::RDONLY).ok().map(read);
            assert_eq!(kernel.as_deref(), *content, "kernel: {path}");
            assert_eq!(component.as_deref(), *content, "by component: {path}");
        }
        assert!(root.resolve_by_component(b"", OFlags::RDONLY).is_ok());
        assert!(root.resolve_by_kernel(b"", OFlags::RDONLY).is_ok());
    }

    #[test]
    fn root_read_fifo_returns_error() {
        let (_dir, root) = fixture();
        assert_eq!(root.read(b"etc/fifo").unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(root.read(b"etc").unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn root_read_keeps_access_time() {
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
    fn root_open_directory_exactly_link_returns_error() {
        let (_dir, root) = fixture();
        assert!(root.open_directory_exactly(b"usr/lib").is_ok());
        assert!(root.open_directory_exactly(b"").is_ok());
        assert!(root.open_directory_exactly(b"lib").is_err());
    }

    #[test]
    fn root_list_returns_sorted_names() {
        let (_dir, root) = fixture();
        let names = ["absolute", "escape", "fifo", "loop", "os-release"].map(|name| name.as_bytes().to_vec());
        assert_eq!(root.list(b"etc").unwrap(), names);
        assert_eq!(root.read_link(b"etc/os-release").unwrap(), b"../usr/lib/os-release");
    }
}
