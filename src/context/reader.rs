//! Opens a finished context and verifies its files with the checksums in `COMPLETE`.

use super::decompress;
use super::stream::Limited;
use crate::error::{Code, Error, Result};
use crate::model::digest::Sha256;
use crate::model::escape::{self, hex};
use crate::model::manifest::{self, Record};
use crate::system::file;
use sha2::Digest;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Manifest: every path of the machine with its verdict.
pub const MANIFEST: &str = "manifest.jsonl.zst";
/// Files of the machine that the lower layers do not provide; a suffix states the compression.
pub const DELTA: &str = "delta.tar";
/// Package files that are included in the context; a suffix states the compression.
pub const PACKAGES: &str = "packages.tar";
/// Symbolic links of the machine's merged `/usr` that the base image does not have. One link per
/// line: name, tab, target.
pub const MERGED_USR: &str = "packages/merged-usr.list";
/// Paths to delete: the lower layers contain them, the machine does not.
pub const DELETIONS: &str = "deletions.list";
/// The withheld files: a `tar` archive as an OpenPGP message.
pub const SECRETS: &str = "secrets.tar.gpg";
/// Every decision with its reason.
pub const PLAN: &str = "plan.json";
/// Skipped, unstable, unreadable and withheld objects.
pub const FINDINGS: &str = "findings.jsonl";
/// Executable of vm2docker-self, for the build.
pub const BINARY: &str = "vm2docker-self";
/// SHA-256 of all other files, in the format of `sha256sum -c`; written last.
pub const COMPLETE: &str = "COMPLETE";

/// Maximum size in bytes of a list that is read into memory: `COMPLETE` (300,000 files),
/// [`DELETIONS`], [`MERGED_USR`] and the lists of packages.
pub const MAX_LIST: u64 = 32 << 20;
/// Maximum size in bytes of [`FINDINGS`].
const MAX_FINDINGS: u64 = 256 << 20;
/// Bytes to which a manifest of any compressed size can expand.
const EXPANDED: u64 = 64 << 20;
/// Bytes to which each compressed byte of a manifest can expand in addition. A directory with a
/// million empty files has a ratio of 170 to 230, depending on the level (measured 2026-11-29).
const EXPANSION: u64 = 512;

/// Finished context.
#[derive(Debug)]
pub struct Context {
    directory: PathBuf,
    digests: BTreeMap<String, Sha256>,
    /// Digest of `COMPLETE`.
    complete: Sha256,
}

impl Context {
    /// Opens the context in `directory`.
    ///
    /// Fails with exit code 1 if `COMPLETE` cannot be read, or is truncated or not valid.
    pub fn open(directory: &Path) -> Result<Self> {
        let name = escape::escape(directory.as_os_str().as_bytes());
        let read = file::read_untrusted(&directory.join(COMPLETE), MAX_LIST).and_then(file::text);
        let text = read.map_err(|cause| {
            Error::io(format!("{name} is not a complete context: {COMPLETE}"), cause)
                .hint("pass the directory that `vm2docker-self --out` wrote; copy all of it")
        })?;
        let mut digests = BTreeMap::new();
        for (number, line) in text.lines().enumerate() {
            let (digest, file) = parse_line(line).ok_or_else(|| {
                Error::new(
                    Code::Failed,
                    format!("{name}/{COMPLETE}, line {}: expected a SHA-256 and a name", number + 1),
                )
            })?;
            digests.insert(file, digest);
        }
        // COMPLETE is sorted by name and BINARY is the last name, so a truncated list lacks it.
        if !text.ends_with('\n') || !digests.contains_key(BINARY) {
            return Err(Error::new(Code::Failed, format!("{name}/{COMPLETE} is truncated")).hint(COPY_AGAIN));
        }
        let complete = sha2::Sha256::digest(&text).into();
        Ok(Context { directory: directory.to_owned(), digests, complete })
    }

