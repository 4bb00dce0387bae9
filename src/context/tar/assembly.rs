//! Assembly of tar members into a sorted tree, as if they were unpacked in order into an empty
//! directory.

use super::malformed;
use super::pax::XattrClasses;
use super::reader::{Content, Entry, Reader, name_it};
use crate::context::stream;
use crate::model::escape;
use crate::model::holes::{ContentHasher, Coverage, MAX_HASHED, ReadHoles};
use crate::model::tree::{self, Kind, Node, Stat, Xattrs};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read};
use std::ops::Bound;

/// More than this in all captured files is refused.
const MAX_CAPTURE: u64 = 256 << 20;
/// As in the kernel's own path resolution (`path_resolution(7)`).
const MAX_LINKS: usize = 40;
/// Maximum number of bytes in all names of implied directories. A single name of 1 MiB that
/// alternates letters and slashes would imply 256 GiB of them.
const MAX_IMPLIED: u64 = 256 << 20;
const BUFFER: usize = 128 << 10;
/// Metadata of a directory that the archive implies by its members but does not contain.
const IMPLIED: Stat = Stat { mode: 0o755, uid: 0, gid: 0, mtime: 0, mtime_nsec: 0 };

/// The tree of an archive or image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Sorted by path, the root first; every file with its digest, hard links numbered as by
    /// [`tree::number_groups`]. Directories that the archive only implied are root's, 0755, of
    /// 1970.
    pub nodes: Vec<Node>,
    /// The contents of the wanted files, by path.
    pub files: BTreeMap<Box<[u8]>, Vec<u8>>,
    /// Which extended attributes appeared at all, in members that another one replaced, too.
    pub xattrs: XattrClasses,
}

/// Reads a root file system's archive, uncompressed, to its end marker.
///
/// If several members have one path, the last wins. A hard link refers to the object that its
/// target was at that point. `wanted` chooses the files whose contents are kept. Errors name the
/// member. An archive without an end marker is `UnexpectedEof`.
pub fn read_tree(reader: impl Read + Send, wanted: &dyn Fn(&[u8]) -> bool) -> io::Result<Contents> {
    read_tree_with(reader, wanted, &|_| Coverage::All)
}

/// Reads an archive as [`read_tree`] does. `coverage` returns which bytes the digest of a path
/// covers.
pub fn read_tree_with(
    reader: impl Read + Send,
    wanted: &dyn Fn(&[u8]) -> bool,
    coverage: &dyn Fn(&[u8]) -> Coverage,
) -> io::Result<Contents> {
    let mut reader = reader;
    let mut assembly = Assembly { coverage, ..Assembly::new(wanted) };
    stream::read_ahead(&mut reader, |ahead| {
        let mut archive = Reader::with_any_holes(ahead);
        while let Some(entry) = archive.next_entry()? {
            assembly.place(entry)?;
        }
        assembly.note(archive.xattr_classes());
        if archive.has_end_marker() {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the archive has no end marker: it may be truncated",
        ))
    })?;
    Ok(assembly.finish())
}

/// The object at a path.
struct Slot {
    kind: Kind,
    stat: Stat,
    xattrs: Option<Box<Xattrs>>,
    inode: u32,
    layer: u32,
}

/// A tree under construction.
pub(crate) struct Assembly<'a> {
    slots: BTreeMap<Box<[u8]>, Slot>,
    inodes: u32,
    layer: u32,
    wanted: &'a dyn Fn(&[u8]) -> bool,
    coverage: &'a dyn Fn(&[u8]) -> Coverage,
    captured: BTreeMap<u32, Vec<u8>>,
    /// Bytes ever captured, replaced files included.
    kept: u64,
    /// Bytes in the names of all directories ever implied.
    implied: u64,
    classes: XattrClasses,
    buffer: Vec<u8>,
    /// The last directory as an archive named it and as it was resolved.
    last: Option<(Vec<u8>, Vec<u8>)>,
}

