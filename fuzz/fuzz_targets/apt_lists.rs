//! Whatever the index: nothing is found that was not asked for, and what is found stands in the bytes.
//! Cutting the index at an empty line finds the same: that is how files larger than a piece are read.
//! Read as a release file it has only digests that stand in it.
#![no_main]

use std::collections::BTreeSet;
use vm2docker_self::pkg::dpkg::repository::release::Release;
use vm2docker_self::pkg::dpkg::repository::scan::{PackageSet, Matches, Record};
use vm2docker_self::model::escape::hex;
use vm2docker_self::pkg::Pin;

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
