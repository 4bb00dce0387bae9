//! Any sources: written sources are parsed as the same ones in the same file.
//! No address contains a user or a password, and no value can add a line or a field.
#![no_main]

use vm2docker_self::pkg::dpkg::repository::{sources, written};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for file in ["sources.list.d/a.list", "sources.list.d/a.sources"] {
        let path = ["etc/apt/", file].concat();
        let (read, _) = sources::parse(path.as_bytes(), bytes);
        for source in &read {
            let authority =
                source.uri.split_once("://").map_or("", |(_, rest)| rest.split('/').next().unwrap_or(""));
            assert!(!authority.contains('@'));
        }
        let files = written::write(&read);
        let text = files.get(file.as_bytes()).map_or("", String::as_str);
        let (mut again, problems) = sources::parse(path.as_bytes(), text.as_bytes());
        assert!(problems.is_empty(), "{problems:?}\n{text}");
        for (source, before) in again.iter_mut().zip(&read) {
            source.has_credentials = before.has_credentials;
        }
        assert_eq!(again, read, "{text}");
    }
});
