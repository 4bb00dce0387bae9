//! Reader of a tar archive: returns the members in the archive's order. Never unpacks.
//!
//! The `tar` crate (0.4.46) splits PAX records at newlines. If a name or a `security.capability`
//! value contains one, it loses later records, such as the size, and misreads the next member.

use super::header::{BLOCK, GID, Header, LINK, MAJOR, MINOR, MODE, MTIME, SIZE, UID};
use super::malformed;
use super::pax::{self, XattrClasses, decimal};
use super::sparse::{self, Map};
use crate::context::stream;
use crate::model::escape;
use crate::model::holes::{MAX_HASHED, ReadHoles};
use crate::model::tree::{Kind, Node, Stat, Xattrs, is_portable_xattr};
use std::io::{self, Read};

/// Maximum size of an extended header, as in Go's archive/tar. Linux allows 64 KiB per attribute.
const MAX_EXTENDED: u64 = 1 << 20;

/// One member.
#[derive(Debug)]
pub struct Entry<'a, R> {
    /// The path without leading `./` and `/` and trailing `/`, the root being empty; of a hard
    /// link, type and size are those of an empty file. `sha256` and `group` are not filled in.
    pub node: Node,
    /// The path of the file that this is one more name of.
    pub hard_link: Option<Vec<u8>>,
    /// The content of a file, holes filled with zeros; empty for everything else.
    pub content: Content<'a, R>,
}

/// Reads one member's content.
#[derive(Debug)]
pub struct Content<'a, R> {
    reader: &'a mut Reader<R>,
    map: Map,
    position: u64,
    piece: usize,
}

/// Sequential reader of an archive. Errors are of kind `InvalidData` or `UnexpectedEof` and name
/// the member, or they are those of `R`. After an error, the reader returns no more members.
#[derive(Debug)]
pub struct Reader<R> {
    inner: R,
    position: u64,
    data: u64,
    padding: u64,
    global: pax::Parsed,
    global_size: u64,
    classes: XattrClasses,
    ended: bool,
    end_marker: bool,
    max_holes: u64,
}

/// Values of extended headers for the member that follows.
#[derive(Default)]
struct Extended {
    long_path: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    records: Option<pax::Parsed>,
    any: bool,
}

impl<R: Read> Reader<R> {
    /// An uncompressed archive that begins at the next byte of `inner`.
    pub fn new(inner: R) -> Self {
        Reader {
            inner,
            position: 0,
            data: 0,
            padding: 0,
            global: Vec::new(),
            global_size: 0,
            classes: XattrClasses::default(),
            ended: false,
            end_marker: false,
            max_holes: MAX_HASHED,
        }
    }

    /// Returns a reader that accepts sparse files with holes of any size. Others are limited to
    /// [`MAX_HASHED`], because their users hash or expand the zeros.
    pub fn with_any_holes(inner: R) -> Self {
        Reader { max_holes: u64::MAX, ..Reader::new(inner) }
    }

