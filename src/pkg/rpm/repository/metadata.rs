//! The metadata of a repository: `repomd.xml`, and the packages that its list `primary` offers.
//! Nothing is written to the disk.

use super::super::repodata::{self, Checksum, List, Repomd};
use super::config::{Location, Repository};
use super::mirrors::{self, Mirrors};
use super::variables::Variables;
use crate::model::escape::hex;
use crate::pkg::Pin;
use crate::pkg::dpkg::repository::keyring::Keyring;
use crate::pkg::dpkg::repository::signed;
use crate::pkg::index::{scan_compressed, transfer};
use crate::transfer::net::{Client, Failure, Request};
use sha2::Digest;
use std::collections::BTreeSet;
use std::io::{self, BufReader, Read};

/// Maximum sizes in bytes of `repomd.xml`, of a list of mirrors, and of a list of packages.
const MAX_REPOMD: u64 = 16 << 20;
const MAX_MIRROR_LIST: u64 = 16 << 20;
const MAX_PRIMARY: u64 = 1 << 30;
/// Number of mirrors to try.
const MIRRORS_TRIED: usize = 5;

/// The packages that are searched, with the keys to their identity.
#[derive(Debug)]
pub(super) struct Wanted<'a>(BTreeSet<&'a Pin>);

impl<'a> Wanted<'a> {
    pub fn new(pins: &'a BTreeSet<Pin>) -> Self {
        Wanted(pins.iter().collect())
    }

    /// Scans a decompressed list `primary` for these packages.
    pub fn scan(&self, list: &mut dyn Read) -> io::Result<BTreeSet<Pin>> {
        let mut found = BTreeSet::new();
        let mut input = BufReader::with_capacity(128 << 10, list);
        let damages = repodata::read_primary(&mut input, &mut |package| {
            let pin = pin(package);
            if let Some(pin) = pin.filter(|pin| self.0.contains(pin)) {
                found.insert(pin);
            }
        });
        match damages {
            Ok(_) => Ok(found),
            Err(damage) => Err(io::Error::other(damage.to_string())),
        }
    }
}

/// Returns the identity of an offered package, as the machine's database has it.
fn pin(package: &repodata::OfferedPackage) -> Option<Pin> {
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
    let epoch = match package.epoch.as_slice() {
        b"" | b"0" => String::new(),
        epoch => text(epoch)? + ":",
    };
    let version = format!("{epoch}{}-{}", text(&package.version)?, text(&package.release)?);
    Some(Pin { name: text(&package.name)?, version, architecture: text(&package.architecture)? })
}

/// Queries a repository on the network.
pub(super) struct Query<'a> {
    pub client: &'a Client,
    pub variables: &'a Variables,
    pub wanted: &'a Wanted<'a>,
    /// Keys for signed metadata.
    pub keyring: &'a Keyring,
    /// Current time in seconds since 1970.
    pub now: i64,
}

impl Query<'_> {
    /// Returns the wanted packages that the repository offers. The error is the reason why they
    /// are unknown.
    pub fn packages(&self, repository: &Repository) -> Result<BTreeSet<Pin>, String> {
        let mirrors = self.mirrors(repository)?;
        let mut last = "its list of mirrors is empty".to_owned();
        for url in mirrors.urls.iter().take(MIRRORS_TRIED) {
            match self.of_mirror(repository, url, &mirrors.digests) {
                Ok(found) => return Ok(found),
                Err(why) => last = why,
            }
        }
        Err(last)
    }

    fn mirrors(&self, repository: &Repository) -> Result<Mirrors, String> {
        match &repository.location {
            Location::Base(urls) => Ok(Mirrors { urls: urls.clone(), digests: Vec::new() }),
            Location::MirrorList(url) => {
                let text = self.fetch(url, MAX_MIRROR_LIST)?;
                // Some servers return a metalink under the option for lists.
                match text.trim_ascii_start().starts_with(b"<") {
                    true => Ok(mirrors::parse_metalink(&text)),
                    false => Ok(mirrors::parse_list(&text, self.variables)),
                }
            }
            Location::Metalink(url) => Ok(mirrors::parse_metalink(&self.fetch(url, MAX_MIRROR_LIST)?)),
        }
    }

    fn of_mirror(
        &self,
        repository: &Repository,
        url: &str,
        digests: &[String],
    ) -> Result<BTreeSet<Pin>, String> {
        let address = format!("{url}repodata/repomd.xml");
        let text = self.fetch(&address, MAX_REPOMD)?;
        if !digests.is_empty() && !digests.contains(&hex(&sha2::Sha256::digest(&text))) {
            return Err(format!("{address}: the digest differs from the metalink"));
        }
        if repository.repo_gpgcheck {
            let signature = self.fetch(&format!("{address}.asc"), MAX_REPOMD)?;
            signed::verify(&text, &signature, self.keyring, self.now)
                .map_err(|why| format!("{address}: {why}"))?;
        }
        let repomd = parse(&text).map_err(|why| format!("{address}: {why}"))?;
        let list = primary(&repomd).ok_or_else(|| format!("{address}: {NO_PRIMARY}"))?;
        let location = location(list).ok_or_else(|| format!("{address}: an invalid path"))?;
        let address = format!("{url}{location}");
        transfer(&address, || self.scan(&address, list))
    }

    fn scan(&self, address: &str, list: &List) -> io::Result<BTreeSet<Pin>> {
        let limit = list.size.unwrap_or(MAX_PRIMARY).min(MAX_PRIMARY);
        let response = self.client.get(&Request::new(address, limit))?;
        scan_verified(response.body, &list.checksum, self.wanted)
    }

    fn fetch(&self, url: &str, limit: u64) -> Result<Vec<u8>, String> {
        let response = self.client.get(&Request::new(url, limit)).map_err(|failure| failure.to_string())?;
        let mut content = Vec::new();
        let read = response.body.take(limit).read_to_end(&mut content);
        read.map_err(|cause| match Failure::from_io(&cause) {
            Some(failure) => failure.to_string(),
            None => format!("{url}: {cause}"),
        })?;
        Ok(content)
    }
}