    /// Returns the path of a file of the context.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Returns the names in `COMPLETE`, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.digests.keys().map(String::as_str)
    }

    /// Returns the SHA-256 of a file in `COMPLETE`, or of `COMPLETE`.
    pub fn digest(&self, name: &str) -> Option<Sha256> {
        if name == COMPLETE { Some(self.complete) } else { self.digests.get(name).copied() }
    }

    /// Whether `COMPLETE` lists a file with this name.
    pub fn has(&self, name: &str) -> bool {
        self.digests.contains_key(name)
    }

    /// Verifies and reads the manifest.
    ///
    /// Fails with exit code 1 if it expands to more bytes than a manifest of its size can have.
    pub fn manifest(&self) -> Result<Vec<Record>> {
        self.records()?.collect()
    }

    /// Verifies the manifest without keeping it in memory. Fails as [`Context::manifest`] does.
    pub fn check_manifest(&self) -> Result<()> {
        self.records()?.try_for_each(|record| record.map(drop))
    }

    fn records(&self) -> Result<manifest::Reader<impl BufRead>> {
        let mut compressed = 0;
        for name in self.names().filter(|name| is_archive(name, MANIFEST)) {
            let metadata = self.open_file(name).and_then(|file| file.metadata());
            compressed += metadata.map_err(|cause| self.io(name, cause))?.len();
        }
        let limit = EXPANDED.saturating_add(compressed.saturating_mul(EXPANSION));
        Ok(manifest::Reader::new(BufReader::new(Limited::new(self.archive(MANIFEST)?, limit))))
    }

    /// Verifies and reads the deletion list.
    pub fn deletions(&self) -> Result<Vec<Vec<u8>>> {
        self.check(DELETIONS)?;
        let invalid = || Error::new(Code::Failed, format!("{DELETIONS} is not valid")).hint(COPY_AGAIN);
        let text = String::from_utf8(self.read(DELETIONS, MAX_LIST)?).map_err(|_| invalid())?;
        text.lines().map(|line| manifest::safe_path(line).ok_or_else(invalid)).collect()
    }

    /// Verifies and reads the findings, one JSON object per line.
    pub fn findings(&self) -> Result<Vec<u8>> {
        self.check(FINDINGS)?;
        self.read(FINDINGS, MAX_FINDINGS)
    }

    /// Opens a file of the context. Fails with `InvalidInput` if it is not a regular file.
    pub fn open_file(&self, name: &str) -> io::Result<File> {
        file::open_untrusted(&self.path(name))
    }

    fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>> {
        file::read_untrusted(&self.path(name), limit).map_err(|cause| self.io(name, cause))
    }

    /// Verifies an archive or another file that can consist of chunks, and decompresses it.
    ///
    /// `stem` is the name without the suffixes of the compression and of the chunks.
    pub fn archive(&self, stem: &str) -> Result<Box<dyn Read + Send>> {
        let names: Vec<&str> = self.names().filter(|name| is_archive(name, stem)).collect();
        if names.is_empty() {
            return Err(self.io(stem, io::ErrorKind::NotFound.into()));
        }
        names.iter().try_for_each(|name| self.check(name))?;
        decompress(names.iter().map(|name| self.path(name)).collect())
    }

    /// Verifies a file with its checksum in `COMPLETE`. Fails with exit code 1 if it differs.
    pub fn check(&self, name: &str) -> Result<()> {
        let file = self.open_file(name).map_err(|cause| self.io(name, cause))?;
        let digest = digest(file).map_err(|cause| self.io(name, cause))?;
        if self.digests.get(name) == Some(&digest) {
            return Ok(());
        }
        Err(Error::new(Code::Failed, damaged(name)).hint(COPY_AGAIN))
    }

    fn io(&self, name: &str, cause: io::Error) -> Error {
        io_error(&self.path(name), cause)
    }
}

/// Whether `name` is `stem` with the suffix of a compression, or a chunk of that file.
pub fn is_archive(name: &str, stem: &str) -> bool {
    name.strip_prefix(stem).is_some_and(|suffix| {
        let is_chunk =
            |number: &str| number.len() == DIGITS && number.bytes().all(|byte| byte.is_ascii_digit());
        let compression =
            suffix.rsplit_once('.').filter(|(_, number)| is_chunk(number)).map_or(suffix, |(rest, _)| rest);
        ["", ".zst", ".gz"].contains(&compression)
    })
}

/// Digits of a chunk number. With a fixed width, the order of names is the order of chunks; one
/// million chunks are 15 TiB.
const DIGITS: usize = 6;

/// Returns the name of a chunk of a file, counted from 0.
///
/// A context that is sent while it is written has chunks of at most
/// [`CHUNK_SIZE`](crate::context::output::sent::CHUNK_SIZE) bytes.
pub fn chunk_name(name: &str, number: usize) -> String {
    format!("{name}.{number:0DIGITS$}")
}

