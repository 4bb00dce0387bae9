//! Members of an image, in a directory or in an uncompressed archive that is read in place.

use super::{Failure, Outcome, refused};
use crate::context::stream::Hashing;
use crate::context::tar::Reader;
use crate::model::digest::Sha256;
use crate::model::escape;
use crate::model::tree::{self, Kind};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// Maximum size of a JSON document in bytes. The distribution-spec recommends that registries
/// accept manifests of at least 4 MiB.
pub(crate) const JSON_LIMIT: u64 = 8 << 20;
/// Maximum number of members of an image archive; large images have a few hundred.
const MAX_MEMBERS: usize = 1 << 20;
/// Maximum number of links from member to member. Docker before 25 wrote equal layers as links.
const MAX_LINKS: usize = 8;

/// Member of an archive.
#[derive(Debug)]
pub(super) enum Member {
    /// Offset and length in bytes.
    Data(u64, u64),
    /// Link to the member with this name.
    Link(Vec<u8>),
}

/// Directory or archive with named members.
#[derive(Debug)]
pub(super) enum Store<'a> {
    Directory(PathBuf),
    Archive(&'a File, BTreeMap<Vec<u8>, Member>),
}

impl<'a> Store<'a> {
    pub(super) fn directory(path: &std::path::Path) -> Self {
        Store::Directory(path.to_owned())
    }

    /// Reads the headers of an uncompressed archive and skips the data.
    ///
    /// Omits members that cannot be read in place (sparse files).
    pub(super) fn archive(file: &'a File) -> Outcome<Self> {
        let mut members = BTreeMap::new();
        let mut archive = Reader::new(Section::whole(file)?);
        while let Some(entry) = archive.next_entry()? {
            let (path, contiguous) = (entry.node.path.to_vec(), entry.content.is_contiguous());
            let member = match (entry.hard_link, entry.node.kind) {
                (Some(target), _) => Some(Member::Link(target)),
                (None, Kind::File { size, .. }) => contiguous.then_some(Member::Data(0, size)),
                (None, Kind::Symlink(target)) => resolve_link(tree::parent(&path), &target).map(Member::Link),
                _ => None,
            };
            let member = match member {
                Some(Member::Data(_, size)) => Some(Member::Data(archive.position(), size)),
                other => other,
            };
            archive.skip_data(Section::advance)?;
            if let Some(member) = member {
                members.insert(path, member);
            }
            if members.len() > MAX_MEMBERS {
                break; // not an image but a root file system
            }
        }
        Ok(Store::Archive(file, members))
    }

    /// Whether a member with this name exists.
    pub(super) fn contains(&self, name: &[u8]) -> bool {
        match self {
            Store::Directory(path) => path.join(OsStr::from_bytes(name)).is_file(),
            Store::Archive(..) => self.find(name).is_some(),
        }
    }

    /// Opens a member and returns its content and length in bytes.
    ///
    /// Names cannot lead out of the directory: they are from [`digest_path`], constants, or
    /// looked up in the archive.
    pub(super) fn open(&self, name: &[u8]) -> Outcome<(Box<dyn Read + Send + '_>, u64)> {
        let missing =
            || Failure::Refused(format!("{} is missing in the image", escape::escape(name)), DAMAGED);
        match self {
            Store::Directory(path) => {
                let path = path.join(OsStr::from_bytes(name));
                if !path.is_file() {
                    return Err(missing());
                }
                let file = File::open(path)?;
                let length = file.metadata()?.len();
                Ok((Box::new(file.take(length)), length))
            }
            Store::Archive(file, _) => {
                let (offset, length) = self.find(name).ok_or_else(missing)?;
                Ok((Box::new(Section { file, offset, left: length }), length))
            }
        }
    }

    /// Reads a JSON document of at most 8 MiB.
    pub(super) fn document(&self, name: &[u8]) -> Outcome<Vec<u8>> {
        let (mut reader, length) = self.open(name)?;
        if length > JSON_LIMIT {
            return Err(refused(format!("{} is larger than 8 MiB", escape::escape(name))));
        }
        let mut document = Vec::new();
        reader.read_to_end(&mut document)?;
        Ok(document)
    }