    /// The next member, or `None` at the end.
    pub fn next_entry(&mut self) -> io::Result<Option<Entry<'_, R>>> {
        if self.ended {
            return Ok(None);
        }
        self.ended = true; // until this one has succeeded
        let Some((header, extended)) = self.next_header()? else { return Ok(None) };
        let path = self.path(&header, &extended);
        let named = |error: io::Error| name_it(&path, error);
        let (node, hard_link) = self.node(&header, &extended, &path).map_err(named)?;
        let has_content = hard_link.is_none() && matches!(node.kind, Kind::File { .. });
        let map = if has_content { self.map(&header, &extended).map_err(named)? } else { Map::default() };
        let mut node = node;
        if let Kind::File { size, .. } = &mut node.kind {
            *size = map.size;
        }
        self.ended = false;
        Ok(Some(Entry { node, hard_link, content: Content { reader: self, map, position: 0, piece: 0 } }))
    }

    /// Which extended attributes have appeared so far.
    pub fn xattr_classes(&self) -> XattrClasses {
        self.classes
    }

    /// Whether a block of zeros ended the archive. Otherwise it may be truncated at a member.
    pub fn has_end_marker(&self) -> bool {
        self.end_marker
    }

    /// Returns the number of bytes of the archive that were read. After [`Reader::next_entry`],
    /// this is the offset of the member's data.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Skips the rest of the member's data without reading it: `skip` moves the inner reader
    /// forward by the given number of bytes.
    pub fn skip_data(&mut self, skip: impl FnOnce(&mut R, u64) -> io::Result<()>) -> io::Result<()> {
        let rest = self.data.saturating_add(self.padding);
        skip(&mut self.inner, rest)?;
        self.position = self.position.saturating_add(rest);
        (self.data, self.padding) = (0, 0);
        Ok(())
    }

    /// Returns the inner reader at its current position.
    pub fn into_inner(self) -> R {
        self.inner
    }

    fn next_header(&mut self) -> io::Result<Option<(Header, Extended)>> {
        let mut extended = Extended::default();
        loop {
            self.pass_rest()?;
            let Some(header) = self.read_header()? else {
                return if extended.any {
                    Err(malformed("an extended header with no member after it"))
                } else {
                    Ok(None)
                };
            };
            let size = sparse::positive(header.number(SIZE)?)?;
            self.set_size(size);
            match header.kind() {
                b'x' | b'X' if extended.records.is_none() => {
                    extended.records = Some(pax::parse(&self.read_extended(size)?)?);
                }
                b'L' if extended.long_path.is_none() => extended.long_path = Some(self.read_name(size)?),
                b'K' if extended.long_link.is_none() => extended.long_link = Some(self.read_name(size)?),
                b'g' => {
                    let records = pax::parse(&self.read_extended(size)?)?;
                    self.global.extend(records);
                    self.global_size += size;
                    if self.global_size > MAX_EXTENDED {
                        return Err(malformed("more than 1 MiB of global records"));
                    }
                    continue;
                }
                b'V' => continue, // GNU: the volume's label
                b'x' | b'X' | b'L' | b'K' => {
                    return Err(malformed("two extended headers of one type for one member"));
                }
                _ => return Ok(Some((header, extended))),
            }
            extended.any = true;
        }
    }

    /// The next header block, or `None` at a block of zeros and at the end of the stream.
    fn read_header(&mut self) -> io::Result<Option<Header>> {
        let mut block = [0; BLOCK];
        let got = stream::read_full(&mut self.inner, &mut block)?;
        self.position += got as u64;
        if got == 0 {
            return Ok(None);
        }
        if got < BLOCK {
            return Err(truncated());
        }
        if block == [0; BLOCK] {
            self.end_marker = true;
            return Ok(None);
        }
        let header = Header(block);
        if !header.is_sealed() {
            return Err(malformed(format!(
                "no tar header at byte {}: wrong checksum",
                self.position - BLOCK as u64
            )));
        }
        Ok(Some(header))
    }

    fn set_size(&mut self, size: u64) {
        self.data = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    fn read_extended(&mut self, size: u64) -> io::Result<Vec<u8>> {
        if size > MAX_EXTENDED {
            return Err(malformed("an extended header of more than 1 MiB"));
        }
        let mut data = Vec::new();
        while self.data > 0 {
            let mut block = [0; BLOCK];
            let got = self.read_data(&mut block)?;
            data.extend_from_slice(&block[..got]);
        }
        Ok(data)
    }

    fn read_name(&mut self, size: u64) -> io::Result<Vec<u8>> {
        let mut name = self.read_extended(size)?;
        name.truncate(memchr::memchr(0, &name).unwrap_or(name.len()));
        Ok(name)
    }

    /// Reads from the member's stored data; 0 only at its end.
    fn read_data(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.data).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let got = self.inner.read(&mut buffer[..most])?;
        if got == 0 {
            return Err(truncated());
        }
        self.data -= got as u64;
        self.position += got as u64;
        Ok(got)
    }

    /// Reads and drops what is left of the member.
    fn pass_rest(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 << 10];
        while self.read_data(&mut buffer)? > 0 {}
        self.data = std::mem::take(&mut self.padding);
        while self.read_data(&mut buffer)? > 0 {}
        Ok(())
    }

    /// The value of a PAX record for this member; an empty one withdraws a global one (POSIX).
    fn record<'a>(&'a self, extended: &'a Extended, key: &str) -> Option<&'a [u8]> {
        let own = extended.records.iter().flatten().rev();
        let mut all = own.chain(self.global.iter().rev());
        let (_, value) = all.find(|(name, _)| **name == *key.as_bytes())?;
        (!value.is_empty()).then_some(value)
    }

    fn path(&self, header: &Header, extended: &Extended) -> Vec<u8> {
        let pax = || self.record(extended, "GNU.sparse.name").or_else(|| self.record(extended, "path"));
        extended.long_path.clone().or_else(|| pax().map(<[u8]>::to_vec)).unwrap_or_else(|| header.path())
    }

    fn link(&self, header: &Header, extended: &Extended) -> Vec<u8> {
        let pax = || self.record(extended, "linkpath").unwrap_or_else(|| header.text(LINK)).to_vec();
        extended.long_link.clone().unwrap_or_else(pax)
    }

    /// The PAX record if there is one, else the header's field.
    fn number(&self, header: &Header, extended: &Extended, key: &str) -> io::Result<u64> {
        let field = match key {
            "uid" => UID,
            "gid" => GID,
            _ => SIZE,
        };
        match self.record(extended, key) {
            Some(value) => decimal(value).ok_or_else(|| malformed(format!("its {key} is not a number"))),
            None => sparse::positive(header.number(field)?),
        }
    }

    fn node(
        &mut self,
        header: &Header,
        extended: &Extended,
        path: &[u8],
    ) -> io::Result<(Node, Option<Vec<u8>>)> {
        let link = self.link(header, extended);
        let kind = kind(header, path, &link)?;
        let hard_link = if header.kind() == b'1' { Some(normalize(&link)?) } else { None };
        let has_data = hard_link.is_none() && matches!(kind, Kind::File { .. });
        // Go's archive/tar, and so Docker, ignores the size of members other than files.
        let size = if has_data { self.number(header, extended, "size")? } else { 0 };
        self.set_size(size);
        let normal = normalize(path)?;
        if normal.is_empty() && kind != Kind::Directory {
            return Err(malformed("the root is not a directory"));
        }
        let stat = self.stat(header, extended)?;
        let xattrs = self.xattrs(extended);
        Ok((Node { path: normal.into(), kind, stat, group: 0, xattrs }, hard_link))
    }

    fn stat(&self, header: &Header, extended: &Extended) -> io::Result<Stat> {
        let id = |key| {
            let number = self.number(header, extended, key)?;
            u32::try_from(number).map_err(|_| malformed(format!("its {key} is above 4294967295")))
        };
        let (mtime, mtime_nsec) = match self.record(extended, "mtime") {
            Some(value) => pax::parse_time(value).ok_or_else(|| malformed("its mtime is not a time"))?,
            None => (header.number(MTIME)?, 0),
        };
        let mode = (header.number(MODE)? & 0o7777) as u16;
        Ok(Stat { mode, uid: id("uid")?, gid: id("gid")?, mtime, mtime_nsec })
    }

    fn xattrs(&mut self, extended: &Extended) -> Option<Box<Xattrs>> {
        let mut xattrs = Xattrs::new();
        for (key, value) in self.global.iter().chain(extended.records.iter().flatten()) {
            let Some(name) = key.strip_prefix(pax::XATTR) else { continue };
            self.classes.note(name);
            if is_portable_xattr(name) {
                xattrs.insert(name.into(), value.clone());
            }
        }
        (!xattrs.is_empty()).then(|| Box::new(xattrs))
    }

    /// Returns the map of the file's chunks. Reads the part of the map that is in the data.
    fn map(&mut self, header: &Header, extended: &Extended) -> io::Result<Map> {
        if header.kind() == b'S' {
            let stored = self.data;
            self.data = u64::MAX; // the map's further blocks do not count as data
            let map = Map::old_gnu(header, || self.read_block());
            self.data = stored;
            return map?.checked(stored, self.max_holes);
        }
        let number = |key| match self.record(extended, key) {
            Some(value) => {
                decimal(value).map(Some).ok_or_else(|| malformed(format!("its {key} is not a number")))
            }
            None => Ok(None),
        };
        let size = number("GNU.sparse.realsize")?.or(number("GNU.sparse.size")?);
        let version = (self.record(extended, "GNU.sparse.major"), self.record(extended, "GNU.sparse.minor"));
        let Some(size) = size else { return Ok(Map::whole(self.data)) };
        let map = match version {
            (Some(b"1"), Some(b"0")) => Map::from_data(size, || self.read_block())?,
            (None, None) | (Some(b"0"), _) => Map::from_numbers(&sparse_numbers(extended)?, size)?,
            _ => return Err(malformed("a sparse format that this program does not know")),
        };
        map.checked(self.data, self.max_holes)
    }

    fn read_block(&mut self) -> io::Result<[u8; BLOCK]> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.read_data(&mut block[filled..])? {
                0 => return Err(malformed("a sparse map that does not end")),
                got => filled += got,
            }
        }
        Ok(block)
    }
}

