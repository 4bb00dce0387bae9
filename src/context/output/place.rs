//! Output path: its parent directory is opened once, in a way that other users cannot redirect.

use crate::error::{Code, Error, Result};
use crate::model::escape;
use rustix::fs::{self, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::env::current_dir;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::{fmt, io};

/// Maximum number of symbolic links in a path, as in the kernel (`path_resolution(7)`).
const MAX_LINKS: usize = 40;

/// Name in an open directory. The path is resolved once, so renamed parents have no effect.
#[derive(Debug)]
pub struct OutputPath {
    parent: OwnedFd,
    name: OsString,
    path: PathBuf,
}

impl OutputPath {
    /// Opens the parent of `out`.
    ///
    /// Fails with exit code 2 if `out` does not end in a name. Fails with 20 if another user
    /// could redirect the output: through a symbolic link or a directory of theirs, or in a
    /// directory that others can write to and that is not sticky.
    pub fn open(out: &Path) -> Result<Self> {
        if !matches!(out.components().next_back(), Some(Component::Normal(_))) {
            return Err(usage(out, "does not name a directory"));
        }
        let (parent, name) = trusted_parent(out).map_err(|unsafe_path| unsafe_path.into_error(out))?;
        Ok(OutputPath { parent, name, path: out.to_owned() })
    }

    /// Returns the parent directory of the output.
    pub fn parent(&self) -> BorrowedFd<'_> {
        self.parent.as_fd()
    }

    /// Returns the last component of the path.
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// Returns the path of the command line, escaped for messages.
    pub fn shown(&self) -> String {
        escape::escape(self.path.as_os_str().as_bytes())
    }

    /// Fails with exit code 2 if the path exists and is not an empty directory.
    pub fn check_free(&self) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match fs::openat(&self.parent, self.name.as_bytes(), flags, Mode::empty()) {
            Ok(directory) => {
                let names = crate::system::root::list_directory(directory.as_fd());
                let names = names.map_err(|cause| Error::io(self.shown(), cause))?;
                if names.is_empty() { Ok(()) } else { Err(usage(&self.path, "exists and is not empty")) }
            }
            Err(Errno::NOENT) => Ok(()),
            Err(Errno::NOTDIR | Errno::LOOP) => Err(usage(&self.path, "exists and is not a directory")),
            Err(cause) => Err(Error::io(self.shown(), cause.into())),
        }
    }

    /// Returns device and inode of the directory at this path, if it exists already.
    pub fn identity(&self) -> Option<(u64, u64)> {
        let stat = crate::system::root::stat_at(self.parent(), self.name.as_bytes()).ok()?;
        Some((stat.st_dev, stat.st_ino))
    }
}

/// Opens the parent directory of `path` and returns it with the last component.
///
/// Fails if another user could redirect the path: through a symbolic link or a directory of theirs,
/// or in a directory that others can write to and that is not sticky.
pub fn trusted_parent(path: &Path) -> std::result::Result<(OwnedFd, OsString), UnsafePath> {
    let name = path.file_name().ok_or(Errno::INVAL)?.to_owned();
    let parent = path.parent().unwrap_or(Path::new(""));
    // The owner of a directory above the working directory can rename that one too.
    let parent = if parent.is_absolute() { parent.to_owned() } else { current_dir()?.join(parent) };
    Ok((walk(&parent)?, name))
}

/// Reason why a parent directory was not opened.
#[derive(Debug)]
pub enum UnsafePath {
    /// Error of the operating system.
    Io(io::Error),
    /// Another user could redirect the path; the text says how.
    Foreign(String),
}

impl fmt::Display for UnsafePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UnsafePath::Io(cause) => write!(f, "cannot open its parent directory: {cause}"),
            UnsafePath::Foreign(why) => f.write_str(why),
        }
    }
}

