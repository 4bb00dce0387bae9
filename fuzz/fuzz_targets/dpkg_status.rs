//! Any bytes: no panic. Name, architecture and version of every package are safe as an argument
//! of apt.
//! No name and architecture occurs twice. Problems are sorted, name existing lines, and are at
//! most 1000.
//! `status.d` has the same packages, except for the default of a missing Status.
#![no_main]

use std::collections::BTreeSet;
use vm2docker_self::pkg::dpkg::status::{self, StatusEntry, parse_status, parse_status_d};
use vm2docker_self::pkg::dpkg::version;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for (packages, problems) in [parse_status(bytes), parse_status_d(bytes)] {
        let names: BTreeSet<_> = packages.iter().map(|p| (&p.name, &p.architecture)).collect();
        assert_eq!(names.len(), packages.len());
        packages.iter().for_each(check);
        let lines = bytes.split(|&byte| byte == b'\n').count();
        assert!(problems.iter().all(|problem| (1..=lines).contains(&problem.line)));
        assert!(problems.len() <= 1000 && problems.is_sorted_by_key(|problem| problem.line));
    }
});

fn check(package: &StatusEntry) {
    assert!(status::is_valid_name(package.name.as_bytes()));
    assert!(package.architecture.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'));
    assert!(!package.architecture.starts_with('-'));
    let version = package.version.as_bytes();
    assert!(version::is_valid(version) || version.is_empty() && !package.is_installed());
    assert!(package.id("amd64").starts_with(&package.name));
}