impl<R> Content<'_, R> {
    /// Whether the archive holds the content in one piece, so that it can be read in place.
    pub fn is_contiguous(&self) -> bool {
        matches!(*self.map.pieces, [(0, length)] if length == self.map.size)
    }

    /// Returns the size of all holes in bytes.
    pub fn holes(&self) -> u64 {
        self.map.holes()
    }

    fn zeros(&mut self, until: u64, buffer: &mut [u8]) -> usize {
        let count = (until - self.position).min(buffer.len() as u64) as usize;
        buffer[..count].fill(0);
        self.position += count as u64;
        count
    }
}

impl<R: Read> ReadHoles for Content<'_, R> {
    fn skip_hole(&mut self) -> u64 {
        let next = self.map.pieces[self.piece..]
            .iter()
            .find(|(offset, length)| *length > 0 && self.position < offset + length);
        let until = next.map_or(self.map.size, |(offset, _)| *offset);
        let length = until.saturating_sub(self.position);
        self.position += length;
        length
    }
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(&(offset, length)) = self.map.pieces.get(self.piece) {
            if self.position >= offset + length {
                self.piece += 1;
                continue;
            }
            if self.position < offset {
                return Ok(self.zeros(offset, buffer));
            }
            let most = (offset + length - self.position).min(buffer.len() as u64) as usize;
            let got = self.reader.read_data(&mut buffer[..most])?;
            self.position += got as u64;
            return Ok(got);
        }
        Ok(self.zeros(self.map.size, buffer))
    }
}

