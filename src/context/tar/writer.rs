//! Nodes to a tar archive.

use super::header::BLOCK;
use super::pax::{self, Records};
use crate::model::digest::Sha256;
use crate::model::escape;
use crate::model::holes::{ContentHasher, Coverage};
use crate::model::tree::{Kind, Node};
use std::ffi::OsStr;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use tar::{EntryType, Header};

/// Read and written at a time.
const BUFFER: usize = 128 << 10;

/// Largest number that ustar holds in the 8 bytes of an owner or device: 7 octal digits and a
/// NUL.
const MAX_ID: u64 = 0o7_777_777;
/// Largest number that ustar holds in the 12 bytes of a size or time.
const MAX_SIZE: u64 = 0o77_777_777_777;

/// Writer of an archive: one ustar header per node, with a PAX header before it if ustar cannot
/// represent the node. The bytes depend only on the nodes and their contents.
///
/// The `tar` crate encodes the headers. Its `Builder` is not used: if it is dropped after an
/// error, it writes the end marker, and the truncated archive looks complete.
#[derive(Debug)]
pub struct Writer<W: Write> {
    inner: W,
    buffer: Vec<u8>,
}

/// Result of [`Writer::append_file`]. Unless [`Written::is_whole`], the entry does not have the
/// intended content.
#[derive(Debug)]
pub struct Written {
    /// Digest of the entry's content, padding included.
    pub sha256: Sha256,
    /// The reader ended early or failed; zeros fill the rest.
    pub short: bool,
    /// The reader had more than the node's size; what follows was left out.
    pub longer: bool,
    /// Why the reader gave no more, if it failed.
    pub cause: Option<io::Error>,
}

impl Written {
    /// Whether the entry holds exactly what the reader gave.
    pub fn is_whole(&self) -> bool {
        !self.short && !self.longer
    }
}

/// State of a file that is being copied into the archive.
struct Copied {
    hasher: ContentHasher,
    /// Whether the content ended early or failed.
    short: bool,
    cause: Option<io::Error>,
}

impl Copied {
    fn new(coverage: Coverage) -> Self {
        Copied { hasher: ContentHasher::new(coverage), short: false, cause: None }
    }

    /// Ends the copy if reading the content failed.
    fn note(&mut self, result: io::Result<()>) {
        if let Err(cause) = result {
            self.short = true;
            self.cause.get_or_insert(cause);
        }
    }

    fn written(self, content: &mut dyn Read) -> Written {
        let longer = !self.short && has_more(content);
        Written { sha256: self.hasher.finish(), short: self.short, longer, cause: self.cause }
    }
}

/// Header values other than the node's owner, mode and timestamp.
struct Member<'a> {
    kind: EntryType,
    link: &'a [u8],
    size: u64,
    device: (u32, u32),
    xattrs: bool,
    /// Whether `size` is that of the map and the data of a sparse file.
    sparse: bool,
}

impl Member<'_> {
    const fn new(kind: EntryType) -> Self {
        Member { kind, link: b"", size: 0, device: (0, 0), xattrs: true, sparse: false }
    }
}

impl<W: Write> Writer<W> {
    /// An archive that is written to `inner`, unbuffered save for file contents.
    pub fn new(inner: W) -> Self {
        Writer { inner, buffer: vec![0; BUFFER] }
    }

    /// Appends anything that has no content.
    ///
    /// Returns `InvalidInput` for a file (see [`Writer::append_file`]), for a socket, and for
    /// values that tar cannot represent: NUL in a name, `=` in the name of an extended attribute,
    /// device numbers above 2097151.
    pub fn append(&mut self, node: &Node) -> io::Result<()> {
        let member = match &node.kind {
            Kind::Directory => Member::new(EntryType::Directory),
            Kind::Symlink(target) => Member { link: target, ..Member::new(EntryType::Symlink) },
            Kind::Fifo => Member::new(EntryType::Fifo),
            Kind::CharDevice(major, minor) => {
                Member { device: (*major, *minor), ..Member::new(EntryType::Char) }
            }
            Kind::BlockDevice(major, minor) => {
                Member { device: (*major, *minor), ..Member::new(EntryType::Block) }
            }
            Kind::File { .. } => return Err(refused(node, "a file needs its content")),
            Kind::Socket => return Err(refused(node, "a socket has no place in an archive")),
        };
        self.write_headers(node, &member)
    }

