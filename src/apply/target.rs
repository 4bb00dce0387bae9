//! The root that becomes the machine: every change beneath it, by descriptor, following no link.

use crate::context::stream;
use crate::model::holes::ReadHoles;
use crate::model::tree::{self, Kind, Node, Xattrs};
use crate::system::cache_neutral::CacheNeutralReader;
use crate::system::root::{self, Root};
use rustix::fs::{self, AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Bytes per write. Zeros at the end of such a block become a hole.
const BLOCK: usize = 64 << 10;
/// Alignment of holes: the block size of most file systems.
const PAGE: usize = 4096;

/// A root directory that is being changed.
pub(super) struct Target<'a> {
    root: &'a Root,
    /// The directory that was used last, since paths come in order.
    last: Option<(Vec<u8>, OwnedFd)>,
    /// The name under which a file grows before it takes its place.
    temporary: Vec<u8>,
}

impl<'a> Target<'a> {
    pub(super) fn new(root: &'a Root) -> Self {
        Target { root, last: None, temporary: Vec::new() }
    }

    /// Removes one object; a directory must be empty.
    pub(super) fn remove(&mut self, path: &[u8], is_directory: bool) -> io::Result<()> {
        let flags = if is_directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        // Its descriptor would keep a removed directory alive for later lookups.
        self.last = None;
        Ok(fs::unlinkat(self.parent(path)?, tree::file_name(path), flags)?)
    }

    /// Removes one object with everything beneath it.
    pub(super) fn remove_all(&mut self, path: &[u8], is_directory: bool) -> io::Result<()> {
        if is_directory {
            let directory = self.root.open_directory_exactly(path)?;
            for name in root::list_directory(directory.as_fd())? {
                let mode = root::stat_at(directory.as_fd(), &name)?.st_mode;
                let is_directory = FileType::from_raw_mode(mode) == FileType::Directory;
                self.remove_all(&tree::join(path, &name), is_directory)?;
            }
        }
        self.remove(path, is_directory)
    }

    /// Makes an object that has no content; metadata comes later, so it begins private.
    pub(super) fn make(&mut self, node: &Node) -> io::Result<()> {
        let (parent, name) = (self.parent(&node.path)?, tree::file_name(&node.path));
        let private = Mode::RUSR | Mode::WUSR;
        let made = match &node.kind {
            Kind::Directory => fs::mkdirat(parent, name, Mode::RWXU),
            Kind::Symlink(target) => fs::symlinkat(&**target, parent, name),
            Kind::Fifo => fs::mknodat(parent, name, FileType::Fifo, private, 0),
            Kind::CharDevice(major, minor) => {
                fs::mknodat(parent, name, FileType::CharacterDevice, private, fs::makedev(*major, *minor))
            }
            Kind::BlockDevice(major, minor) => {
                fs::mknodat(parent, name, FileType::BlockDevice, private, fs::makedev(*major, *minor))
            }
            Kind::File { .. } | Kind::Socket => Err(Errno::INVAL),
        };
        Ok(made?)
    }

