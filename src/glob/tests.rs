use crate::glob::*;
use proptest::prelude::*;
use std::time::{Duration, Instant};

fn fnmatch(pattern: &str, text: &str) -> bool {
    Glob::new(pattern.as_bytes(), Dialect::Fnmatch).matches(text.as_bytes())
}

#[test]
fn glob_path_dialect_matches_within_components() {
    for (pattern, path, expected) in [
        ("etc/passwd", "etc/passwd", true),
        ("etc/passwd", "etc/passwd-", false),
        ("etc/*.conf", "etc/a.conf", true),
        ("etc/*.conf", "etc/a/b.conf", false),
        ("etc/**.conf", "etc/a/b.conf", true),
        ("var/log/**", "var/log/a/b", true),
        ("var/log/**", "var/log", false),
        ("home/*/.ssh/*", "home/eve/.ssh/id_rsa", true),
        ("**/id_[er]*", "a/b/id_rsa", true),
        ("**/id_[!a-q]*", "a/b/id_dsa", false),
        ("**/id_[!a-q]*", "id_rsa", false),
        ("**", "", true),
        ("*", "", true),
        ("", "", true),
        ("", "a", false),
        ("?", "/", false),
        ("[!a]", "/", false),
        ("a*b*c", "aXbXbXc", true),
        ("a**b*c", "aX/bX/bXc", true),
        ("a**b*c", "aX/bX/bX/c", false),
        ("ab*ba", "aba", false),
        ("[", "[", false),
        ("[]a]", "]", true),
        ("[a-]", "-", true),
        ("a\\*", "a\\x", true),
    ] {
        assert_eq!(matches(pattern.as_bytes(), path.as_bytes()), expected, "{pattern} on {path}");
    }
}

#[test]
fn glob_fnmatch_dialect_matches_across_slashes() {
    for (pattern, text, expected) in [
        ("/usr/share/doc/*", "/usr/share/doc/a/b", true),
        ("/usr/share/doc/*", "/usr/share/doc", false),
        ("/usr/*/READ*", "/usr/share/doc/package/README", true),
        ("*", "", true),
        ("**", "a/b", true),
        ("a?c", "a/c", true),
        ("a[b-d]e", "ace", true),
        ("a[!b-d]e", "ace", false),
        ("a[^b-d]e", "axe", true),
        ("a[]x]e", "a]e", true),
        ("a[[:digit:]x]e", "a7e", true),
        ("a[[:digit:]x]e", "aye", false),
        ("a[b", "a[b", true),
        ("a[b-]c", "a-c", true),
        ("a\\*c", "a*c", true),
        ("a\\*c", "abc", false),
        ("a\\", "a\\", true),
        ("*a*b*c", "xxaxxbxxc", true),
        ("*a*b*c", "xxaxxcxxb", false),
        ("/usr/share/locale/[a-z]*/LC_*", "/usr/share/locale/de/LC_MESSAGES/x.mo", true),
    ] {
        assert_eq!(fnmatch(pattern, text), expected, "{pattern} on {text}");
    }
}