    /// Appends a regular file: exactly as many bytes of `content` as the node says.
    ///
    /// An error is one of the node (`InvalidInput`, nothing written) or of the output; a failure
    /// of `content` ends its part early and is in [`Written`], and the archive stays whole.
    pub fn append_file(&mut self, node: &Node, content: &mut dyn Read) -> io::Result<Written> {
        self.append_content(node, content, Coverage::All)
    }

    /// Appends a regular file as [`Writer::append_file`] does, with another digest.
    pub fn append_content(
        &mut self,
        node: &Node,
        content: &mut dyn Read,
        coverage: Coverage,
    ) -> io::Result<Written> {
        let Kind::File { size, .. } = node.kind else {
            return Err(refused(node, "only a file has content"));
        };
        self.write_headers(node, &Member { size, ..Member::new(EntryType::Regular) })?;
        let mut copied = Copied::new(coverage);
        self.copy(size, content, &mut copied)?;
        self.pad(size)?;
        Ok(copied.written(content))
    }

    /// Appends a sparse file (PAX format 1.0 of the GNU tar manual, "Storing Sparse Files").
    ///
    /// Reads `content` only in `parts`: offset and length, ascending, not adjacent, offsets and
    /// lengths multiples of 512 except for the length of a part at the end of the file. The
    /// rest are zeros. Errors are those of [`Writer::append_file`].
    pub fn append_sparse(
        &mut self,
        node: &Node,
        parts: &[(u64, u64)],
        content: &mut (impl Read + Seek),
        coverage: Coverage,
    ) -> io::Result<Written> {
        let Kind::File { size, .. } = node.kind else {
            return Err(refused(node, "only a file has content"));
        };
        let map = sparse_map(parts, size);
        let data: u64 = parts.iter().map(|(_, length)| length).sum();
        let stored = map.len() as u64 + data;
        self.write_headers(node, &Member { size: stored, sparse: true, ..Member::new(EntryType::Regular) })?;
        self.inner.write_all(&map)?;
        let mut copied = Copied::new(coverage);
        let mut end = 0;
        for &(offset, length) in parts {
            copied.hasher.skip_zeros(offset - end);
            copied.note(content.seek(SeekFrom::Start(offset)).map(drop));
            self.copy(length, content, &mut copied)?;
            end = offset + length;
        }
        copied.hasher.skip_zeros(size - end);
        copied.note(content.seek(SeekFrom::Start(size)).map(drop));
        self.pad(stored)?;
        Ok(copied.written(content))
    }

    /// Appends one more name of the file whose first name, in this archive, is `first`.
    pub fn append_link(&mut self, node: &Node, first: &[u8]) -> io::Result<()> {
        self.write_headers(node, &Member { link: first, xattrs: false, ..Member::new(EntryType::Link) })
    }

    /// Ends the archive with two blocks of zeros and flushes.
    pub fn finish(mut self) -> io::Result<W> {
        self.inner.write_all(&[0; 2 * BLOCK])?;
        self.inner.flush()?;
        Ok(self.inner)
    }