    /// A new file for `path` that has no name there yet; [`Target::settle`] puts it in place.
    pub(super) fn begin(&mut self, path: &[u8]) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for number in 0_u32.. {
            let temporary = format!(".vm2docker-self.{number}").into_bytes();
            match fs::openat(self.parent(path)?, &*temporary, flags, Mode::RUSR | Mode::WUSR) {
                // The machine may have a file of that name, and a build that was broken off may
                // have left one.
                Err(Errno::EXIST) => {}
                opened => {
                    self.temporary = temporary;
                    return Ok(File::from(opened?));
                }
            }
        }
        Err(Errno::EXIST.into())
    }

    /// Renames the file that [`Target::begin`] created last to its name, and replaces the object
    /// that has the name.
    pub(super) fn settle(&mut self, path: &[u8]) -> io::Result<()> {
        let temporary = std::mem::take(&mut self.temporary);
        let parent = self.parent(path)?;
        Ok(fs::renameat(parent, &*temporary, parent, tree::file_name(path))?)
    }

    /// Removes the file that [`Target::begin`] created last.
    pub(super) fn discard(&mut self, path: &[u8]) -> io::Result<()> {
        let temporary = std::mem::take(&mut self.temporary);
        Ok(fs::unlinkat(self.parent(path)?, &*temporary, AtFlags::empty())?)
    }

    /// Makes `path` an inode of its own with the same content.
    pub(super) fn unshare(&mut self, path: &[u8]) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let from = File::from(fs::openat(self.parent(path)?, tree::file_name(path), flags, Mode::empty())?);
        let stat = fs::fstat(&from)?;
        let mut from = CacheNeutralReader::with_holes(from, &stat);
        let mut to = self.begin(path)?;
        write_sparse(&mut from, &mut to)?;
        self.settle(path)
    }

    /// Makes `path` another name of `leader`, unless it is one.
    pub(super) fn link(&mut self, leader: &[u8], path: &[u8]) -> io::Result<bool> {
        let first = self.root.open_directory_exactly(tree::parent(leader))?;
        let inode = |directory: BorrowedFd<'_>, path: &[u8]| {
            root::stat_at(directory, tree::file_name(path)).map(|stat| (stat.st_dev, stat.st_ino))
        };
        let wanted = inode(first.as_fd(), leader)?;
        let parent = self.parent(path)?;
        match inode(parent, path) {
            Ok(existing) if existing == wanted => return Ok(false),
            Ok(_) => fs::unlinkat(parent, tree::file_name(path), AtFlags::empty())?,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => return Err(cause),
        }
        fs::linkat(&first, tree::file_name(leader), parent, tree::file_name(path), AtFlags::empty())?;
        Ok(true)
    }

    /// Moves an object that is not a directory, and replaces one that is not a directory.
    pub(super) fn rename(&mut self, from: &[u8], to: &[u8]) -> io::Result<()> {
        let source = self.root.open_directory_exactly(tree::parent(from))?;
        Ok(fs::renameat(&source, tree::file_name(from), self.parent(to)?, tree::file_name(to))?)
    }

    /// Owner, mode, attributes and time, in the order in which none undoes another:
    /// `chown` clears set-id bits and capabilities, every change sets the time.
    pub(super) fn set_metadata(&mut self, node: &Node) -> io::Result<()> {
        let (parent, name) = (self.parent(&node.path)?, tree::file_name(&node.path));
        let owner = (Some(Uid::from_raw(node.stat.uid)), Some(Gid::from_raw(node.stat.gid)));
        fs::chownat(parent, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
        if !matches!(node.kind, Kind::Symlink(_)) {
            let fd =
                fs::openat(parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
            // The magic link leads to this very object, whatever happens to its name.
            let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
            fs::chmod(&path, Mode::from_raw_mode(node.stat.mode.into()))?;
            set_xattrs(&path, node.xattrs.as_deref())?;
        }
        let mtime = Timespec { tv_sec: node.stat.mtime, tv_nsec: node.stat.mtime_nsec.into() };
        let times = Timestamps { last_access: mtime, last_modification: mtime };
        Ok(fs::utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn parent(&mut self, path: &[u8]) -> io::Result<BorrowedFd<'_>> {
        let parent = tree::parent(path);
        if self.last.as_ref().is_none_or(|(last, _)| last != parent) {
            self.last = Some((parent.to_vec(), self.root.open_directory_exactly(parent)?));
        }
        // NOTE(unwrap): set just above.
        self.last.as_ref().map(|(_, fd)| fd.as_fd()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// Copies everything from `from`, leaving holes where there are long runs of zeros.
pub(super) fn write_sparse(from: &mut impl ReadHoles, to: &mut File) -> io::Result<()> {
    let mut block = vec![0; BLOCK];
    let mut length = 0;
    loop {
        let hole = from.skip_hole();
        to.seek(SeekFrom::Current(i64::try_from(hole).map_err(io::Error::other)?))?;
        length += hole;
        let filled = stream::read_full(from, &mut block)?;
        let bytes = &block[..filled];
        length += filled as u64;
        // A hole of `from` can begin in the middle of the block.
        let data = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        let data = data.next_multiple_of(PAGE).min(filled);
        to.write_all(&bytes[..data])?;
        to.seek_relative((filled - data) as i64)?;
        if filled < BLOCK {
            return to.set_len(length);
        }
    }
}

/// Makes the portable attributes exactly `wanted`.
fn set_xattrs(path: &str, wanted: Option<&Xattrs>) -> io::Result<()> {
    let mut names = vec![0; 64 << 10];
    let present = match fs::listxattr(path, &mut names[..]) {
        Ok(length) => &names[..length],
        Err(Errno::OPNOTSUPP) if wanted.is_none() => return Ok(()),
        Err(cause) => return Err(cause.into()),
    };
    for name in present.split(|&byte| byte == 0).filter(|name| tree::is_portable_xattr(name)) {
        if !wanted.is_some_and(|wanted| wanted.contains_key(name)) {
            fs::removexattr(path, name)?;
        }
    }
    for (name, value) in wanted.into_iter().flatten() {
        fs::setxattr(path, &**name, value, XattrFlags::empty())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tree::Stat;
    use std::os::unix::fs::MetadataExt;

    fn root() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        (dir, root)
    }

    /// Content that does not report its holes.
    struct Whole<'a>(&'a [u8]);

    impl io::Read for Whole<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }

    impl ReadHoles for Whole<'_> {
        fn skip_hole(&mut self) -> u64 {
            0
        }
    }

    #[test]
    fn no_link_on_the_way_is_followed() {
        let (dir, root) = root();
        let outside = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("way")).unwrap();
        let mut target = Target::new(&root);
        assert!(target.begin(b"way/file").is_err());
        let node = Node {
            path: b"way/dir"[..].into(),
            kind: Kind::Directory,
            stat: Stat::default(),
            group: 0,
            xattrs: None,
        };
        assert!(target.make(&node).is_err());
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn zeros_become_holes_and_the_length_stays() {
        let (dir, _root) = root();
        for (length, ones) in [(0, 0), (10, 3), (BLOCK * 3, 0), (BLOCK * 3 + 5, 1), (BLOCK * 5, BLOCK)] {
            let mut content = vec![0; length];
            content[..ones].fill(1);
            let path = dir.path().join("f");
            write_sparse(&mut Whole(&content), &mut File::create(&path).unwrap()).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), content);
            assert!(std::fs::metadata(&path).unwrap().blocks() * 512 <= (ones + 2 * BLOCK) as u64);
        }
    }

    #[test]
    fn links_are_made_once_and_unshared_again() {
        let (dir, root) = root();
        std::fs::write(dir.path().join("a"), "x").unwrap();
        let mut target = Target::new(&root);
        assert!(target.link(b"a", b"b").unwrap());
        assert!(!target.link(b"a", b"b").unwrap());
        target.unshare(b"b").unwrap();
        assert_eq!(std::fs::metadata(dir.path().join("a")).unwrap().nlink(), 1);
        assert_eq!(std::fs::read(dir.path().join("b")).unwrap(), b"x");
    }
}