impl UnsafePath {
    fn into_error(self, out: &Path) -> Error {
        let shown = escape::escape(out.as_os_str().as_bytes());
        match self {
            UnsafePath::Io(cause) => {
                Error::io(format!("cannot open the parent directory of --out {shown}"), cause)
                    .hint("--out needs an existing parent directory")
            }
            UnsafePath::Foreign(why) => Error::new(Code::NotStarted, format!("--out {shown}: {why}")).hint(
                "choose a path in which root owns each directory and others cannot write; /tmp is safe too",
            ),
        }
    }
}

impl From<io::Error> for UnsafePath {
    fn from(cause: io::Error) -> Self {
        UnsafePath::Io(cause)
    }
}

impl From<Errno> for UnsafePath {
    fn from(cause: Errno) -> Self {
        UnsafePath::Io(cause.into())
    }
}

/// Opens a directory by its absolute path, component by component.
///
/// Each directory must be safe from other users, because the owner of one can rename the next.
/// Follows a symbolic link only if root or the user of this process owns it. `openat2(2)` has no
/// flag for that.
fn walk(path: &Path) -> std::result::Result<OwnedFd, UnsafePath> {
    let through = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut here = fs::open("/", through | OFlags::DIRECTORY, Mode::empty())?;
    check_writers(&here, &fs::fstat(&here)?, OsStr::new("/"))?;
    let mut remaining = components(path);
    let mut links = 0;
    while let Some(component) = remaining.pop() {
        let entry = fs::openat(&here, component.as_bytes(), through, Mode::empty())?;
        let stat = fs::fstat(&entry)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            check_writers(&entry, &stat, &component)?;
            here = entry;
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(Errno::LOOP.into());
        }
        if !is_trusted(stat.st_uid) {
            let name = escape::escape(component.as_bytes());
            return Err(UnsafePath::Foreign(format!(
                "another user owns the symbolic link {name} in the path"
            )));
        }
        let target = fs::readlinkat(&entry, "", Vec::new())?.into_bytes();
        let target = PathBuf::from(OsString::from_vec(target));
        if target.is_absolute() {
            here = fs::open("/", through | OFlags::DIRECTORY, Mode::empty())?;
        }
        remaining.extend(components(&target));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(fs::openat(&here, ".", flags, Mode::empty())?)
}

/// Returns the components of a path in reverse order.
fn components(path: &Path) -> Vec<OsString> {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    let mut names: Vec<OsString> = names.collect();
    names.reverse();
    names
}

/// Fails if other users can rename or replace entries of the directory.
fn check_writers(directory: &OwnedFd, stat: &fs::Stat, name: &OsStr) -> std::result::Result<(), UnsafePath> {
    let mode = Mode::from_raw_mode(stat.st_mode);
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(Errno::NOTDIR.into());
    }
    let shown = escape::escape(name.as_bytes());
    if !is_trusted(stat.st_uid) && !is_without_owners(directory) {
        return Err(UnsafePath::Foreign(format!("another user owns the directory {shown} in the path")));
    }
    let is_shared = mode.intersects(Mode::WGRP | Mode::WOTH);
    // In a sticky directory, only the owner of an entry can rename or delete it (inode(7)).
    if is_shared && !mode.contains(Mode::SVTX) {
        return Err(UnsafePath::Foreign(format!(
            "other users can replace files in the directory {shown} in the path"
        )));
    }
    Ok(())
}

