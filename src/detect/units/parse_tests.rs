//! Checks the syntax with short examples, and real units against the result of another parser.

use crate::detect::units::machine::folder;
use crate::detect::units::parse::{Unit, boolean};
use proptest::prelude::*;
use serde_json::Value;
use std::path::PathBuf;

/// Returns `[section]key=value` of each assignment, and the line numbers of the problems.
fn read(text: &[u8]) -> (Vec<String>, Vec<usize>) {
    let (unit, problems) = Unit::parse(text);
    let mut shown: Vec<String> = Vec::new();
    let mut keys: Vec<(String, String)> = unit
        .keys()
        .map(|(section, key)| (String::from_utf8_lossy(section).into(), String::from_utf8_lossy(key).into()))
        .collect();
    keys.sort();
    keys.dedup();
    for (section, key) in keys {
        let value = |value: &[u8]| format!("[{section}]{key}={}", crate::model::escape::escape(value));
        shown.extend(unit.values(&section, &key).map(value));
    }
    (shown, problems.iter().map(|problem| problem.line).collect())
}

#[test]
fn parse_lines_return_assignments() {
    let cases: &[(&[u8], &[&str], &[usize])] = &[
        (b"", &[], &[]),
        (b"[A]\nb=c\n", &["[A]b=c"], &[]),
        (b"\xef\xbb\xbf[A]\r\n  b  =  c d \t\r\n", &["[A]b=c d"], &[]),
        (b"[A]\nb=1\n[B]\nb=2\n[A]\nb=3", &["[A]b=1", "[A]b=3", "[B]b=2"], &[]),
        (b"[A]\n# b=1\n ; b=2\nb=#3\n", &["[A]b=#3"], &[]),
        (b"[A]\nb=1 \\\n  2\\\n3\nc=4\n", &["[A]b=1    2 3", "[A]c=4"], &[]),
        (b"[A]\nb=1 \\\n# comment \\\n; another\n 2\n", &["[A]b=1   2"], &[]),
        (b"[A]\nb=1\\\\\nc=2\n", &["[A]b=1\\\\\\\\", "[A]c=2"], &[]),
        (b"[A]\nb=1\\\n\nc=2\n", &["[A]b=1", "[A]c=2"], &[]),
        (b"[A]\nb=1\\\r\n2\r\n", &["[A]b=1 2"], &[]),
        (b"[A]\nb=1\\", &["[A]b=1"], &[]),
        (b"b=1\n[A]\nc\n=d\n[B\ne=1\n", &[], &[1, 3, 4, 5, 6]),
        (b"[A]\nb=x=y=\nc=\n", &["[A]b=x=y=", "[A]c="], &[]),
        (b"[A]\nb=\xff\xfe\n", &["[A]b=\\xff\\xfe"], &[]),
    ];
    for (text, assignments, problems) in cases {
        let (found, lines) = read(text);
        assert_eq!(
            (found, &lines[..]),
            (assignments.iter().map(|a| a.to_string()).collect(), *problems),
            "{text:?}"
        );
    }
}

#[test]
fn all_empty_assignment_resets_the_list() {
    let (unit, _) = Unit::parse(b"[A]\nlist=1\nlist=\nlist=2\nlist=3\none=x\none=\nyes=On\nodd=2\n");
    assert_eq!(unit.all("A", "list"), [b"2", b"3"]);
    assert_eq!((unit.last("A", "list"), unit.last("A", "one")), (Some(&b"3"[..]), None));
    assert_eq!(
        (unit.flag("A", "yes"), unit.flag("A", "odd"), unit.flag("A", "none")),
        (Some(true), None, None)
    );
    assert_eq!((boolean(b"f"), boolean(b"TRUE"), boolean(b"")), (Some(false), Some(true), None));
}

#[test]
fn parse_too_long_line_is_ignored() {
    let long = [b"[A]\nb=", vec![b'x'; 2 << 20].as_slice(), b"\nc=1\n"].concat();
    assert_eq!(read(&long), (vec!["[A]c=1".to_owned()], vec![2]));
    let joined =
        [b"[A]\nb=".to_vec(), b"0123456789abcdef\\\n".repeat(65_536 * 2), b"\nc=1\n".to_vec()].concat();
    let (unit, problems) = Unit::parse(&joined);
    assert!(!problems.is_empty() && unit.last("A", "c").is_some());
}

#[test]
fn debug_contains_no_value() {
    let (unit, _) = Unit::parse(b"[Service]\nEnvironment=PASSWORD=hunter2\n");
    assert_eq!(format!("{unit:?}"), r#"["[Service] Environment"]"#);
}

#[test]
fn parse_real_units_match_other_parser() {
    let mut units = 0;
    for package in std::fs::read_dir(folder().join("debian12")).unwrap() {
        let package = package.unwrap().path();
        let expected: Value =
            serde_json::from_slice(&std::fs::read(package.join("expected.json")).unwrap()).unwrap();
        for (path, sections) in expected["units"].as_object().unwrap() {
            let path: PathBuf = package.join(path);
            // The fixtures do not include units of other tools, such as `.link`.
            let Ok(text) = std::fs::read(&path) else { continue };
            let (unit, problems) = Unit::parse(&text);
            assert_eq!(problems, [], "{}", path.display());
            let mut count = 0;
            for (section, keys) in sections.as_object().unwrap() {
                for (key, values) in keys.as_object().unwrap() {
                    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
                    let values: Vec<String> = values
                        .as_array()
                        .unwrap()
                        .iter()
                        .map(|value| words(value.as_str().unwrap()))
                        .collect();
                    let found: Vec<String> = unit
                        .values(section, key)
                        .map(|value| words(&String::from_utf8_lossy(value)))
                        .collect();
                    assert_eq!(found, values, "{} [{section}] {key}", path.display());
                    count += values.len();
                }
            }
            assert_eq!(unit.keys().count(), count, "{}", path.display());
            units += 1;
        }
    }
    assert!(units > 70, "{units} units");
}

proptest! {
    #[test]
    fn parse_any_text_returns_only_its_parts(text in "(\\PC|[\\[\\]=\\\\#; \n\r]){0,80}") {
        let (unit, _) = Unit::parse(text.as_bytes());
        prop_assert!(unit.keys().all(|(_, key)| text.contains(std::str::from_utf8(key).unwrap())));
    }
}