impl<'a> Assembly<'a> {
    pub(crate) fn new(wanted: &'a dyn Fn(&[u8]) -> bool) -> Self {
        let root = Slot { kind: Kind::Directory, stat: IMPLIED, xattrs: None, inode: 0, layer: 0 };
        Assembly {
            slots: BTreeMap::from([(Box::default(), root)]),
            inodes: 0,
            layer: 0,
            wanted,
            coverage: &|_| Coverage::All,
            captured: BTreeMap::new(),
            kept: 0,
            implied: 0,
            classes: XattrClasses::default(),
            buffer: vec![0; BUFFER],
            last: None,
        }
    }

    /// From here on, members belong to the next layer.
    pub(crate) fn next_layer(&mut self) {
        self.layer += 1;
    }

    pub(crate) fn note(&mut self, classes: XattrClasses) {
        self.classes = self.classes.or(classes);
    }

    /// Puts a member where unpacking would put it.
    pub(crate) fn place<R: Read>(&mut self, entry: Entry<'_, R>) -> io::Result<()> {
        let name = entry.node.path.clone();
        self.place_unnamed(entry).map_err(|error| name_it(&name, error))
    }

    fn place_unnamed<R: Read>(&mut self, entry: Entry<'_, R>) -> io::Result<()> {
        let Entry { node, hard_link, mut content } = entry;
        let path = self.resolve(&node.path)?;
        let slot = if let Some(target) = hard_link {
            let target = self.resolve(&target)?;
            if target == path {
                return Ok(()); // a link to itself changes nothing
            }
            let slot = self.link_to(&target)?;
            // One content is given out under each of its wanted names.
            if let Some(content) = self.captured.get(&slot.inode).filter(|_| (self.wanted)(&path)) {
                self.keep(content.len() as u64)?;
            }
            slot
        } else {
            self.inodes += 1;
            let kind = match node.kind {
                Kind::File { size, .. } => self.read_file(&path, size, &mut content)?,
                kind => kind,
            };
            Slot { kind, stat: node.stat, xattrs: node.xattrs, inode: self.inodes, layer: self.layer }
        };
        self.put(path, slot);
        Ok(())
    }

    fn link_to(&self, target: &[u8]) -> io::Result<Slot> {
        let shown = || escape::display(target);
        let slot = self
            .slots
            .get(target)
            .ok_or_else(|| malformed(format!("a hard link to {}, which is not there", shown())))?;
        if slot.kind == Kind::Directory {
            return Err(malformed(format!("a hard link to the directory {}", shown())));
        }
        let (kind, xattrs) = (slot.kind.clone(), slot.xattrs.clone());
        Ok(Slot { kind, stat: slot.stat, xattrs, inode: slot.inode, layer: self.layer })
    }

    fn put(&mut self, path: Vec<u8>, slot: Slot) {
        let stays = slot.kind == Kind::Directory;
        match self.slots.insert(path.as_slice().into(), slot).map(|old| old.kind) {
            Some(Kind::Directory) if !stays => {
                self.remove_beneath(&path, u32::MAX);
                self.last = None;
            }
            // The link may have been replaced through itself: `l/l` where `l` leads to `.`.
            Some(Kind::Symlink(_)) => self.last = None,
            _ => {}
        }
    }

    fn keep(&mut self, size: u64) -> io::Result<()> {
        self.kept = self.kept.saturating_add(size);
        if self.kept > MAX_CAPTURE {
            return Err(malformed("the databases and settings together are larger than 256 MiB"));
        }
        Ok(())
    }