/// Decompresses a file of a context that consists of these chunks.
pub fn decompress(chunks: Vec<PathBuf>) -> Result<Box<dyn Read + Send>> {
    let shown = chunks.first().cloned().unwrap_or_default();
    let chunks = Chunks { open: None, left: chunks.into_iter() };
    let plain = decompress::decompress(chunks).map(|(_, reader)| reader);
    plain.map_err(|cause| io_error(&shown, cause))
}

/// Reader of several files, one after the other.
struct Chunks {
    open: Option<File>,
    left: std::vec::IntoIter<PathBuf>,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(file) = &mut self.open {
                match file.read(buffer)? {
                    0 => self.open = None,
                    length => return Ok(length),
                }
            }
            match self.left.next() {
                Some(next) => self.open = Some(file::open_untrusted(&next)?),
                None => return Ok(0),
            }
        }
    }
}

fn io_error(path: &Path, cause: io::Error) -> Error {
    Error::io(escape::escape(path.as_os_str().as_bytes()), cause)
        .hint("the context is damaged or incomplete; copy it again from the converted machine")
}

/// Hint for a damaged context.
const COPY_AGAIN: &str = "copy the context again from the converted machine";

/// Returns the message for a file that does not match its checksum.
pub fn damaged(name: &str) -> String {
    format!("{name} is damaged: its SHA-256 differs from {COMPLETE}")
}

/// Reads `reader` to its end and returns the SHA-256.
pub fn digest(mut reader: impl Read) -> io::Result<Sha256> {
    let mut sha256 = sha2::Sha256::new();
    // An archive has thousands of small members: a larger buffer would cost more to clear than to
    // fill.
    let mut buffer = [0; 32 << 10];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(sha256.finalize().into()),
            length => sha256.update(&buffer[..length]),
        }
    }
}

/// Returns one line of `COMPLETE`.
pub fn checksum_line(name: &str, digest: &Sha256) -> String {
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

    fn context(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let mut checksums = String::new();
        for (name, content) in files.iter().chain(&[(BINARY, "")]) {
            std::fs::write(dir.path().join(name), content).unwrap();
            checksums += &checksum_line(name, &digest(content.as_bytes()).unwrap());
        }
        std::fs::write(dir.path().join(COMPLETE), checksums).unwrap();
        dir
    }

    #[test]
    fn context_check_changed_byte_returns_error() {
        let dir = context(&[(DELETIONS, "/usr/share/doc/x\\x0a\n"), (PLAN, "{}")]);
        let context = Context::open(dir.path()).unwrap();
        context.names().try_for_each(|name| context.check(name)).unwrap();
        assert_eq!(context.deletions().unwrap(), [b"usr/share/doc/x\n".to_vec()]);
        std::fs::write(dir.path().join(PLAN), "{]").unwrap();
        let error = Context::open(dir.path()).unwrap().check(PLAN).unwrap_err();
        assert!(error.to_string().contains("plan.json is damaged"), "{error}");
    }

    #[test]
    fn context_deletions_empty_list_is_valid() {
        let dir = context(&[(DELETIONS, "")]);
        assert!(Context::open(dir.path()).unwrap().deletions().unwrap().is_empty());
    }

    #[test]
    fn context_open_truncated_complete_returns_error() {
        let dir = context(&[(DELETIONS, ""), (PLAN, "{}")]);
        let complete = std::fs::read(dir.path().join(COMPLETE)).unwrap();
        for length in 0..complete.len() {
            std::fs::write(dir.path().join(COMPLETE), &complete[..length]).unwrap();
            assert!(Context::open(dir.path()).is_err(), "{length}");
        }
    }

    #[test]
    fn context_link_to_device_returns_error_at_once() {
        for name in [PLAN, DELETIONS, COMPLETE] {
            let dir = context(&[(DELETIONS, ""), (PLAN, "{}")]);
            std::fs::remove_file(dir.path().join(name)).unwrap();
            std::os::unix::fs::symlink("/dev/zero", dir.path().join(name)).unwrap();
            let error = Context::open(dir.path()).and_then(|context| context.check(name)).unwrap_err();
            let text = error.to_string();
            assert!(text.contains("not a regular file") && text.contains(name), "{text}");
        }
    }

    #[test]
    fn context_open_without_complete_returns_error() {
        let dir = tempfile::tempdir().unwrap();
        let error = Context::open(dir.path()).unwrap_err();
        assert!(error.to_string().contains("not a complete context"), "{error}");
        std::fs::write(dir.path().join(COMPLETE), "00  ../x\n").unwrap();
        assert!(Context::open(dir.path()).is_err());
    }
}