    fn write_headers(&mut self, node: &Node, member: &Member<'_>) -> io::Result<()> {
        let mut header = Header::new_ustar();
        header.set_entry_type(member.kind);
        let mut records = Records::default();
        if str::from_utf8(&node.path).is_err() || str::from_utf8(member.link).is_err() {
            records.push(b"hdrcharset", b"BINARY"); // POSIX.1-2008; libarchive insists
        }
        if member.sparse {
            set_sparse(&mut header, &mut records, node)?;
        } else {
            set_path(&mut header, &mut records, node)?;
        }
        set_link(&mut header, &mut records, node, member.link)?;
        set_numbers(&mut header, &mut records, node, member)?;
        if let Some(xattrs) = node.xattrs.as_deref().filter(|_| member.xattrs) {
            for (name, value) in xattrs {
                if name.is_empty() || name.contains(&b'=') || name.contains(&0) {
                    return Err(refused(node, "PAX cannot hold the name of one of its extended attributes"));
                }
                records.push(&[pax::XATTR, name].concat(), value);
            }
        }
        if !records.0.is_empty() {
            self.write_records(&records)?;
        }
        header.set_cksum();
        self.inner.write_all(header.as_bytes())
    }

    fn write_records(&mut self, records: &Records) -> io::Result<()> {
        let size = records.0.len() as u64;
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::XHeader);
        set_name(&mut header, b"././@PaxHeader");
        header.set_mode(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(size);
        header.set_device_major(0)?;
        header.set_device_minor(0)?;
        header.set_cksum();
        self.inner.write_all(header.as_bytes())?;
        self.inner.write_all(&records.0)?;
        self.pad(size)
    }

