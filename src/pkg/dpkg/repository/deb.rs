//! Reads the file list of a package file (deb(5)) from its first kilobytes, if the server
//! supports range requests.

use super::ar;
use crate::context::decompress;
use crate::context::tar::Reader;
use crate::model::digest::Md5;
use crate::pkg::aliases::normal;
use crate::pkg::dpkg::deb822;
use crate::pkg::dpkg::files;
use crate::pkg::{Aliases, Pin};
use crate::transfer::net::{Client, Request};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::ops::Range;

/// Length of the first request in bytes; it contains the control member of most packages.
const FIRST: u64 = 16 << 10;
/// Status of a partial response (RFC 9110, 15.3.7).
const PARTIAL: u16 = 206;
/// Maximum size of a control member in bytes; the largest in Debian has 2 MB.
const MAX_CONTROL: u64 = 8 << 20;
/// Maximum size of an uncompressed control member in bytes.
const MAX_UNPACKED: u64 = 128 << 20;
/// Maximum number of concurrent requests; the client also limits them per host.
const AT_A_TIME: usize = 8;

/// A file in a package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PackagedFile {
    /// Path relative to the root, with the packaged name (`bin/ls`, also on a merged `/usr`).
    pub path: Box<[u8]>,
    /// Digest of the content; `None` for most configuration files, because packages record none.
    pub md5: Option<Md5>,
    /// Whether dpkg manages it as a configuration file.
    pub conffile: bool,
}

/// Contents of a package's control member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Name, version and architecture of the package.
    pub pin: Pin,
    /// Files by path: regular files with a digest, and configuration files.
    pub files: Vec<PackagedFile>,
}

/// A package file to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// URL of the file.
    pub url: String,
    /// Expected package.
    pub pin: Pin,
}

/// Fetches the heads of these packages, in this order; each can fail on its own.
pub fn many(client: &Client, wanted: &[Wanted]) -> Vec<io::Result<Head>> {
    let all = || wanted.par_iter().map(|wanted| head(client, wanted)).collect();
    // The threads wait for the network, so there are more than CPUs.
    match rayon::ThreadPoolBuilder::new().num_threads(AT_A_TIME.min(wanted.len())).build() {
        Ok(pool) => pool.install(all),
        Err(_) => all(),
    }
}

/// Fetches the head of one package: one request of 16 KiB, and a second one if its control member
/// is larger.
///
/// Only TLS protects the head, because the index has a digest only of the complete file. Builds
/// that use it must therefore be verified.
pub fn head(client: &Client, wanted: &Wanted) -> io::Result<Head> {
    let part = |range: Range<u64>| {
        let request = Request { range: Some(&range), ..Request::new(&wanted.url, u64::MAX) };
        client.get(&request).map_err(io::Error::from)
    };
    let response = part(0..FIRST)?;
    if response.status != PARTIAL {
        // The server sends the complete file; the rest after the control member is not read.
        return checked(parse(response.body.take(MAX_CONTROL))?, wanted);
    }
    let mut begin = Vec::new();
    response.body.take(FIRST).read_to_end(&mut begin)?;
    let (have, end) = (begin.len() as u64, ar::end_of_member(&begin, b"control.tar")?);
    if end > MAX_CONTROL {
        return Err(malformed("its control member is too large"));
    }
    if end > have {
        let response = part(have..end)?;
        if response.status != PARTIAL {
            return Err(malformed("the server stopped sending partial responses"));
        }
        response.body.take(end - have).read_to_end(&mut begin)?;
    }
    checked(parse(begin.as_slice())?, wanted)
}

fn checked(head: Head, wanted: &Wanted) -> io::Result<Head> {
    match head.pin == wanted.pin {
        true => Ok(head),
        false => Err(malformed("it is another package than the index says")),
    }
}

/// Parses the head of a package; it reads nothing after the control member.
pub fn parse(package: impl Read + Send) -> io::Result<Head> {
    let member = ar::member(package, b"control.tar")?;
    let (_, plain) = decompress::decompress(member)?;
    let mut plain = plain.take(MAX_UNPACKED);
    let mut files = control_files(&mut plain)?;
    // The checksum of the compression is at the end of the stream.
    io::copy(&mut plain, &mut io::sink())?;
    let mut file = |name: &[u8]| files.remove(name).unwrap_or_default();
    let (control, md5sums, conffiles) = (file(b"control"), file(b"md5sums"), file(b"conffiles"));
    Ok(Head { pin: pin(&control)?, files: shipped(&md5sums, &conffiles) })
}

/// Returns the three files of the control archive that describe the package's contents.
fn control_files(plain: impl Read) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut reader = Reader::new(plain);
    let mut files = BTreeMap::new();
    while let Some(mut entry) = reader.next_entry()? {
        if [&b"control"[..], b"md5sums", b"conffiles"].contains(&&*entry.node.path) {
            let mut content = Vec::new();
            entry.content.read_to_end(&mut content)?;
            files.insert(entry.node.path.into_vec(), content);
        }
    }
    Ok(files)
}

fn pin(control: &[u8]) -> io::Result<Pin> {
    let (stanzas, _) = deb822::parse(control);
    let field = |name: &str| {
        let value = stanzas.first().and_then(|stanza| stanza.get(name));
        value.and_then(|value| std::str::from_utf8(value).ok()).map(str::to_owned)
    };
    match (field("Package"), field("Version"), field("Architecture")) {
        (Some(name), Some(version), Some(architecture)) => Ok(Pin { name, version, architecture }),
        _ => Err(malformed("its control file names no package")),
    }
}

fn shipped(md5sums: &[u8], conffiles: &[u8]) -> Vec<PackagedFile> {
    let (sums, _) = files::parse_md5sums(md5sums, &Aliases::default());
    let mut files: BTreeMap<Box<[u8]>, PackagedFile> = BTreeMap::new();
    for (path, md5) in sums {
        let path: Box<[u8]> = path.into();
        files.insert(path.clone(), PackagedFile { path, md5: Some(md5), conffile: false });
    }
    for line in conffiles.split(|&byte| byte == b'\n') {
        // A flag may precede the path (deb-conffiles(5)); files marked `remove-on-upgrade` are
        // not shipped.
        let Some(path) = normal(line).filter(|path| line.starts_with(b"/") && !path.is_empty()) else {
            continue;
        };
        let path: Box<[u8]> = path.into();
        let file = files.entry(path.clone()).or_insert(PackagedFile { path, md5: None, conffile: true });
        file.conffile = true;
    }
    files.into_values().collect()
}

fn malformed(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
#[path = "deb_tests.rs"]
mod tests;