    /// Digests the content, and keeps it if it is wanted.
    fn read_file<R: Read>(
        &mut self,
        path: &[u8],
        size: u64,
        content: &mut Content<'_, R>,
    ) -> io::Result<Kind> {
        let coverage = (self.coverage)(path);
        if coverage == Coverage::All && content.holes() > MAX_HASHED {
            return Err(malformed("a sparse file with more than 64 GiB of holes"));
        }
        let mut kept = (self.wanted)(path).then(Vec::new);
        if kept.is_some() {
            self.keep(size)?;
        }
        let mut hasher = ContentHasher::new(coverage);
        loop {
            if kept.is_none() {
                hasher.skip_zeros(content.skip_hole());
            }
            let got = stream::read_full(content, &mut self.buffer)?;
            if got == 0 {
                break;
            }
            hasher.update(&self.buffer[..got]);
            if let Some(kept) = &mut kept {
                kept.extend_from_slice(&self.buffer[..got]);
            }
        }
        if let Some(kept) = kept {
            self.captured.insert(self.inodes, kept);
        }
        Ok(Kind::File { size, sha256: Some(hasher.finish()) })
    }

    /// Where a path leads when links before its last component are followed, as in a chroot;
    /// directories on the way that are missing are made.
    fn resolve(&mut self, path: &[u8]) -> io::Result<Vec<u8>> {
        if path.is_empty() {
            return Ok(Vec::new());
        }
        let (directory, name) = (tree::parent(path), tree::file_name(path));
        if let Some((_, resolved)) = self.last.as_ref().filter(|(given, _)| given == directory) {
            return Ok(tree::join(resolved, name));
        }
        let resolved = self.resolve_directory(directory)?;
        let path = tree::join(&resolved, name);
        self.last = Some((directory.to_vec(), resolved));
        Ok(path)
    }

