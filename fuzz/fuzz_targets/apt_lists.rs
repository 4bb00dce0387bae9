//! Any index: the scan finds only queried packages, and each is in the bytes.
//! An index cut at an empty line has the same result, because larger files are read in chunks.
//! If it is parsed as a release file, all digests are in the bytes.
#![no_main]

use std::collections::BTreeSet;
use vm2docker_self::model::escape::hex;
use vm2docker_self::pkg::Pin;
use vm2docker_self::pkg::dpkg::repository::release::Release;
use vm2docker_self::pkg::dpkg::repository::scan::{Matches, PackageSet, Record};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let pin = |name: &str, version: &str, architecture: &str| Pin {
        name: name.to_owned(),
        version: version.to_owned(),
        architecture: architecture.to_owned(),
    };
    let asked = BTreeSet::from([pin("aa", "1", "amd64"), pin("aa", "2", "all"), pin("bb", "1:2-3", "amd64")]);
    let scan = |bytes: &[u8]| {
        let mut found = Matches::default();
        PackageSet::new(&asked).scan(bytes, &mut found);
        assert!(found.names.iter().all(|name| asked.iter().any(|pin| pin.name == *name)));
        found.records.into_iter().collect::<BTreeSet<Record>>()
    };
    let found = scan(bytes);
    for Record { pin, filename, .. } in &found {
        assert!(asked.contains(pin));
        for text in [&pin.name, &pin.version, &pin.architecture, filename] {
            assert!(text.is_empty() || bytes.windows(text.len()).any(|window| window == text.as_bytes()));
        }
    }
    if let Some(gap) = bytes.windows(2).rposition(|window| window == b"\n\n") {
        assert_eq!(&scan(&bytes[..=gap]) | &scan(&bytes[gap + 2..]), found);
    }
    let lower = bytes.to_ascii_lowercase();
    for (sha256, _) in Release::parse(bytes).files.values() {
        let text = hex(sha256);
        assert!(lower.windows(text.len()).any(|window| window == text.as_bytes()));
    }
});