    /// Verifies digest and, if stated, size of a member.
    pub(super) fn verify(&self, name: &[u8], digest: &Sha256, size: Option<u64>) -> Outcome<()> {
        let (reader, length) = self.open(name)?;
        if let Some(size) = size.filter(|&size| size != length) {
            let name = escape::escape(name);
            return Err(Failure::Refused(
                format!("{name} has {length} bytes instead of {size} bytes"),
                DAMAGED,
            ));
        }
        let mut reader = Hashing::new(reader);
        let mut buffer = vec![0; 128 << 10];
        while reader.read(&mut buffer)? > 0 {}
        let (found, read) = reader.finish();
        if read != length {
            return Err(Failure::Refused(format!("{} is truncated", escape::escape(name)), DAMAGED));
        }
        same_digest(&escape::escape(name), digest, &found)
    }

    fn find(&self, name: &[u8]) -> Option<(u64, u64)> {
        let Store::Archive(_, members) = self else { return None };
        let mut name = name;
        for _ in 0..MAX_LINKS {
            match members.get(name)? {
                Member::Data(offset, length) => return Some((*offset, *length)),
                Member::Link(target) => name = target,
            }
        }
        None
    }
}

/// Hint for an inconsistent file.
pub(super) const DAMAGED: &str = "the file is damaged or incomplete: save or download it again";

/// Compares two digests. Fails with a message that contains both if they differ.
pub(crate) fn same_digest(what: &str, stated: &Sha256, found: &Sha256) -> Outcome<()> {
    if stated == found {
        return Ok(());
    }
    let why = format!("{what} has digest {} instead of {}", digest_text(found), digest_text(stated));
    Err(Failure::Refused(why, DAMAGED))
}

/// Returns the digest as `sha256:HEX`.
pub(crate) fn digest_text(digest: &Sha256) -> String {
    format!("sha256:{}", escape::hex(digest))
}

/// Parses `sha256:HEX`.
pub(crate) fn parse_digest(text: &str) -> Outcome<Sha256> {
    let digest = text.strip_prefix("sha256:").and_then(|hex| escape::unhex(hex.as_bytes()));
    digest.ok_or_else(|| refused(format!("{} is not a sha256 digest", escape::escape(text.as_bytes()))))
}

/// Returns the path of a blob in an OCI layout (`image-layout.md`).
pub(super) fn digest_path(digest: &Sha256) -> Vec<u8> {
    format!("blobs/sha256/{}", escape::hex(digest)).into_bytes()
}

/// Resolves the target of a link in `directory`. Returns `None` if it leads out of the archive.
fn resolve_link(directory: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    let mut path = if target.first() == Some(&b'/') { Vec::new() } else { directory.to_vec() };
    for component in target.split(|&byte| byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." if path.is_empty() => return None,
            b".." => path.truncate(tree::parent(&path).len()),
            _ => path = tree::join(&path, component),
        }
    }
    Some(path)
}

/// Part of a file; reading does not move the file offset (pread(2)).
#[derive(Debug)]
pub(super) struct Section<'a> {
    file: &'a File,
    offset: u64,
    left: u64,
}

impl<'a> Section<'a> {
    pub(super) fn whole(file: &'a File) -> io::Result<Self> {
        Ok(Section { file, offset: 0, left: file.metadata()?.len() })
    }

    fn advance(&mut self, count: u64) -> io::Result<()> {
        if count > self.left {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive is truncated"));
        }
        self.offset += count;
        self.left -= count;
        Ok(())
    }
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let max = self.left.min(buffer.len() as u64) as usize;
        let got = self.file.read_at(&mut buffer[..max], self.offset)?;
        self.offset += got as u64;
        self.left -= got as u64;
        Ok(got)
    }
}