fn kind(header: &Header, path: &[u8], link: &[u8]) -> io::Result<Kind> {
    let device = || -> io::Result<(u32, u32)> {
        let part = |field| {
            u32::try_from(header.number(field)?).map_err(|_| malformed("its device number is not a number"))
        };
        Ok((part(MAJOR)?, part(MINOR)?))
    };
    let file = Kind::File { size: 0, sha256: None };
    Ok(match header.kind() {
        0 if path.ends_with(b"/") => Kind::Directory, // before POSIX
        0 | b'0' | b'1' | b'7' => file,
        b'S' if header.is_old_gnu() => file,
        b'2' => Kind::Symlink(link.into()),
        b'3' => device().map(|(major, minor)| Kind::CharDevice(major, minor))?,
        b'4' => device().map(|(major, minor)| Kind::BlockDevice(major, minor))?,
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        other => return Err(malformed(format!("a member of type '{}'", escape::escape(&[other])))),
    })
}

/// The numbers of a PAX sparse map 0.1 (one record) or 0.0 (repeated records, whose order
/// counts).
fn sparse_numbers(extended: &Extended) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for (key, value) in extended.records.iter().flatten() {
        if matches!(&**key, b"GNU.sparse.map" | b"GNU.sparse.offset" | b"GNU.sparse.numbytes")
            && !value.is_empty()
        {
            for number in value.split(|&byte| byte == b',') {
                numbers.push(decimal(number).ok_or_else(|| malformed("a sparse map that is not numbers"))?);
            }
        }
    }
    Ok(numbers)
}

/// Returns the path as the tree holds it.
pub(super) fn normalize(path: &[u8]) -> io::Result<Vec<u8>> {
    let mut normal = Vec::with_capacity(path.len());
    for component in path.split(|&byte| byte == b'/') {
        match component {
            b"" | b"." => continue,
            b".." => return Err(malformed(format!("{} has a .. component", escape::escape(path)))),
            _ if component.contains(&0) => {
                return Err(malformed(format!("{} has a NUL", escape::escape(path))));
            }
            _ => {}
        }
        if !normal.is_empty() {
            normal.push(b'/');
        }
        normal.extend_from_slice(component);
    }
    Ok(normal)
}

/// The same error with the member's name in front, unless it is the disk's.
pub(super) fn name_it(path: &[u8], error: io::Error) -> io::Error {
    if error.raw_os_error().is_some() {
        return error;
    }
    io::Error::new(error.kind(), format!("archive member {}: {error}", escape::escape(path)))
}

