//! Whatever the index: nothing is found that was not asked for, and what is found stands in the bytes.
//! Cutting the index at an empty line finds the same: that is how files larger than a piece are read.
//! A release date is one trimmed line.
#![no_main]

use std::collections::BTreeSet;
use vm2docker_self::pkg::{Pin, lists};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let pin = |name: &str, version: &str, architecture: &str| Pin {
        name: name.to_owned(),
        version: version.to_owned(),
        architecture: architecture.to_owned(),
    };
    let asked = BTreeSet::from([pin("aa", "1", "amd64"), pin("aa", "2", "all"), pin("bb", "1:2-3", "amd64")]);
    let found = lists::scan(bytes, &asked);
    for pin in &found {
        assert!(asked.contains(pin));
        for text in [&pin.name, &pin.version, &pin.architecture] {
            assert!(bytes.windows(text.len()).any(|window| window == text.as_bytes()));
        }
    }
    if let Some(gap) = bytes.windows(2).rposition(|window| window == b"\n\n") {
        let (first, second) = (lists::scan(&bytes[..=gap], &asked), lists::scan(&bytes[gap + 2..], &asked));
        assert_eq!(&first | &second, found);
    }
    if let Some(date) = lists::release_date(bytes) {
        assert!(!date.contains('\n') && date.trim() == date && !date.is_empty());
    }
});
