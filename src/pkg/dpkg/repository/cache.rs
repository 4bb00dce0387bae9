//! apt's cache of release files and indexes: `var/lib/apt/lists`.

use super::address::list_name;
use super::keyring::{Keyring, SignatureError};
use super::release::Release;
use super::signed;
use super::source::Source;
use crate::context::decompress;
use crate::model::digest::Sha256;
use crate::model::findings::{self, Findings};
use crate::system::cache_neutral::CacheNeutralReader;
use crate::system::root::Root;
use sha2::Digest;
use std::fs::File;
use std::io::ErrorKind::NotFound;
use std::io::{self, Read};

const DIRECTORY: &[u8] = b"var/lib/apt/lists";

/// Names in apt's cache, and the root to read them from.
#[derive(Debug)]
pub struct Cache<'a> {
    root: &'a Root,
    names: Vec<Vec<u8>>,
}

/// An index in the cache: its name, and the suffix that apt's compression adds (`.lz4`).
pub(super) struct Cached<'a> {
    cache: &'a Cache<'a>,
    name: &'a [u8],
    pub(super) ending: &'a str,
}

impl<'a> Cache<'a> {
    /// Lists the cache of a root. If the directory cannot be listed, that is a note.
    pub fn open(root: &'a Root, findings: &mut Findings) -> Self {
        let names = root.list(DIRECTORY).unwrap_or_else(|cause| {
            if cause.kind() != NotFound {
                findings.note(findings::Kind::Unreadable, DIRECTORY, cause.to_string());
            }
            Vec::new()
        });
        Cache { root, names }
    }

    /// Returns the release file of a source that apt fetched and verified last.
    pub fn release(&self, source: &Source) -> Option<Release> {
        let directory = source.release_directory();
        ["InRelease", "Release"].iter().find_map(|name| {
            let content = self.read(list_name(&format!("{directory}{name}")).as_bytes())?;
            let text = signed::text(&content).unwrap_or(content);
            Some(Release::parse(&text))
        })
    }

    /// Verifies the cached release file of a source. An absent one has nothing to refuse.
    pub(super) fn verify(&self, source: &Source, keyring: &Keyring, now: i64) -> Result<(), SignatureError> {
        let directory = source.release_directory();
        let read = |name: &str| self.read(list_name(&format!("{directory}{name}")).as_bytes());
        if let Some(message) = read("InRelease") {
            return signed::open(&message, keyring, now).map(drop);
        }
        match (read("Release"), read("Release.gpg")) {
            (None, _) => Ok(()),
            (Some(text), Some(signature)) => signed::verify(&text, &signature, keyring, now),
            (Some(_), None) => Err(SignatureError::UnknownKeys(Vec::new())),
        }
    }

    /// Returns the latest date of all release files, in seconds since 1970.
    pub fn newest(&self) -> Option<i64> {
        let is_release = |name: &&Vec<u8>| name.ends_with(b"_InRelease") || name.ends_with(b"_Release");
        let releases = self.names.iter().filter(is_release).filter_map(|name| self.read(name));
        releases.filter_map(|content| Release::parse(&content).date).max()
    }

    /// Returns the index at this address, with any of apt's compressions.
    pub(super) fn index(&'a self, uri: &str) -> Option<Cached<'a>> {
        let plain = list_name(uri);
        let at = self.names.partition_point(|name| name.as_slice() < plain.as_bytes());
        let ending = |name: &'a [u8]| std::str::from_utf8(name.strip_prefix(plain.as_bytes())?).ok();
        let beside = self.names[at..].iter().map_while(|name| Some((name, ending(name)?)));
        beside
            .filter(|(_, ending)| ["", ".xz", ".gz", ".zst", ".lz4"].contains(ending))
            .map(|(name, ending)| Cached { cache: self, name, ending })
            .next()
    }

    fn read(&self, name: &[u8]) -> Option<Vec<u8>> {
        self.names.binary_search_by(|known| known.as_slice().cmp(name)).ok()?;
        self.root.read(&path(name)).ok()
    }
}

impl Cached<'_> {
    /// Returns the path of the index relative to the root.
    pub(super) fn path(&self) -> Vec<u8> {
        path(self.name)
    }

    /// Returns a reader of the uncompressed index.
    pub(super) fn reader(&self) -> io::Result<Box<dyn Read + Send>> {
        let file = self.file()?;
        match self.ending {
            ".lz4" => Ok(Box::new(lz4_flex::frame::FrameDecoder::new(file))),
            _ => Ok(decompress::decompress(file)?.1),
        }
    }

    /// Returns digest and length in bytes of the file as it is stored.
    pub(super) fn digest(&self) -> io::Result<(Sha256, u64)> {
        let mut hasher = sha2::Sha256::new();
        let mut file = self.file()?;
        let mut buffer = vec![0; 128 << 10];
        let mut length = 0;
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok((hasher.finalize().into(), length)),
                got => {
                    hasher.update(&buffer[..got]);
                    length += got as u64;
                }
            }
        }
    }

    fn file(&self) -> io::Result<CacheNeutralReader> {
        Ok(CacheNeutralReader::new(File::from(self.cache.root.open_file(&self.path())?)))
    }
}

fn path(name: &[u8]) -> Vec<u8> {
    [DIRECTORY, b"/", name].concat()
}