/// Whether it is the UID of root or of this process.
fn is_trusted(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

/// Whether the file system stores no owners, so that a mount option decides who owns a directory.
///
/// Writing there needs `--insecure-target` in any case.
fn is_without_owners(directory: &OwnedFd) -> bool {
    /// FAT, exFAT and NTFS (`include/uapi/linux/magic.h` and `fs/ntfs3/super.c` of Linux).
    const TYPES: [u64; 3] = [0x4d44, 0x2011_bab0, 0x7366_746e];
    fs::fstatfs(directory).is_ok_and(|stat| TYPES.contains(&(stat.f_type as u64)))
}

fn usage(out: &Path, what: &str) -> Error {
    Error::new(Code::Usage, format!("--out {} {what}", escape::escape(out.as_os_str().as_bytes())))
        .hint("choose a directory that does not exist or is empty; nothing is ever overwritten")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs as plain;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn code_of(out: &Path) -> Code {
        match OutputPath::open(out).and_then(|place| place.check_free()) {
            Ok(()) => Code::Done,
            Err(error) => error.code,
        }
    }

    #[test]
    fn output_path_check_free_accepts_new_or_empty_only() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        plain::create_dir(at("empty")).unwrap();
        plain::create_dir(at("full")).unwrap();
        plain::write(at("full/x"), "").unwrap();
        plain::write(at("file"), "").unwrap();
        symlink(at("empty"), at("link")).unwrap();
        symlink("empty/../empty/./", at("way")).unwrap();
        symlink("round", at("round")).unwrap();
        for (name, wanted) in [
            ("new", Code::Done),
            ("empty", Code::Done),
            ("way/new", Code::Done),
            ("empty/../new", Code::Done),
            ("full", Code::Usage),
            ("file", Code::Usage),
            ("link", Code::Usage),
            ("full/..", Code::Usage),
            ("absent/new", Code::Failed),
            ("file/new", Code::Failed),
            ("round/new", Code::Failed),
        ] {
            assert_eq!(code_of(&at(name)), wanted, "{name}");
        }
        assert_eq!(code_of(Path::new("/")), Code::Usage);
        assert_eq!(code_of(Path::new("")), Code::Usage);
    }

    #[test]
    fn output_path_open_writable_parent_is_not_started() {
        let dir = tempfile::tempdir().unwrap();
        for (mode, wanted) in [
            (0o700, Code::Done),
            (0o755, Code::Done),
            (0o1777, Code::Done),
            (0o777, Code::NotStarted),
            (0o775, Code::NotStarted),
        ] {
            plain::set_permissions(dir.path(), plain::Permissions::from_mode(mode)).unwrap();
            assert_eq!(code_of(&dir.path().join("new")), wanted, "{mode:o}");
        }
    }

    #[test]
    fn output_path_open_link_of_other_user_is_not_started() {
        let dir = tempfile::tempdir().unwrap();
        plain::create_dir(dir.path().join("to")).unwrap();
        let link = dir.path().join("way");
        symlink("to", &link).unwrap();
        assert_eq!(code_of(&link.join("new")), Code::Done);
        // Only root can change the owner of a link (chown(2)), so only root can test this.
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::lchown(&link, Some(1001), Some(1001)).unwrap();
            assert_eq!(code_of(&link.join("new")), Code::NotStarted);
        }
    }

    /// Only root can give a directory to another user (chown(2)), so only root can test this.
    #[test]
    fn output_path_open_directory_of_other_user_is_not_started() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        for owned in ["", "a", "a/b"] {
            let dir = tempfile::tempdir().unwrap();
            let parent = dir.path().join("a/b");
            plain::create_dir_all(&parent).unwrap();
            assert_eq!(code_of(&parent.join("new")), Code::Done);
            std::os::unix::fs::chown(dir.path().join(owned), Some(1001), None).unwrap();
            assert_eq!(code_of(&parent.join("new")), Code::NotStarted, "{owned}");
            // The owner of a sticky directory can rename entries of other users.
            let sticky = plain::Permissions::from_mode(0o1777);
            plain::set_permissions(dir.path().join(owned), sticky).unwrap();
            assert_eq!(code_of(&parent.join("new")), Code::NotStarted, "{owned}");
        }
    }

    #[test]
    fn output_path_parent_renamed_keeps_directory() {
        let dir = tempfile::tempdir().unwrap();
        let (before, after) = (dir.path().join("before"), dir.path().join("after"));
        plain::create_dir(&before).unwrap();
        let place = OutputPath::open(&before.join("new")).unwrap();
        plain::rename(&before, &after).unwrap();
        symlink("/", &before).unwrap();
        fs::mkdirat(place.parent(), "new", Mode::RWXU).unwrap();
        assert!(after.join("new").is_dir());
    }
}
