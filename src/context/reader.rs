//! The files of a context by name, and the seal that tells a whole context from a damaged one.

use super::decompress;
use crate::error::{Code, Error, Result};
use crate::model::digest::Sha256;
use crate::model::escape::{self, hex};
use crate::model::manifest::{self, Record};
use sha2::Digest;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Every path of the machine with its verdict.
pub const MANIFEST: &str = "manifest.jsonl.zst";
/// Files that the layers below do not give; the ending tells the compression.
pub const DELTA: &str = "delta.tar";
/// Package files that travel in the context; the ending tells the compression.
pub const PACKAGES: &str = "packages.tar";
/// Links of the machine's merged `/usr` that the base image has not, one a line: name, tab, target.
pub const MERGED_USR: &str = "packages/merged-usr.list";
/// Paths that the layers below give and the machine has not.
pub const DELETIONS: &str = "deletions.list";
/// The withheld files: a `tar` archive as an OpenPGP message.
pub const SECRETS: &str = "secrets.tar.gpg";
/// Every decision with its reason.
pub const PLAN: &str = "plan.json";
/// What was skipped, unstable, unreadable or withheld.
pub const FINDINGS: &str = "findings.jsonl";
/// This program, for the build.
pub const BINARY: &str = "vm2docker-self";
/// Digests of all other files, as `sha256sum -c` reads them; written last.
pub const COMPLETE: &str = "COMPLETE";

/// A finished context.
#[derive(Debug)]
pub struct Context {
    directory: PathBuf,
    digests: BTreeMap<String, Sha256>,
    /// Of the seal itself.
    seal: Sha256,
}

impl Context {
    /// Opens the context in `directory`; one without `COMPLETE` is refused.
    pub fn open(directory: &Path) -> Result<Self> {
        let name = escape::escape(directory.as_os_str().as_bytes());
        let text = std::fs::read_to_string(directory.join(COMPLETE)).map_err(|cause| {
            Error::io(format!("{name} is no complete context: {COMPLETE}"), cause)
                .hint("name the directory that `vm2docker-self --out` wrote; copy all of it")
        })?;
        let mut digests = BTreeMap::new();
        for (number, line) in text.lines().enumerate() {
            let (digest, file) = parse_line(line).ok_or_else(|| {
                Error::new(
                    Code::Failed,
                    format!("{name}/{COMPLETE}, line {}: not a digest and a name", number + 1),
                )
            })?;
            digests.insert(file, digest);
        }
        // The name that comes last: a list that was cut off does not have it.
        if !text.ends_with('\n') || !digests.contains_key(BINARY) {
            return Err(Error::new(Code::Failed, format!("{name}/{COMPLETE} is cut off"))
                .hint("copy the context again from where it was made"));
        }
        let seal = sha2::Sha256::digest(&text).into();
        Ok(Context { directory: directory.to_owned(), digests, seal })
    }

    /// Where a file of the context lies.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The files that are sealed, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.digests.keys().map(String::as_str)
    }

    /// The digest of a file that is sealed, and of the seal.
    pub fn digest(&self, name: &str) -> Option<Sha256> {
        if name == COMPLETE { Some(self.seal) } else { self.digests.get(name).copied() }
    }

    /// Whether the context has a file of this name.
    pub fn has(&self, name: &str) -> bool {
        self.digests.contains_key(name)
    }

    /// The manifest, proven to be the one that was sealed.
    pub fn manifest(&self) -> Result<Vec<Record>> {
        manifest::read(BufReader::new(self.archive(MANIFEST)?))
    }

    /// The deletion list, proven to be the one that was sealed.
    pub fn deletions(&self) -> Result<Vec<Vec<u8>>> {
        self.check(DELETIONS)?;
        let damaged = || Error::new(Code::Failed, format!("{DELETIONS} is not what this program writes"));
        let text = String::from_utf8(self.read(DELETIONS)?).map_err(|_| damaged())?;
        text.lines().map(|line| manifest::safe_path(line).ok_or_else(damaged)).collect()
    }

    /// A small file of the context.
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        std::fs::read(self.path(name)).map_err(|cause| self.io(name, cause))
    }

    /// An archive, or another file that may come in pieces, whatever its compression: proven to be the one that was sealed,
    /// and decompressed.
    pub fn archive(&self, stem: &str) -> Result<Box<dyn Read + Send>> {
        let names: Vec<&str> = self.names().filter(|name| is_archive(name, stem)).collect();
        if names.is_empty() {
            return Err(self.io(stem, io::ErrorKind::NotFound.into()));
        }
        names.iter().try_for_each(|name| self.check(name))?;
        decompress(names.iter().map(|name| self.path(name)).collect())
    }

    /// Proves that a file is the one that was sealed.
    pub fn check(&self, name: &str) -> Result<()> {
        let file = File::open(self.path(name)).map_err(|cause| self.io(name, cause))?;
        let digest = digest(file).map_err(|cause| self.io(name, cause))?;
        if self.digests.get(name) == Some(&digest) {
            return Ok(());
        }
        Err(Error::new(Code::Failed, damaged(name)).hint("copy the context again from where it was made"))
    }

    fn io(&self, name: &str, cause: io::Error) -> Error {
        io_error(&self.path(name), cause)
    }
}

