//! Compares the parser of environment files with systemd's own.
#![allow(clippy::disallowed_methods, reason = "the test runs systemd's generator")]

use crate::detect::units::environment::{parse_file, read};
use crate::detect::units::machine::TestRoot;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// The program of systemd that prints the variables of `environment.d(5)` files.
const GENERATOR: &str = "/usr/lib/systemd/user-environment-generators/30-systemd-environment-d-generator";
/// Parts of the generated files. `$` is missing, because the generator expands variables. Only
/// `EnvironmentFile=` keeps them.
const PARTS: &[&str] = &[
    "A", "B1", "_C", "x", "\u{e9}", "-", " ", "\t", "\n", "\n", "\r", "=", "=", "A=", "\nB1=", "\"", "'",
    "\\", "\\\n", "#", ";", "`", "\u{c}",
];

/// Names that the generated files can set.
const NAMES: &[&str] = &["A", "B1", "_C", "x"];

/// Returns the text of a file. Leaves out backslashes in comments: systemd 254 no longer continues
/// a comment after them.
pub(crate) fn file() -> impl Strategy<Value = String> {
    let parts = proptest::collection::vec(proptest::sample::select(PARTS), 0..30);
    parts.prop_map(|parts| parts.concat()).prop_filter("backslash in a comment", |text| {
        let is_comment = |line: &str| line.trim_start().starts_with(['#', ';']);
        !text.split(['\n', '\r']).any(|line| is_comment(line) && line.contains('\\'))
    })
}

/// Reads a value that the generator printed: as it is, or in double quotes with the escape
/// sequences of C.
fn unescape(text: &str) -> String {
    let Some(quoted) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else {
        return text.to_owned();
    };
    let mut value = String::new();
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        value.push(match character == '\\' {
            false => character,
            true => match characters.next().unwrap() {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'f' => '\u{c}',
                escaped => escaped,
            },
        });
    }
    value
}

/// Returns the variables that systemd reads from a file.
fn of_systemd(directory: &Path, text: &str) -> BTreeMap<String, String> {
    let folder = directory.join("environment.d");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("99-x.conf"), text).unwrap();
    let mut generator = Command::new(GENERATOR);
    let output = generator.env_clear().env("XDG_CONFIG_HOME", directory).output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let variables = lines.lines().filter_map(|line| line.split_once('='));
    variables.map(|(name, value)| (name.to_owned(), unescape(value))).collect()
}

#[test]
fn parse_file_any_text_is_read_as_by_systemd() {
    if !Path::new(GENERATOR).exists() {
        eprintln!("skipped: systemd is not installed ({GENERATOR})");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    proptest!(ProptestConfig::with_cases(400), |(text in file())| {
        let own = parse_file(text.as_bytes());
        let systemd = of_systemd(directory.path(), &text);
        for name in NAMES {
            let value = own.get(name.as_bytes()).map(|value| String::from_utf8_lossy(value).into_owned());
            // The generator ignores empty values. EnvironmentFile= does not (load_env_file_push).
            if value.as_deref() != Some("") {
                prop_assert_eq!(value.as_ref(), systemd.get(*name), "{}", name);
            }
        }
    });
}

#[test]
fn read_invalid_values_are_treated_as_by_systemd() {
    let machine = TestRoot::new(&[("a", &b"A=1\nB=x\x01y\nC=a\tb\n"[..]), ("b", b"A=1\nB=\xff\nB=2\n")]);
    let variables = read(&machine.root, b"a").unwrap();
    assert_eq!(variables.iter().collect::<Vec<_>>(), [(&b"A"[..], &b"1"[..]), (b"C", b"a\tb")]);
    assert_eq!(read(&machine.root, b"b").unwrap_err().kind(), std::io::ErrorKind::InvalidData);
}
