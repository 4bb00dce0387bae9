//! The indexes of one source. The cached index is used if it matches the release file. Otherwise
//! it is fetched, and verified while it is scanned. Nothing is written to the disk.

use super::cache::{Cache, Cached};
use super::release::Release;
use super::scan::Scan;
use super::source::Source;
use crate::context::stream::{Hashing, read_ahead};
use crate::model::digest::Sha256;
use crate::model::escape::hex;
use crate::pkg::index::{scan_compressed, transfer};
use crate::transfer::net::{Client, Failure, Request, Response};
use std::io::{self, Read};

/// Compressions of indexes, the smallest first; bzip2 and lzma are not supported.
const ENDINGS: [&str; 4] = [".xz", ".zst", ".gz", ""];

/// An index by its path below the release file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Path such as `main/binary-amd64/Packages`.
    path: String,
    /// Path with the repository's address.
    uri: String,
}

/// Returns the indexes of a source for these architectures.
pub(super) fn targets(source: &Source, architectures: &[String]) -> Vec<Target> {
    let directory = source.release_directory();
    let target = |path: String| Target { uri: format!("{directory}{path}"), path };
    if source.is_flat() {
        return vec![target("Packages".to_owned())];
    }
    let mut architectures = source.architectures.of(architectures);
    if !architectures.iter().any(|name| name == "all") {
        architectures.push("all".to_owned());
    }
    let pairs = source
        .components
        .iter()
        .flat_map(|component| architectures.iter().map(move |name| (component, name)));
    pairs.map(|(component, name)| target(format!("{component}/binary-{name}/Packages"))).collect()
}

/// Result of scanning an index, with notes.
#[derive(Debug, Default)]
pub(super) struct Scanned<F> {
    /// Whether the index exists.
    pub(super) present: bool,
    pub(super) found: F,
    /// Problems: a path of the machine, or empty, and the cause.
    pub(super) notes: Vec<(Vec<u8>, String)>,
}

impl Target {
    /// Whether it is an index of this component.
    pub(super) fn is_of(&self, component: &str) -> bool {
        self.path.strip_prefix(component).is_some_and(|rest| rest.starts_with('/'))
    }

    /// Scans the cached index without comparing it to a release file.
    pub(super) fn cached<S: Scan>(&self, cache: &Cache<'_>, scan: &S) -> Scanned<S::Output> {
        let mut scanned = Scanned::default();
        if let Some(cached) = cache.index(&self.uri) {
            match cached.reader().and_then(|mut reader| scan.scan_all(&mut reader)) {
                Ok(found) => (scanned.present, scanned.found) = (true, found),
                Err(cause) => scanned.notes.push((cached.path(), format!("not used: {cause}"))),
            }
        }
        scanned
    }

    /// Scans the index that the release file lists, else the cached one.
    pub(super) fn current<S: Scan>(
        &self,
        release: &Release,
        cache: &Cache<'_>,
        client: &Client,
        scan: &S,
    ) -> Scanned<S::Output> {
        let all = self.path.ends_with("binary-all/Packages");
        if (all && !release.has_all) || self.entries(release).next().is_none() {
            return Scanned::default();
        }
        let cached = cache.index(&self.uri);
        if let Some(found) = cached.and_then(|cached| self.same(release, &cached, scan).ok().flatten()) {
            return Scanned { present: true, found, notes: Vec::new() };
        }
        match self.fetch(release, client, scan) {
            Ok(found) => Scanned { present: true, found, notes: Vec::new() },
            Err(text) => {
                let mut scanned = self.cached(cache, scan);
                scanned.notes.push((Vec::new(), text));
                scanned
            }
        }
    }

    /// Returns suffix, digest and length of each form that the release file lists.
    fn entries<'a>(&self, release: &'a Release) -> impl Iterator<Item = (&'static str, &'a (Sha256, u64))> {
        let path = self.path.clone();
        ENDINGS
            .iter()
            .filter_map(move |ending| Some((*ending, release.files.get(&format!("{path}{ending}"))?)))
    }

    /// Scans the cached index if it matches the release file.
    fn same<S: Scan>(
        &self,
        release: &Release,
        cached: &Cached<'_>,
        scan: &S,
    ) -> io::Result<Option<S::Output>> {
        let Some(plain) = release.files.get(&self.path) else {
            let listed = self.entries(release).find(|(ending, _)| *ending == cached.ending);
            return match listed {
                Some((_, entry)) if cached.digest()? == *entry => {
                    scan.scan_all(&mut cached.reader()?).map(Some)
                }
                _ => Ok(None),
            };
        };
        let mut reader = Hashing::new(cached.reader()?);
        let found = read_ahead(&mut reader, |ahead| scan.scan_all(ahead))?;
        Ok((reader.finish() == *plain).then_some(found))
    }

    fn fetch<S: Scan>(&self, release: &Release, client: &Client, scan: &S) -> Result<S::Output, String> {
        let (ending, entry) = self.entries(release).next().ok_or("not listed")?;
        let once = || {
            let response = self.open(ending, entry, release.by_hash, client)?;
            scan_verified(response.body, entry, scan)
        };
        transfer(&format!("{}{ending}", self.uri), once)
    }

    fn open(
        &self,
        ending: &str,
        (digest, size): &(Sha256, u64),
        by_hash: bool,
        client: &Client,
    ) -> Result<Response, Failure> {
        let directory = self.uri.strip_suffix("Packages").unwrap_or(&self.uri);
        let hashed = format!("{directory}by-hash/SHA256/{}", hex(digest));
        let plain = format!("{}{ending}", self.uri);
        let get = |url: &str| client.get(&Request::new(url, *size));
        match by_hash.then(|| get(&hashed)) {
            Some(Err(failure)) if failure.is_absent() => get(&plain),
            Some(result) => result,
            None => get(&plain),
        }
    }
}

/// Scans a compressed index. It is an error if the complete stream does not have the listed
/// digest and length.
fn scan_verified<S: Scan>(body: impl Read + Send, entry: &(Sha256, u64), scan: &S) -> io::Result<S::Output> {
    let mut body = Hashing::new(body);
    let found = scan_compressed(&mut body, |plain| scan.scan_all(plain))?;
    if body.finish() != *entry {
        return Err(io::Error::other("the digest differs from the release file"));
    }
    found
}
