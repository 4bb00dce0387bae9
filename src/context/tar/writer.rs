//! Nodes to a tar archive.

use super::header::{BLOCK, GID, Header, LINK, MAJOR, MINOR, MODE, MTIME, NAME, PREFIX, SIZE, UID};
use super::pax::{self, Records};
use crate::model::digest::Sha256;
use crate::model::escape;
use crate::model::tree::{Kind, Node};
use sha2::Digest;
use std::io::{self, Read, Write};

/// Read and written at a time.
const BUFFER: usize = 128 << 10;

/// Appends nodes to an archive: one ustar header each, with one PAX header before it where ustar cannot
/// say it all. The bytes depend on nothing but the nodes and their contents.
#[derive(Debug)]
pub struct Writer<W: Write> {
    inner: W,
    buffer: Vec<u8>,
}

/// What [`Writer::append_file`] wrote. Unless [`Written::is_whole`], the entry is not the file that was meant.
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

/// What a header says besides the node's owner, mode and time.
struct Member<'a> {
    kind: u8,
    link: &'a [u8],
    size: u64,
    device: (u32, u32),
    xattrs: bool,
}

impl Member<'_> {
    const fn new(kind: u8) -> Self {
        Member { kind, link: b"", size: 0, device: (0, 0), xattrs: true }
    }
}

impl<W: Write> Writer<W> {
    /// An archive that is written to `inner`, unbuffered save for file contents.
    pub fn new(inner: W) -> Self {
        Writer { inner, buffer: vec![0; BUFFER] }
    }

    /// Appends anything that has no content.
    ///
    /// `InvalidInput` for a file (see [`Writer::append_file`]), a socket, and what no tar can hold: a NUL
    /// in a name, `=` in the name of an extended attribute, device numbers above 2097151.
    pub fn append(&mut self, node: &Node) -> io::Result<()> {
        let member = match &node.kind {
            Kind::Directory => Member::new(b'5'),
            Kind::Symlink(target) => Member { link: target, ..Member::new(b'2') },
            Kind::Fifo => Member::new(b'6'),
            Kind::CharDevice(major, minor) => Member { device: (*major, *minor), ..Member::new(b'3') },
            Kind::BlockDevice(major, minor) => Member { device: (*major, *minor), ..Member::new(b'4') },
            Kind::File { .. } => return Err(refused(node, "a file needs its content")),
            Kind::Socket => return Err(refused(node, "a socket has no place in an archive")),
        };
        self.write_headers(node, &member)
    }

    /// Appends a regular file: exactly as many bytes of `content` as the node says.
    ///
    /// An error is one of the node (`InvalidInput`, nothing written) or of the output; a failure of
    /// `content` ends its part early and is in [`Written`], and the archive stays whole.
    pub fn append_file(&mut self, node: &Node, content: &mut dyn Read) -> io::Result<Written> {
        let Kind::File { size, .. } = node.kind else {
            return Err(refused(node, "only a file has content"));
        };
        self.write_headers(node, &Member { size, ..Member::new(b'0') })?;
        let written = self.copy(size, content)?;
        self.pad(size)?;
        Ok(written)
    }

    /// Appends one more name of the file whose first name, in this archive, is `first`.
    pub fn append_link(&mut self, node: &Node, first: &[u8]) -> io::Result<()> {
        self.write_headers(node, &Member { link: first, xattrs: false, ..Member::new(b'1') })
    }

    /// Ends the archive with two blocks of zeros and flushes.
    pub fn finish(mut self) -> io::Result<W> {
        self.inner.write_all(&[0; 2 * BLOCK])?;
        self.inner.flush()?;
        Ok(self.inner)
    }

    fn write_headers(&mut self, node: &Node, member: &Member<'_>) -> io::Result<()> {
        let mut header = Header::new(member.kind);
        let mut records = Records::default();
        if str::from_utf8(&node.path).is_err() || str::from_utf8(member.link).is_err() {
            records.push(b"hdrcharset", b"BINARY"); // POSIX.1-2008; libarchive insists
        }
        set_path(&mut header, &mut records, node)?;
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
        header.seal();
        self.inner.write_all(&header.0)
    }