/// Whether `name` is that of the file `stem`, with the ending of some compression, or of a piece of it.
pub fn is_archive(name: &str, stem: &str) -> bool {
    name.strip_prefix(stem).is_some_and(|ending| {
        let is_piece =
            |number: &str| number.len() == DIGITS && number.bytes().all(|byte| byte.is_ascii_digit());
        let whole =
            ending.rsplit_once('.').filter(|(_, number)| is_piece(number)).map_or(ending, |(whole, _)| whole);
        ["", ".zst", ".gz"].contains(&whole)
    })
}

/// Of the number of a piece: names in order are pieces in order, for more bytes than any machine has.
const DIGITS: usize = 6;

/// The name of a piece of a file, counted from 0: a context that is sent while it is made has none that is larger than
/// [`PIECE`](crate::context::output::sent::PIECE).
pub fn piece(name: &str, number: usize) -> String {
    format!("{name}.{number:0DIGITS$}")
}

/// The decompressed content of a file of a context, whose pieces these are.
pub fn decompress(pieces: Vec<PathBuf>) -> Result<Box<dyn Read + Send>> {
    let shown = pieces.first().cloned().unwrap_or_default();
    let pieces = Pieces { open: None, left: pieces.into_iter() };
    let plain = decompress::decompress(pieces).map(|(_, reader)| reader);
    plain.map_err(|cause| io_error(&shown, cause))
}

/// Files one after the other.
struct Pieces {
    open: Option<File>,
    left: std::vec::IntoIter<PathBuf>,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(file) = &mut self.open {
                match file.read(buffer)? {
                    0 => self.open = None,
                    length => return Ok(length),
                }
            }
            match self.left.next() {
                Some(next) => self.open = Some(File::open(next)?),
                None => return Ok(0),
            }
        }
    }
}

fn io_error(path: &Path, cause: io::Error) -> Error {
    Error::io(escape::escape(path.as_os_str().as_bytes()), cause)
        .hint("the context is damaged or not all there; copy it again from where it was made")
}

/// What is said of a file that is not the one that was sealed.
pub fn damaged(name: &str) -> String {
    format!("{name} is damaged: its digest is not the one in {COMPLETE}")
}

/// SHA-256 of everything that `reader` gives.
pub fn digest(mut reader: impl Read) -> io::Result<Sha256> {
    let mut sha256 = sha2::Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(sha256.finalize().into()),
            length => sha256.update(&buffer[..length]),
        }
    }
}

/// One line of the seal.
pub fn seal_line(name: &str, digest: &Sha256) -> String {
    format!("{}  {name}\n", hex(digest))
}

fn parse_line(line: &str) -> Option<(Sha256, String)> {
    let (digest, name) = line.split_once("  ")?;
    let is_plain = name.split('/').all(|part| !matches!(part, "" | "." | ".."));
    let digest = escape::unhex(digest.as_bytes())?;
    is_plain.then(|| (digest, name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let mut seal = String::new();
        for (name, content) in files.iter().chain(&[(BINARY, "")]) {
            std::fs::write(dir.path().join(name), content).unwrap();
            seal += &seal_line(name, &digest(content.as_bytes()).unwrap());
        }
        std::fs::write(dir.path().join(COMPLETE), seal).unwrap();
        dir
    }

    #[test]
    fn one_flipped_byte_breaks_the_seal() {
        let dir = sealed(&[(DELETIONS, "/usr/share/doc/x\\x0a\n"), (PLAN, "{}")]);
        let context = Context::open(dir.path()).unwrap();
        context.names().try_for_each(|name| context.check(name)).unwrap();
        assert_eq!(context.deletions().unwrap(), [b"usr/share/doc/x\n".to_vec()]);
        std::fs::write(dir.path().join(PLAN), "{]").unwrap();
        let error = Context::open(dir.path()).unwrap().check(PLAN).unwrap_err();
        assert!(error.to_string().contains("plan.json is damaged"), "{error}");
    }

    #[test]
    fn an_empty_deletion_list_is_a_list() {
        let dir = sealed(&[(DELETIONS, "")]);
        assert!(Context::open(dir.path()).unwrap().deletions().unwrap().is_empty());
    }

    #[test]
    fn a_seal_that_was_cut_off_anywhere_is_refused() {
        let dir = sealed(&[(DELETIONS, ""), (PLAN, "{}")]);
        let seal = std::fs::read(dir.path().join(COMPLETE)).unwrap();
        for length in 0..seal.len() {
            std::fs::write(dir.path().join(COMPLETE), &seal[..length]).unwrap();
            assert!(Context::open(dir.path()).is_err(), "{length}");
        }
    }

    #[test]
    fn an_unfinished_context_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = Context::open(dir.path()).unwrap_err();
        assert!(error.to_string().contains("no complete context"), "{error}");
        std::fs::write(dir.path().join(COMPLETE), "00  ../x\n").unwrap();
        assert!(Context::open(dir.path()).is_err());
    }
}
