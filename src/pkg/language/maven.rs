//! Java: the local repository of Maven and the cache of Gradle.

use super::{Records, record};
use crate::model::digest::{Digest, Sha1};
use crate::model::escape;
use crate::model::tree;
use crate::system::root::Root;

/// Returns the directory of the artifact.
pub fn places(path: &[u8]) -> Vec<usize> {
    let is_repository = memchr::memmem::find(path, b".m2/repository/").is_some();
    if is_repository { vec![tree::parent(path).len()] } else { Vec::new() }
}

/// Reads the checksums that Maven downloaded with the files.
pub fn read(root: &Root, directory: &[u8]) -> Records {
    let remote = record(root, &tree::join(directory, b"_remote.repositories")).unwrap_or_default();
    let checksum = |name: Vec<u8>| {
        let path = tree::join(directory, &[&name[..], b".sha1"].concat());
        let digest = parse_checksum(&record(root, &path)?)?;
        Some((name.into_boxed_slice(), Digest::Sha1(digest)))
    };
    let files = parse_remote(&remote).into_iter().filter_map(checksum).collect();
    Records { files, ..Records::default() }
}

/// Parses `_remote.repositories`: lines `NAME>REPOSITORY=`. Returns the files that were downloaded.
/// Files that were built on the machine have an empty repository.
pub fn parse_remote(text: &[u8]) -> Vec<Vec<u8>> {
    let lines = text.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    let downloaded = lines.filter(|line| !line.starts_with(b"#")).filter_map(|line| {
        let (name, repository) = line.split_at(memchr::memchr(b'>', line)?);
        let is_name = !name.is_empty() && !name.contains(&b'/') && !matches!(name, b"." | b"..");
        (is_name && repository.len() > 2 && repository.ends_with(b"=")).then(|| name.to_vec())
    });
    downloaded.collect()
}

/// Parses a `.sha1` file: 40 digits, and at times a name.
pub fn parse_checksum(text: &[u8]) -> Option<Sha1> {
    let digits = text.trim_ascii().split(u8::is_ascii_whitespace).next()?;
    escape::unhex(digits)
}

/// Returns the directory with the name of the digest: `files-2.1/GROUP/ARTIFACT/VERSION/SHA1`.
pub fn gradle_places(path: &[u8]) -> Vec<usize> {
    let is_cache = memchr::memmem::find(path, b"/caches/modules-2/files-2.1/").is_some();
    if is_cache { vec![tree::parent(path).len()] } else { Vec::new() }
}

/// Returns the files of a directory, all of which have its name as their digest. Gradle writes it
/// without leading zeros.
pub fn read_gradle(root: &Root, directory: &[u8]) -> Records {
    let Some(digest) = parse_directory(tree::file_name(directory)) else { return Records::default() };
    let names = root.list(directory).unwrap_or_default().into_iter();
    let files = names.map(|name| (name.into_boxed_slice(), Digest::Sha1(digest))).collect();
    Records { files, ..Records::default() }
}

/// Parses the name of a directory of Gradle's cache.
pub fn parse_directory(name: &[u8]) -> Option<Sha1> {
    let zeros = vec![b'0'; 40_usize.checked_sub(name.len())?];
    escape::unhex(&[&zeros[..], name].concat()).filter(|_| !name.is_empty())
}