    fn write_records(&mut self, records: &Records) -> io::Result<()> {
        let size = records.0.len() as u64;
        let mut header = Header::new(b'x');
        header.set_text(NAME, b"././@PaxHeader");
        for field in [MODE, UID, GID, MTIME, MAJOR, MINOR] {
            header.set_number(field, 0);
        }
        header.set_number(SIZE, size);
        header.seal();
        self.inner.write_all(&header.0)?;
        self.inner.write_all(&records.0)?;
        self.pad(size)
    }

    fn copy(&mut self, size: u64, content: &mut dyn Read) -> io::Result<Written> {
        let mut hasher = sha2::Sha256::new();
        let mut cause = None;
        let mut left = size;
        while left > 0 {
            let most = left.min(BUFFER as u64) as usize;
            let got = match content.read(&mut self.buffer[..most]) {
                Ok(0) => break,
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    cause = Some(error);
                    break;
                }
            };
            hasher.update(&self.buffer[..got]);
            self.inner.write_all(&self.buffer[..got])?;
            left -= got as u64;
        }
        let short = left > 0;
        let longer = !short && has_more(content);
        self.buffer.fill(0);
        while left > 0 {
            let zeros = &self.buffer[..left.min(BUFFER as u64) as usize];
            hasher.update(zeros);
            self.inner.write_all(zeros)?;
            left -= zeros.len() as u64;
        }
        Ok(Written { sha256: hasher.finalize().into(), short, longer, cause })
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
    if let Some((prefix, name)) = split(&path).filter(|_| path.is_ascii()) {
        header.set_text(PREFIX, prefix);
        header.set_text(NAME, name);
    } else {
        header.set_text(NAME, &plain(&path));
        records.push(b"path", &path);
    }
    Ok(())
}

/// The path as ustar holds it: up to 155 bytes, a slash that is not written, up to 100 bytes.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.len() <= NAME.len() {
        return Some((b"", path));
    }
    let fits = |&slash: &usize| slash > 0 && slash <= PREFIX.len() && path.len() - slash - 1 <= NAME.len();
    let slash = memchr::memchr_iter(b'/', &path[..path.len() - 1]).find(fits)?;
    Some((&path[..slash], &path[slash + 1..]))
}

/// Something like the name for readers that know no PAX.
fn plain(name: &[u8]) -> Vec<u8> {
    name.iter().take(NAME.len()).map(|&byte| if byte.is_ascii() { byte } else { b'_' }).collect()
}

fn set_link(header: &mut Header, records: &mut Records, node: &Node, link: &[u8]) -> io::Result<()> {
    if link.contains(&0) {
        return Err(refused(node, "a NUL in its target"));
    }
    if link.len() <= LINK.len() && link.is_ascii() {
        header.set_text(LINK, link);
    } else {
        header.set_text(LINK, &plain(link));
        records.push(b"linkpath", link);
    }
    Ok(())
}

/// Size, owner, time and device. A number that ustar cannot hold is 0 there: readers that disagree
/// about which of two sizes counts have been attacked with it (RUSTSEC-2026-0068).
fn set_numbers(
    header: &mut Header,
    records: &mut Records,
    node: &Node,
    member: &Member<'_>,
) -> io::Result<()> {
    let stat = &node.stat;
    header.set_number(MODE, u64::from(stat.mode & 0o7777));
    let numbers = [(SIZE, "size", member.size), (UID, "uid", stat.uid.into()), (GID, "gid", stat.gid.into())];
    for (field, key, value) in numbers {
        let fits = value <= Header::limit(&field);
        header.set_number(field, if fits { value } else { 0 });
        if !fits {
            records.push(key.as_bytes(), value.to_string().as_bytes());
        }
    }
    let seconds = u64::try_from(stat.mtime).ok().filter(|&seconds| seconds <= Header::limit(&MTIME));
    header.set_number(MTIME, seconds.unwrap_or(0));
    if seconds.is_none() || stat.mtime_nsec != 0 {
        records.push(b"mtime", pax::format_time(stat.mtime, stat.mtime_nsec).as_bytes());
    }
    for (field, value) in [(MAJOR, member.device.0), (MINOR, member.device.1)] {
        if u64::from(value) > Header::limit(&field) {
            return Err(refused(node, "a device number above 2097151"));
        }
        header.set_number(field, value.into());
    }
    Ok(())
}

fn refused(node: &Node, why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{}: {why}", escape::display(&node.path)))
}