/// With backtracking, the first of these patterns needs time exponential in its length.
#[test]
fn glob_hostile_pattern_ends_soon() {
    let start = Instant::now();
    let text = "a".repeat(4096);
    assert!(!fnmatch(&("*a".repeat(200) + "?b"), &(text.clone() + "bc")));
    assert!(!matches(("**a*".repeat(100) + "b?").as_bytes(), (text.clone() + "bcb").as_bytes()));
    let components = "a/".repeat(2048);
    assert!(!matches(("**a*/".repeat(100) + "b?").as_bytes(), (components + "bcb").as_bytes()));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

/// Matches by the definition: tries all possibilities.
fn by_definition(pattern: &[u8], text: &[u8], dialect: Dialect) -> bool {
    let is_path = dialect == Dialect::Path;
    match pattern {
        [] => text.is_empty(),
        [b'*', b'*', rest @ ..] if is_path => {
            (0..=text.len()).any(|at| by_definition(rest, &text[at..], dialect))
        }
        [b'*', rest @ ..] => {
            let end = text.iter().position(|&byte| byte == b'/' && is_path).unwrap_or(text.len());
            (0..=end).any(|at| by_definition(rest, &text[at..], dialect))
        }
        [b'\\', literal, rest @ ..] if !is_path => text
            .split_first()
            .is_some_and(|(byte, tail)| byte == literal && by_definition(rest, tail, dialect)),
        [first, rest @ ..] => text.split_first().is_some_and(|(byte, tail)| {
            (first == byte || *first == b'?' && (*byte != b'/' || !is_path))
                && by_definition(rest, tail, dialect)
        }),
    }
}

/// Matches pattern by pattern, as the reference for the set.
fn one_by_one(patterns: &[&[u8]], path: &[u8]) -> Option<u32> {
    let is_match = |pattern: &[u8]| match pattern.strip_suffix(b"/") {
        Some(directory) => {
            let slashes = (0..path.len()).filter(|&at| path[at] == b'/');
            slashes.chain([path.len()]).any(|end| by_definition(directory, &path[..end], Dialect::Path))
        }
        None => by_definition(pattern, path, Dialect::Path),
    };
    patterns.iter().position(|pattern| is_match(pattern)).map(|at| at as u32)
}

#[test]
fn set_several_matches_returns_first() {
    let patterns: [&[u8]; 6] =
        [b"**/*.key", b"home/*/.ssh/id_*", b"home/eve/.ssh/**", b"home/", b"srv/*", b"srv/a"];
    let set = GlobSet::new(patterns);
    for (path, expected) in [
        ("home/eve/.ssh/id_rsa", Some(1)),
        ("home/eve/.ssh/config", Some(2)),
        ("home/bob/.ssh/config", Some(3)),
        ("home/bob/.ssh/my.key", Some(0)),
        ("home", Some(3)),
        ("srv", None),
        ("srv/a", Some(4)),
        ("srv/a/b", None),
        ("", None),
    ] {
        assert_eq!(set.first(path.as_bytes(), |_| true), expected, "{path}");
    }
    assert_eq!(set.first(b"srv/a", |id| id != 4), Some(5));
    assert_eq!(set.first(b"home/eve/.ssh/id_rsa", |id| id > 1), Some(2));
}

#[test]
fn set_shared_patterns_match_in_each_directory() {
    let mut set = GlobSet::new([&b"home/eve/.ssh/config"[..]]);
    set.share(b"home/eve");
    set.share(b"home/*");
    set.share(b"srv/[a]");
    set.insert_shared(b".ssh/", 1);
    set.insert(b"srv/**", 2);
    for (path, expected) in [
        ("home/eve/.ssh/config", Some(0)),
        ("home/eve/.ssh/id_rsa", Some(1)),
        ("home/bob/.ssh", Some(1)),
        ("srv/[a]/.ssh/x", Some(1)),
        ("srv/a/.ssh/x", Some(2)),
        (".ssh/x", None),
    ] {
        assert_eq!(set.first(path.as_bytes(), |_| true), expected, "{path}");
    }
    set.share(b"");
    assert_eq!(set.first(b".ssh/x", |_| true), Some(1));
}

#[test]
fn set_path_as_long_as_a_file_overflows_no_stack() {
    let deep = b"a/".repeat(200_000);
    let set = GlobSet::new([&*deep]);
    assert_eq!(set.first(&deep, |_| true), Some(0));
    assert_eq!(set.first(b"a/a", |_| true), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn glob_path_dialect_agrees_with_definition(pattern in "[ab/?*]{0,9}", text in "[ab/]{0,12}") {
        let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
        prop_assert_eq!(matches(pattern, text), by_definition(pattern, text, Dialect::Path));
    }

    #[test]
    fn glob_fnmatch_dialect_agrees_with_definition(pattern in "[ab/?*\\\\]{0,9}", text in "[ab/*\\\\]{0,12}") {
        let expected = by_definition(pattern.as_bytes(), text.as_bytes(), Dialect::Fnmatch);
        prop_assert_eq!(fnmatch(&pattern, &text), expected);
    }

    #[test]
    fn glob_any_bytes_never_panics(pattern: Vec<u8>, text: Vec<u8>) {
        let _ = matches(&pattern, &text);
        let _ = Glob::new(&pattern, Dialect::Fnmatch).matches(&text);
    }

    #[test]
    fn glob_sets_in_both_dialects_never_panic(pattern in "[a*?\\[\\]\\\\:!-]{0,12}", text in "[a*?\\[\\]:-]{0,12}") {
        let _ = matches(pattern.as_bytes(), text.as_bytes());
        let _ = fnmatch(&pattern, &text);
    }

    #[test]
    fn set_agrees_with_one_by_one(
        patterns in proptest::collection::vec("([ab/*?]|\\*\\*/|/\\*\\*){0,6}", 0..6),
        path in "[ab/]{0,9}",
    ) {
        let patterns: Vec<&[u8]> = patterns.iter().map(String::as_bytes).collect();
        let set = GlobSet::new(patterns.iter().copied());
        prop_assert_eq!(set.first(path.as_bytes(), |_| true), one_by_one(&patterns, path.as_bytes()));
    }
}
