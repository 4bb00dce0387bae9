//! Where the output will stand: its parent directory, opened once by a walk that no other user can mislead.

use crate::error::{Code, Error, Result};
use crate::model::escape;
use rustix::fs::{self, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::{fmt, io};

/// As in the kernel's own path resolution (`path_resolution(7)`).
const MAX_LINKS: usize = 40;

/// A name in an opened directory. The path is never looked at again: whoever may rename its parts changes nothing.
#[derive(Debug)]
pub struct OutputPath {
    parent: OwnedFd,
    name: OsString,
    path: PathBuf,
}

impl OutputPath {
    /// Opens the parent of `out`.
    ///
    /// Code 2 where `out` names no directory that could be made; 20 where another user decides what stands there: a link
    /// of theirs on the way, or a parent that others may write to and that is not sticky.
    pub fn open(out: &Path) -> Result<Self> {
        if !matches!(out.components().next_back(), Some(Component::Normal(_))) {
            return Err(usage(out, "names no directory"));
        }
        let (parent, name) = trusted_parent(out).map_err(|refusal| refusal.of(out))?;
        Ok(OutputPath { parent, name, path: out.to_owned() })
    }

    /// The directory that the output will stand in.
    pub fn parent(&self) -> BorrowedFd<'_> {
        self.parent.as_fd()
    }

    /// The last component of the path.
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// The path as it was given, for messages.
    pub fn shown(&self) -> String {
        escape::escape(self.path.as_os_str().as_bytes())
    }

    /// Refuses (code 2) a name that is taken by anything but an empty directory.
    pub fn check_free(&self) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match fs::openat(&self.parent, self.name.as_bytes(), flags, Mode::empty()) {
            Ok(directory) => {
                let names = crate::system::root::list_directory(directory.as_fd());
                let names = names.map_err(|cause| Error::io(self.shown(), cause))?;
                if names.is_empty() { Ok(()) } else { Err(usage(&self.path, "exists and is not empty")) }
            }
            Err(Errno::NOENT) => Ok(()),
            Err(Errno::NOTDIR | Errno::LOOP) => Err(usage(&self.path, "exists and is no directory")),
            Err(cause) => Err(Error::io(self.shown(), cause.into())),
        }
    }

    /// Device and inode of an empty directory that stands there already.
    pub fn identity(&self) -> Option<(u64, u64)> {
        let stat = crate::system::root::stat_at(self.parent(), self.name.as_bytes()).ok()?;
        Some((stat.st_dev, stat.st_ino))
    }
}

/// Opens the directory that a path's last component stands in, where no other user decides what that is: no link of theirs
/// is on the way, and no one else may write to it, unless it is sticky.
pub fn trusted_parent(path: &Path) -> std::result::Result<(OwnedFd, OsString), UnsafePath> {
    let name = path.file_name().ok_or(Errno::INVAL)?.to_owned();
    let parent = walk(path.parent().unwrap_or(Path::new("")))?;
    check_writers(parent.as_fd())?;
    Ok((parent, name))
}

/// Why the way to a parent was not taken.
#[derive(Debug)]
pub enum UnsafePath {
    /// It cannot be.
    Io(io::Error),
    /// Escaped name of what another user decides about, and how.
    Foreign(String),
}

impl fmt::Display for UnsafePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UnsafePath::Io(cause) => write!(f, "its directory: {cause}"),
            UnsafePath::Foreign(why) => f.write_str(why),
        }
    }
}

impl UnsafePath {
    fn of(self, out: &Path) -> Error {
        let shown = escape::escape(out.as_os_str().as_bytes());
        match self {
            UnsafePath::Io(cause) => Error::io(format!("the parent directory of --out {shown}"), cause)
                .hint("--out needs an existing parent directory"),
            UnsafePath::Foreign(why) => Error::new(Code::NotStarted, format!("--out {shown}: {why}"))
                .hint("choose a parent that root owns and others cannot write to, or a sticky one like /tmp"),
        }
    }
}

impl From<Errno> for UnsafePath {
    fn from(cause: Errno) -> Self {
        UnsafePath::Io(cause.into())
    }
}

/// Opens a directory component by component; a link counts only if root or this process's user made it.
fn walk(path: &Path) -> std::result::Result<OwnedFd, UnsafePath> {
    let through = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let start = if path.is_absolute() { "/" } else { "." };
    let mut here = fs::open(start, through | OFlags::DIRECTORY, Mode::empty())?;
    let mut todo = components(path);
    let mut links = 0;
    while let Some(component) = todo.pop() {
        let entry = fs::openat(&here, component.as_bytes(), through, Mode::empty())?;
        let stat = fs::fstat(&entry)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            here = entry;
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(Errno::LOOP.into());
        }
        if stat.st_uid != 0 && stat.st_uid != rustix::process::geteuid().as_raw() {
            let name = escape::escape(component.as_bytes());
            return Err(UnsafePath::Foreign(format!("the link {name} on the way belongs to another user")));
        }
        let target = fs::readlinkat(&entry, "", Vec::new())?.into_bytes();
        let target = PathBuf::from(OsString::from_vec(target));
        if target.is_absolute() {
            here = fs::open("/", through | OFlags::DIRECTORY, Mode::empty())?;
        }
        todo.extend(components(&target));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(fs::openat(&here, ".", flags, Mode::empty())?)
}

/// Last first.
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

fn check_writers(parent: BorrowedFd<'_>) -> std::result::Result<(), UnsafePath> {
    let stat = fs::fstat(parent)?;
    let mode = Mode::from_raw_mode(stat.st_mode);
    let by_others = mode.intersects(Mode::WGRP | Mode::WOTH);
    if by_others && !mode.contains(Mode::SVTX) {
        return Err(UnsafePath::Foreign("others can replace what is in its parent directory".to_owned()));
    }
    Ok(())
}

fn usage(out: &Path, what: &str) -> Error {
    Error::new(Code::Usage, format!("--out {} {what}", escape::escape(out.as_os_str().as_bytes())))
        .hint("name a directory that does not exist yet, or an empty one; nothing is ever overwritten")
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
    fn only_a_free_name_in_a_directory_of_ones_own_is_taken() {
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
    fn where_others_decide_is_refused() {
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
    fn a_link_of_another_user_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        plain::create_dir(dir.path().join("to")).unwrap();
        let link = dir.path().join("way");
        symlink("to", &link).unwrap();
        assert_eq!(code_of(&link.join("new")), Code::Done);
        // Giving files away is root's right: without it there is no foreign link to refuse.
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::lchown(&link, Some(1001), Some(1001)).unwrap();
            assert_eq!(code_of(&link.join("new")), Code::NotStarted);
        }
    }

    #[test]
    fn what_was_opened_stays_whatever_becomes_of_its_names() {
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
