//! A repository for tests: created in memory, signed by a key of `tests/data/apt`, served on this
//! machine.

use super::date;
use crate::model::escape::hex;
use crate::pkg::Pin;
use crate::system::root::Root;
use crate::transfer::net::server::{Answer, Asked, Manner, Server};
use crate::transfer::net::{Client, Settings, Timeouts};
use pgp::composed::{CleartextSignedMessage, Deserializable, SignedSecretKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::types::{KeyDetails, Password, Timestamp};
use sha2::Digest;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::Duration;

pub(super) fn data(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/data/apt/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Returns the current time of the tests.
pub(super) fn now() -> i64 {
    date::parse("01 Jun 2024 12:00:00 UTC").unwrap()
}

pub(super) fn pin(text: &str) -> Pin {
    let words: Vec<&str> = text.split(' ').collect();
    Pin { name: words[0].into(), version: words[1].into(), architecture: words[2].into() }
}

pub(super) fn pins(texts: &[&str]) -> BTreeSet<Pin> {
    texts.iter().map(|text| pin(text)).collect()
}

/// Returns an index with a stanza for each package.
pub(super) fn packages(texts: &[&str]) -> String {
    let stanza = |text: &&str| {
        let Pin { name, version, architecture } = pin(text);
        format!(
            "Package: {name}\nArchitecture: {architecture}\nVersion: {version}\nFilename: pool/{name}_{version}_{architecture}.deb\nSize: 7\n\n"
        )
    };
    texts.iter().map(stanza).collect()
}

pub(super) fn xz(data: &[u8]) -> Vec<u8> {
    let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), Default::default()).unwrap();
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// Signs a text with the good key, in the form of GnuPG.
pub(super) fn sign(text: &str) -> Vec<u8> {
    let (key, _) = SignedSecretKey::from_armor_single(&data("good.secret.asc")[..]).unwrap();
    let key = &key.primary_key;
    let mut config = SignatureConfig::v4(SignatureType::Text, key.algorithm(), HashAlgorithm::Sha256);
    let packets = [
        SubpacketData::SignatureCreationTime(Timestamp::from_secs(now() as u32)),
        SubpacketData::IssuerFingerprint(key.fingerprint()),
    ];
    config.hashed_subpackets = packets.map(|packet| Subpacket::regular(packet).unwrap()).into();
    let message = CleartextSignedMessage::new(text.trim_end(), config, key, &Password::empty()).unwrap();
    message.to_armored_bytes(Default::default()).unwrap()
}

/// Files of a repository, by path below its address.
#[derive(Clone, Debug, Default)]
pub(super) struct Files(pub(super) BTreeMap<String, Vec<u8>>);

impl Files {
    /// Adds a suite with an xz-compressed `amd64` index, which is also available by its digest.
    pub(super) fn suite(&mut self, suite: &str, index: &str, fields: &str) {
        let directory = format!("dists/{suite}");
        let (packed, place) = (xz(index.as_bytes()), "main/binary-amd64");
        let line = |name: &str, data: &[u8]| {
            format!(" {} {} {place}/{name}\n", hex(&sha2::Sha256::digest(data)), data.len())
        };
        let release = format!(
            "{fields}Suite: {suite}\nDate: Sat, 01 Jun 2024 10:00:00 UTC\nAcquire-By-Hash: yes\nSHA256:\n{}{}",
            line("Packages", index.as_bytes()),
            line("Packages.xz", &packed)
        );
        self.0.insert(format!("{directory}/InRelease"), sign(&release));
        self.0.insert(format!("{directory}/Release"), release.into());
        let digest = hex(&sha2::Sha256::digest(&packed));
        self.0.insert(format!("{directory}/{place}/by-hash/SHA256/{digest}"), packed.clone());
        self.0.insert(format!("{directory}/{place}/Packages.xz"), packed);
    }

    /// Returns the path of the index by its digest.
    pub(super) fn hashed(&self) -> String {
        self.0.keys().find(|path| path.contains("by-hash")).unwrap().clone()
    }
}

/// Fault of the response to a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Status(u16),
    CutAt(usize),
    Endless,
    /// Changes the first byte.
    Changed,
    /// Ignores the range of the request.
    NoParts,
}

/// A running server of a repository.
pub(super) struct Mirror {
    server: Server,
}

impl Mirror {
    pub(super) fn start(files: Files, faults: Vec<(String, Fault)>) -> Self {
        let server = Server::start(move |asked| {
            let path = asked.path.trim_start_matches('/').to_owned();
            let fault = faults.iter().find(|(end, _)| path.ends_with(end)).map(|(_, fault)| *fault);
            let content = files.0.get(&path).cloned();
            answer(asked, content, fault)
        });
        Mirror { server }
    }

    pub(super) fn url(&self, path: &str) -> String {
        self.server.url(path)
    }

    /// Returns the requested paths in order.
    pub(super) fn asked(&self) -> Vec<String> {
        self.server.asked().into_iter().map(|asked| asked.path).collect()
    }
}

fn answer(asked: &Asked, content: Option<Vec<u8>>, fault: Option<Fault>) -> Answer {
    let Some(mut content) = content else { return Answer::new(404, "<html>not here</html>") };
    match fault {
        Some(Fault::Status(status)) => return Answer::new(status, ""),
        Some(Fault::CutAt(length)) => return Answer::new(200, content).in_manner(Manner::CutAt(length)),
        Some(Fault::Endless) => return Answer::new(200, "").in_manner(Manner::Endless),
        Some(Fault::Changed) => content[0] ^= 1,
        Some(Fault::NoParts) => return Answer::new(200, content),
        None => {}
    }
    let range = asked.header("Range").and_then(|value| value.strip_prefix("bytes=")?.split_once('-'));
    match range.map(|(first, last)| (first.parse::<usize>().unwrap(), last.parse::<usize>().unwrap())) {
        None => Answer::new(200, content),
        Some((first, _)) if first >= content.len() => Answer::new(416, ""),
        Some((first, last)) => {
            let last = last.min(content.len() - 1);
            let header = format!("bytes {first}-{last}/{}", content.len());
            Answer::new(206, &content[first..=last]).with("Content-Range", header)
        }
    }
}

/// Returns a client with short timeouts.
pub(super) fn client() -> Client {
    let short = Duration::from_millis(20);
    let second = Duration::from_secs(2);
    let times = Timeouts {
        connect: second,
        headers: second,
        stall: second,
        request: second * 5,
        pauses: [short; 2],
        ..Timeouts::default()
    };
    Client::new(Settings { times, ..Settings::default() }).unwrap()
}

/// Creates a machine with these files.
pub(super) fn machine(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Root) {
    let dir = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let root = Root::open(dir.path()).unwrap();
    (dir, root)
}