    /// Copies `size` bytes; zeros in place of what `content` does not give.
    fn copy(&mut self, size: u64, content: &mut dyn Read, copied: &mut Copied) -> io::Result<()> {
        let mut left = size;
        while left > 0 && !copied.short {
            let most = left.min(BUFFER as u64) as usize;
            match content.read(&mut self.buffer[..most]) {
                Ok(0) => copied.short = true,
                Ok(got) => {
                    copied.hasher.update(&self.buffer[..got]);
                    self.inner.write_all(&self.buffer[..got])?;
                    left -= got as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => copied.note(Err(error)),
            }
        }
        if left > 0 {
            self.buffer.fill(0);
        }
        while left > 0 {
            let zeros = &self.buffer[..left.min(BUFFER as u64) as usize];
            copied.hasher.update(zeros);
            self.inner.write_all(zeros)?;
            left -= zeros.len() as u64;
        }
        Ok(())
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let over = (size % BLOCK as u64) as usize;
        if over > 0 { self.inner.write_all(&[0; BLOCK][over..]) } else { Ok(()) }
    }
}

/// Whether one more byte can be read; a reader that fails after the last wanted byte has none.
fn has_more(content: &mut dyn Read) -> bool {
    loop {
        match content.read(&mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result.is_ok_and(|got| got > 0),
        }
    }
}

fn set_path(header: &mut Header, records: &mut Records, node: &Node) -> io::Result<()> {
    let mut path = if node.path.is_empty() { b".".to_vec() } else { node.path.to_vec() };
    if path.contains(&0) {
        return Err(refused(node, "a NUL in its name"));
    }
    if node.kind == Kind::Directory {
        path.push(b'/');
    }
    // The crate drops what it takes for superfluous, such as `./`, so the result is compared.
    let is_ustar = path.is_ascii() && header.set_path(OsStr::from_bytes(&path)).is_ok();
    if !is_ustar || *header.path_bytes() != *path {
        set_name(header, &plain(&path));
        records.push(b"path", &path);
    }
    Ok(())
}

/// Marks a sparse file. A reader that does not know the format must not take the map for the file,
/// so the header has another name, as GNU tar's have.
fn set_sparse(header: &mut Header, records: &mut Records, node: &Node) -> io::Result<()> {
    if node.path.contains(&0) {
        return Err(refused(node, "a NUL in its name"));
    }
    set_name(header, b"GNUSparseFile.0");
    records.push(b"GNU.sparse.major", b"1");
    records.push(b"GNU.sparse.minor", b"0");
    records.push(b"GNU.sparse.name", &node.path);
    records.push(b"GNU.sparse.realsize", node.size().to_string().as_bytes());
    Ok(())
}

/// Returns the map that comes before the data: decimal numbers, a line each, padded to a block.
///
/// A file that ends in a hole has an empty part at its end, as GNU tar writes it.
fn sparse_map(parts: &[(u64, u64)], size: u64) -> Vec<u8> {
    let ends_in_hole = parts.last().is_none_or(|(offset, length)| offset + length < size);
    let end = ends_in_hole.then_some((size, 0));
    let count = parts.len() + usize::from(ends_in_hole);
    let mut map = format!("{count}\n").into_bytes();
    for (offset, length) in parts.iter().copied().chain(end) {
        map.extend_from_slice(format!("{offset}\n{length}\n").as_bytes());
    }
    map.resize(map.len().next_multiple_of(BLOCK), 0);
    map
}

/// Sets the name as it is and leaves the prefix empty. `name` fits into the field.
fn set_name(header: &mut Header, name: &[u8]) {
    if let Some(ustar) = header.as_ustar_mut() {
        (ustar.name, ustar.prefix) = ([0; 100], [0; 155]);
        ustar.name[..name.len()].copy_from_slice(name);
    }
}

/// An approximation of the name, for readers without PAX.
fn plain(name: &[u8]) -> Vec<u8> {
    name.iter().take(100).map(|&byte| if byte.is_ascii() { byte } else { b'_' }).collect()
}

fn set_link(header: &mut Header, records: &mut Records, node: &Node, link: &[u8]) -> io::Result<()> {
    if link.contains(&0) {
        return Err(refused(node, "a NUL in its target"));
    }
    if !link.is_ascii() || header.set_link_name_literal(link).is_err() {
        records.push(b"linkpath", link);
        header.set_link_name_literal(plain(link))?;
    }
    Ok(())
}

/// Size, owner, time and device. A number that ustar cannot hold is 0 there: readers that
/// disagree about which of two sizes counts have been attacked with it (RUSTSEC-2026-0068).
fn set_numbers(
    header: &mut Header,
    records: &mut Records,
    node: &Node,
    member: &Member<'_>,
) -> io::Result<()> {
    let stat = &node.stat;
    header.set_mode(u32::from(stat.mode & 0o7777));
    let mut fit = |key: &str, value: u64, max: u64| {
        if value > max {
            records.push(key.as_bytes(), value.to_string().as_bytes());
        }
        if value > max { 0 } else { value }
    };
    header.set_size(fit("size", member.size, MAX_SIZE));
    header.set_uid(fit("uid", stat.uid.into(), MAX_ID));
    header.set_gid(fit("gid", stat.gid.into(), MAX_ID));
    let seconds = u64::try_from(stat.mtime).ok().filter(|&seconds| seconds <= MAX_SIZE);
    header.set_mtime(seconds.unwrap_or(0));
    if seconds.is_none() || stat.mtime_nsec != 0 {
        records.push(b"mtime", pax::format_time(stat.mtime, stat.mtime_nsec).as_bytes());
    }
    let (major, minor) = member.device;
    if u64::from(major.max(minor)) > MAX_ID {
        return Err(refused(node, "a device number above 2097151"));
    }
    header.set_device_major(major)?;
    header.set_device_minor(minor)
}

fn refused(node: &Node, why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{}: {why}", escape::display(&node.path)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::tar::Reader;
    use crate::model::holes;
    use crate::model::tree::{Stat, Xattrs};
    use sha2::Digest;

    fn fifo(path: &[u8]) -> Node {
        Node { path: path.into(), kind: Kind::Fifo, stat: Stat::default(), group: 0, xattrs: None }
    }

    fn has_end_marker(archive: &[u8]) -> bool {
        let mut reader = Reader::new(archive);
        assert!(reader.next_entry().unwrap().is_some() && reader.next_entry().unwrap().is_none());
        reader.has_end_marker()
    }

    /// The reason why `tar::Builder` is not used: docs/decisions/0001-tar-reader.md.
    #[test]
    fn writer_dropped_before_finish_leaves_no_end_marker() {
        let (mut own, mut builder) = (Vec::new(), Vec::new());
        Writer::new(&mut own).append(&fifo(b"x")).unwrap();
        assert!(!has_end_marker(&own));
        let header = Header::from_byte_slice(&own);
        tar::Builder::new(&mut builder).append(header, io::empty()).unwrap();
        assert!(has_end_marker(&builder), "tar::Builder can be used now");
    }

    #[test]
    fn writer_sparse_file_comes_back_with_holes() {
        let size = 1 << 20;
        for parts in [&[][..], &[(0, 512)], &[(0, 4096), (65536, 1024)], &[(size - 500 - 12, 512)]] {
            let mut content = vec![0; size as usize];
            for &(offset, length) in parts {
                content[offset as usize..(offset + length) as usize].fill(7);
            }
            let mut node = fifo(b"a/n\xff");
            node.kind = Kind::File { size, sha256: None };
            let mut writer = Writer::new(Vec::new());
            let written =
                writer.append_sparse(&node, parts, &mut io::Cursor::new(&content), Coverage::All).unwrap();
            assert!(written.is_whole());
            assert_eq!(written.sha256, <Sha256>::from(sha2::Sha256::digest(&content)));
            writer.append(&fifo(b"x")).unwrap();
            let archive = writer.finish().unwrap();
            assert!(archive.len() < 16 << 10);
            for skips in [false, true] {
                let mut reader = Reader::new(&*archive);
                let mut entry = reader.next_entry().unwrap().unwrap();
                assert_eq!(entry.node, node);
                if skips {
                    assert_eq!(holes::digest(&mut entry.content, Coverage::All).unwrap(), written.sha256);
                } else {
                    let mut back = Vec::new();
                    entry.content.read_to_end(&mut back).unwrap();
                    assert!(back == content);
                }
                assert_eq!(reader.next_entry().unwrap().unwrap().node.path, b"x"[..].into());
            }
        }
    }

    #[test]
    fn writer_sparse_file_truncated_meanwhile_is_short() {
        let mut node = fifo(b"f");
        node.kind = Kind::File { size: 8192, sha256: None };
        let mut writer = Writer::new(Vec::new());
        let mut content = io::Cursor::new([7; 5000]);
        let written = writer.append_sparse(&node, &[(4096, 4096)], &mut content, Coverage::All).unwrap();
        assert!(written.short && !written.longer);
        assert!(has_end_marker(&writer.finish().unwrap()), "the archive stays whole");
    }

    #[test]
    fn writer_attribute_name_not_utf8_comes_back() {
        let mut node = fifo(b"x");
        let name = b"user.\xff\n".as_slice().into();
        node.xattrs = Some(Box::new(Xattrs::from([(name, b"\0\n".as_slice().into())])));
        let mut writer = Writer::new(Vec::new());
        writer.append(&node).unwrap();
        let archive = writer.finish().unwrap();
        assert_eq!(Reader::new(&*archive).next_entry().unwrap().unwrap().node, node);
    }

    #[test]
    fn writer_path_that_the_crate_would_change_is_a_record() {
        let (prefix, name) = ("p".repeat(155), "n".repeat(100));
        let (prefix, name) = (prefix.as_bytes(), name.as_bytes());
        for (path, has_record) in [
            (&b"a/b"[..], false),
            (b"a/./b", true),
            (b"a//b", true),
            (b"../b", true),
            (b"/b", true),
            (&[prefix, b"/", name].concat(), false),
            (&[prefix, b"/n", name].concat(), true),
            (&[b"p", prefix, b"/", name].concat(), true),
        ] {
            let mut writer = Writer::new(Vec::new());
            writer.append(&fifo(path)).unwrap();
            let archive = writer.finish().unwrap();
            assert_eq!(archive[156] == b'x', has_record, "{}", escape::display(path));
        }
    }
}