fn truncated() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the archive is truncated")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A member as any program might write it, with the checksum right.
    fn member(kind: u8, name: &[u8], data: &[u8]) -> Vec<u8> {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::new(kind));
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.set_size(data.len() as u64);
        header.set_cksum();
        let padding = vec![0; data.len().wrapping_neg() % BLOCK];
        [header.as_bytes(), data, &padding].concat()
    }

    fn records(list: &[(&str, &[u8])]) -> Vec<u8> {
        let mut records = pax::Records::default();
        list.iter().for_each(|(key, value)| records.push(key.as_bytes(), value));
        records.0
    }

    fn nodes(archive: &[u8]) -> io::Result<Vec<Node>> {
        let mut reader = Reader::new(archive);
        std::iter::from_fn(|| reader.next_entry().map(|entry| entry.map(|entry| entry.node)).transpose())
            .collect()
    }

    #[test]
    fn global_records_hold_until_withdrawn() {
        let archive = [
            member(b'g', b"", &records(&[("uid", b"7"), ("gid", b"8"), ("comment", b"git")])),
            member(b'0', b"one", b""),
            member(b'x', b"", &records(&[("uid", b"9"), ("gid", b"")])),
            member(b'0', b"two", b""),
        ];
        let ids: Vec<_> =
            nodes(&archive.concat()).unwrap().iter().map(|node| (node.stat.uid, node.stat.gid)).collect();
        assert_eq!(ids, [(7, 8), (9, 0)]);
    }

    #[test]
    fn records_behind_a_newline_count() {
        let capability = b"\x01\0\0\x02\n\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        let list =
            records(&[("SCHILY.xattr.security.capability", capability), ("path", b"a\nb"), ("size", b"3")]);
        let archive =
            [member(b'x', b"", &list), member(b'0', b"x", b""), b"abc".to_vec(), vec![0; 509]].concat();
        let archive = [archive, member(b'5', b"next/", b"")].concat();
        let nodes = nodes(&archive).unwrap();
        assert_eq!((&*nodes[0].path, nodes[0].size()), (&b"a\nb"[..], 3));
        assert_eq!(nodes[0].xattrs.as_ref().unwrap()[&b"security.capability"[..]][..], capability[..]);
        assert_eq!(*nodes[1].path, *b"next");
    }

    #[test]
    fn next_entry_size_record_applies_to_the_file_only() {
        // GHSA-3pv8-6f4r-ffg2: the size is the file's, not that of the long name before it.
        let archive = [
            member(b'x', b"", &records(&[("size", b"3")])),
            member(b'L', b"././@LongLink", b"long\0"),
            member(b'0', b"short", b"abc"),
        ];
        let nodes = nodes(&archive.concat()).unwrap();
        assert_eq!((nodes.len(), &*nodes[0].path, nodes[0].size()), (1, &b"long"[..], 3));
    }

    #[test]
    fn normalize_path_outside_the_root_returns_error() {
        for (path, normal) in [
            ("./etc/passwd", "etc/passwd"),
            ("/etc//x/", "etc/x"),
            ("./", ""),
            (".", ""),
            ("a/./b", "a/b"),
            ("..a", "..a"),
        ] {
            assert_eq!(normalize(path.as_bytes()).unwrap(), normal.as_bytes());
        }
        for path in ["..", "a/../b", "/..", "a\0b"] {
            assert!(normalize(path.as_bytes()).is_err(), "{path}");
        }
    }

    #[test]
    fn hostile_members_are_errors_that_name_them() {
        let extended =
            |list: &[(&str, &[u8])]| [member(b'x', b"", &records(list)), member(b'0', b"bad", b"")].concat();
        for archive in [
            member(b'M', b"bad", b""),
            member(b'0', b"bad/..", b""),
            member(b'0', b"./", b"the root as a file: bad"),
            extended(&[("uid", b"4294967296")]),
            extended(&[("size", b"-1")]),
            extended(&[("mtime", b"now")]),
            extended(&[("GNU.sparse.size", b"99999999999999"), ("GNU.sparse.map", b"0,0")]),
            extended(&[("GNU.sparse.size", b"9"), ("GNU.sparse.map", b"5,1,0,1")]),
            extended(&[
                ("GNU.sparse.major", b"2"),
                ("GNU.sparse.minor", b"0"),
                ("GNU.sparse.realsize", b"1"),
            ]),
        ] {
            let error = nodes(&archive).unwrap_err().to_string();
            assert!(error.starts_with("archive member "), "{error}");
        }
        let twice = [extended(&[("uid", b"1")])[..1024].to_vec(), extended(&[("uid", b"1")])].concat();
        for archive in [twice, member(b'x', b"", b"9 k=v\n"), member(b'x', b"", &records(&[("uid", b"1")]))] {
            assert!(nodes(&archive).is_err());
        }
    }
}