const NO_PRIMARY: &str = "it has no list of packages in XML";

pub(super) fn parse(text: &[u8]) -> Result<Repomd, String> {
    let mut input = text;
    repodata::parse_repomd(&mut input).map_err(|damage| damage.to_string())
}

/// Returns the list of packages.
pub(super) fn primary(repomd: &Repomd) -> Option<&List> {
    repomd.lists.iter().find(|list| list.kind == b"primary")
}

/// Returns the path of a list, if it is below the repository.
fn location(list: &List) -> Option<&str> {
    let path = std::str::from_utf8(&list.location).ok()?;
    let is_part = |part: &str| !matches!(part, "" | "." | "..");
    let is_plain = path.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#%\\".contains(&byte));
    (is_plain && path.split('/').all(is_part)).then_some(path)
}

/// Scans a compressed list. It is an error if the complete stream does not have the checksum.
pub(super) fn scan_verified(
    body: impl Read + Send,
    checksum: &Checksum,
    wanted: &Wanted<'_>,
) -> io::Result<BTreeSet<Pin>> {
    let mut body = Checked { inner: body, hasher: Hasher::of(&checksum.algorithm)? };
    let found = scan_compressed(&mut body, |plain| {
        let found = wanted.scan(plain);
        io::copy(plain, &mut io::sink()).and(found)
    })?;
    if !body.hasher.finish().eq_ignore_ascii_case(&String::from_utf8_lossy(&checksum.digits)) {
        return Err(io::Error::other("the checksum differs from repomd.xml"));
    }
    found
}

/// Digests in the algorithms of repositories.
enum Hasher {
    Sha1(sha1::Sha1),
    Sha256(sha2::Sha256),
    Sha384(sha2::Sha384),
    Sha512(sha2::Sha512),
}

impl Hasher {
    fn of(algorithm: &[u8]) -> io::Result<Self> {
        Ok(match algorithm {
            b"sha" | b"sha1" => Hasher::Sha1(Default::default()),
            b"sha256" => Hasher::Sha256(Default::default()),
            b"sha384" => Hasher::Sha384(Default::default()),
            b"sha512" => Hasher::Sha512(Default::default()),
            _ => return Err(io::Error::other("the algorithm of its checksum is not supported")),
        })
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Sha1(hasher) => sha1::Digest::update(hasher, bytes),
            Hasher::Sha256(hasher) => hasher.update(bytes),
            Hasher::Sha384(hasher) => hasher.update(bytes),
            Hasher::Sha512(hasher) => hasher.update(bytes),
        }
    }

    fn finish(self) -> String {
        match self {
            Hasher::Sha1(hasher) => hex(&sha1::Digest::finalize(hasher)),
            Hasher::Sha256(hasher) => hex(&hasher.finalize()),
            Hasher::Sha384(hasher) => hex(&hasher.finalize()),
            Hasher::Sha512(hasher) => hex(&hasher.finalize()),
        }
    }
}

struct Checked<R> {
    inner: R,
    hasher: Hasher,
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..got]);
        Ok(got)
    }
}