    fn resolve_directory(&mut self, directory: &[u8]) -> io::Result<Vec<u8>> {
        let mut here = Vec::new();
        let mut todo: VecDeque<Vec<u8>> = components(directory).collect();
        let mut links = 0;
        while let Some(component) = todo.pop_front() {
            if component == b".." {
                here.truncate(tree::parent(&here).len());
                continue;
            }
            let next = tree::join(&here, &component);
            match self.slots.get(next.as_slice()).map(|slot| &slot.kind) {
                Some(Kind::Directory) => here = next,
                Some(Kind::Symlink(target)) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(malformed(format!("{} leads in circles", escape::display(directory))));
                    }
                    if target.first() == Some(&b'/') {
                        here.clear();
                    }
                    components(target).rev().for_each(|part| todo.push_front(part));
                }
                Some(_) => return Err(malformed(format!("{} is not a directory", escape::display(&next)))),
                None => {
                    self.implied += next.len() as u64;
                    if self.implied > MAX_IMPLIED {
                        return Err(malformed("too many directories that are not in the archive themselves"));
                    }
                    let slot = Slot {
                        kind: Kind::Directory,
                        stat: IMPLIED,
                        xattrs: None,
                        inode: 0,
                        layer: self.layer,
                    };
                    self.slots.insert(next.as_slice().into(), slot);
                    here = next;
                }
            }
        }
        Ok(here)
    }

    /// Removes what lower layers have under this path (a whiteout).
    pub(crate) fn hide(&mut self, path: &[u8]) -> io::Result<()> {
        let path = self.resolve(path)?;
        self.remove_beneath(&path, self.layer);
        let lower = self.slots.get(path.as_slice()).is_some_and(|slot| slot.layer < self.layer);
        if lower && !path.is_empty() {
            let in_use = self.beneath(&path).next().is_some();
            if in_use {
                // This layer has members in the directory without the directory itself.
                let slot =
                    Slot { kind: Kind::Directory, stat: IMPLIED, xattrs: None, inode: 0, layer: self.layer };
                self.slots.insert(path.into(), slot);
            } else {
                self.slots.remove(path.as_slice());
            }
        }
        self.last = None;
        Ok(())
    }

    /// Removes what lower layers have in this directory (an opaque whiteout).
    pub(crate) fn hide_beneath(&mut self, directory: &[u8]) -> io::Result<()> {
        let directory = self.resolve_directory(directory)?;
        self.remove_beneath(&directory, self.layer);
        self.last = None;
        Ok(())
    }

    /// Removes what belongs to layers before `layer`, except directories that still hold
    /// something.
    fn remove_beneath(&mut self, directory: &[u8], layer: u32) {
        let paths: Vec<Box<[u8]>> = self.beneath(directory).map(|(path, _)| path.clone()).collect();
        // Descendants come after their directory, so backwards each directory is empty before its
        // turn.
        for path in paths.into_iter().rev() {
            let slot = self.slots.get(&path);
            if slot.is_some_and(|slot| slot.layer < layer) && self.beneath(&path).next().is_none() {
                self.slots.remove(&path);
            }
        }
    }

    fn beneath(&self, directory: &[u8]) -> impl Iterator<Item = (&Box<[u8]>, &Slot)> {
        let start = if directory.is_empty() { Vec::new() } else { [directory, b"/"].concat() };
        let end = [directory, b"0"].concat(); // the byte after the slash
        let end = if directory.is_empty() { Bound::Unbounded } else { Bound::Excluded(end.as_slice()) };
        self.slots.range::<[u8], _>((Bound::Excluded(start.as_slice()), end))
    }

    /// The tree as it stands.
    pub(crate) fn finish(self) -> Contents {
        let Assembly { slots, wanted, captured, classes, .. } = self;
        let mut contents = Contents { xattrs: classes, ..Contents::default() };
        for (path, slot) in slots {
            let wanted = matches!(slot.kind, Kind::File { .. }) && wanted(&path);
            if let Some(content) = captured.get(&slot.inode).filter(|_| wanted) {
                contents.files.insert(path.clone(), content.clone());
            }
            let Slot { kind, stat, xattrs, inode, .. } = slot;
            let group = if kind == Kind::Directory { 0 } else { inode };
            contents.nodes.push(Node { path, kind, stat, group, xattrs });
        }
        tree::number_groups(&mut contents.nodes);
        contents
    }
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = Vec<u8>> {
    let kept = path.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    kept.map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::tar::Writer;

    enum Is<'a> {
        File(&'a [u8]),
        Link(&'a str),
        Hard(&'a str),
    }

    fn archive(members: &[(&[u8], Is<'_>)]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        for (path, is) in members {
            let kind = match is {
                Is::Link(target) => Kind::Symlink(target.as_bytes().into()),
                Is::File(content) => Kind::File { size: content.len() as u64, sha256: None },
                Is::Hard(_) => Kind::File { size: 0, sha256: None },
            };
            let node = Node { path: (*path).into(), kind, stat: Stat::default(), group: 0, xattrs: None };
            match is {
                Is::Link(_) => writer.append(&node).unwrap(),
                Is::File(content) => drop(writer.append_file(&node, &mut &**content).unwrap()),
                Is::Hard(first) => writer.append_link(&node, first.as_bytes()).unwrap(),
            }
        }
        writer.finish().unwrap()
    }

    fn error(members: &[(&[u8], Is<'_>)]) -> String {
        read_tree(&*archive(members), &|_| true).unwrap_err().to_string()
    }

    #[test]
    fn read_tree_link_replaced_through_itself_leads_to_new_target() {
        let members: &[(&[u8], _)] = &[
            (b"t/a", Is::File(b"")),
            (b"l", Is::Link(".")),
            (b"l/l", Is::Link("t")),
            (b"l/x", Is::File(b"")),
        ];
        let contents = read_tree(&*archive(members), &|_| false).unwrap();
        let paths: Vec<_> = contents.nodes.iter().map(|node| &*node.path).collect();
        assert_eq!(paths, [&b""[..], b"l", b"t", b"t/a", b"t/x"]);
    }

    #[test]
    fn one_long_name_does_not_imply_gigabytes() {
        let name = b"a/".repeat(100_000);
        let name = [name.as_slice(), b"a"].concat();
        assert!(error(&[(&name, Is::File(b""))]).contains("too many directories"));
    }

    #[test]
    fn read_tree_kept_file_counts_once_per_name() {
        let content = vec![b'x'; 100 << 20];
        let members: &[(&[u8], _)] =
            &[(b"a", Is::File(&content)), (b"b", Is::Hard("a")), (b"c", Is::Hard("a"))];
        assert!(error(members).contains("larger than 256 MiB"));
    }
}
