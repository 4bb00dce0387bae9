//! dpkg's `path-exclude` and `path-include`: what a package ships and an installation leaves out (dpkg(1), dpkg.cfg(5)).

use super::deb822::trim;
use crate::model::findings::Findings;
use crate::system::root::Root;
use std::io::ErrorKind::NotFound;

/// The patterns in dpkg's order; the last one that matches decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathFilters(Vec<Filter>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Filter {
    include: bool,
    pattern: Box<[u8]>,
}

impl PathFilters {
    /// The filters of a root: `etc/dpkg/dpkg.cfg.d`, by name, then `etc/dpkg/dpkg.cfg`.
    pub fn load(root: &Root, findings: &mut Findings) -> Self {
        let mut filters = Self::default();
        let mut paths = vec![b"etc/dpkg/dpkg.cfg".to_vec()];
        match root.list(b"etc/dpkg/dpkg.cfg.d") {
            Ok(names) => {
                let names = names.iter().filter(|name| is_config_name(name));
                paths.splice(..0, names.map(|name| [b"etc/dpkg/dpkg.cfg.d/".as_slice(), name].concat()));
            }
            Err(error) if error.kind() == NotFound => {}
            Err(error) => findings.loss("unreadable", b"etc/dpkg/dpkg.cfg.d", error.to_string()),
        }
        for path in paths {
            match root.read(&path) {
                Ok(bytes) => filters.add(&bytes),
                Err(error) if error.kind() == NotFound => {}
                Err(error) => findings.loss("unreadable", &path, error.to_string()),
            }
        }
        filters
    }

    /// Appends the filters of one configuration file.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.extend(bytes.split(|&byte| byte == b'\n').filter_map(read_line));
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an installation leaves out the regular file at `path` (relative to the root).
    pub fn excludes(&self, path: &[u8]) -> bool {
        self.excludes_object(path, false)
    }

    /// As [`PathFilters::excludes`] for any object: directories and symbolic links are kept where a later include
    /// might need them.
    pub fn excludes_object(&self, path: &[u8], directory_or_link: bool) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let path = [b"/", path].concat();
        let last = self.0.iter().rev().find(|filter| matches(&filter.pattern, &path));
        let excluded = last.is_some_and(|filter| !filter.include);
        excluded
            && !(directory_or_link
                && self.0.iter().any(|filter| filter.include && filter.may_be_below(&path)))
    }
}

impl Filter {
    /// dpkg's test: the fixed beginning of the pattern leads into `path`.
    fn may_be_below(&self, path: &[u8]) -> bool {
        let fixed =
            self.pattern.iter().position(|byte| b"*?[\\".contains(byte)).unwrap_or(self.pattern.len());
        let fixed = &self.pattern[..fixed];
        // Newer versions of dpkg also keep the directory that the fixed beginning names.
        path.starts_with(fixed.strip_suffix(b"/").unwrap_or(fixed))
    }
}

/// The names that dpkg reads in a configuration directory.
fn is_config_name(name: &[u8]) -> bool {
    name.iter().all(|&byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// `path-exclude=PATTERN` or with white space for the sign; quotes around the pattern are taken off.
fn read_line(line: &[u8]) -> Option<Filter> {
    let line = line.trim_ascii_end();
    let (include, rest) = match line.strip_prefix(b"path-exclude") {
        Some(rest) => (false, rest),
        None => (true, line.strip_prefix(b"path-include")?),
    };
    let (first, mut value) = rest.split_first()?;
    if first.is_ascii_whitespace() {
        value = value.strip_prefix(b"=").unwrap_or(value);
    } else if *first != b'=' {
        return None;
    }
    value = trim(value);
    if let [open @ (b'"' | b'\''), inner @ .., close] = value
        && open == close
    {
        value = inner;
    }
    Some(Filter { include, pattern: value.into() })
}

/// `fnmatch(3)` without flags: `*` and `?` match `/` and a leading dot too.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where the last star stands, and how much of the text it has swallowed.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        let step = match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
                continue;
            }
            Some(_) => match_one(&pattern[p..], text[t]),
            None => None,
        };
        match (step, star) {
            (Some(length), _) => (p, t) = (p + length, t + 1),
            (None, Some((at, swallowed))) => {
                star = Some((at, swallowed + 1));
                (p, t) = (at + 1, swallowed + 1);
            }
            (None, None) => return false,
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

/// The length of the pattern's first element if it matches this byte.
fn match_one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern {
        [b'?', ..] => Some(1),
        [b'\\', literal, ..] => (*literal == byte).then_some(2),
        [b'[', set @ ..] => match match_set(set, byte) {
            Some((matched, length)) => matched.then_some(length + 1),
            None => (byte == b'[').then_some(1),
        },
        [literal, ..] => (*literal == byte).then_some(1),
        [] => None,
    }
}

/// Whether a byte is in the set that begins after `[`, and the set's length with its `]`; `None` without one.
fn match_set(set: &[u8], byte: u8) -> Option<(bool, usize)> {
    let negated = matches!(set.first(), Some(b'!' | b'^'));
    let mut at = usize::from(negated);
    let first = at;
    let mut found = false;
    loop {
        match set.get(at)? {
            b']' if at > first => return Some((found != negated, at + 1)),
            b'[' if set.get(at + 1) == Some(&b':') => {
                let length = memchr::memmem::find(&set[at + 2..], b":]")?;
                found |= in_class(&set[at + 2..at + 2 + length], byte);
                at += length + 4;
            }
            _ => {
                let (low, length) = literal(&set[at..])?;
                at += length;
                let mut high = low;
                if set.get(at) == Some(&b'-') && set.get(at + 1).is_some_and(|&next| next != b']') {
                    let (end, length) = literal(&set[at + 1..])?;
                    high = end;
                    at += length + 1;
                }
                found |= (low..=high).contains(&byte);
            }
        }
    }
}

/// A byte of a set, perhaps behind a backslash, and its length.
fn literal(set: &[u8]) -> Option<(u8, usize)> {
    match set {
        [b'\\', byte, ..] => Some((*byte, 2)),
        [byte, ..] => Some((*byte, 1)),
        [] => None,
    }
}

fn in_class(name: &[u8], byte: u8) -> bool {
    match name {
        b"alnum" => byte.is_ascii_alphanumeric(),
        b"alpha" => byte.is_ascii_alphabetic(),
        b"blank" => byte == b' ' || byte == b'\t',
        b"cntrl" => byte.is_ascii_control(),
        b"digit" => byte.is_ascii_digit(),
        b"graph" => byte.is_ascii_graphic(),
        b"lower" => byte.is_ascii_lowercase(),
        b"print" => byte == b' ' || byte.is_ascii_graphic(),
        b"punct" => byte.is_ascii_punctuation(),
        b"space" => byte.is_ascii_whitespace() || byte == 0x0b,
        b"upper" => byte.is_ascii_uppercase(),
        b"xdigit" => byte.is_ascii_hexdigit(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filters(text: &str) -> PathFilters {
        let mut filters = PathFilters::default();
        filters.add(text.as_bytes());
        filters
    }

    #[test]
    fn patterns_match_as_fnmatch_without_flags() {
        for (pattern, text, expected) in [
            ("/usr/share/doc/*", "/usr/share/doc/a/b", true),
            ("/usr/share/doc/*", "/usr/share/doc", false),
            ("/usr/*/READ*", "/usr/share/doc/package/README", true),
            ("*", "", true),
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
            ("*a*b*c", "xxaxxbxxc", true),
            ("*a*b*c", "xxaxxcxxb", false),
            ("/usr/share/locale/[a-z]*/LC_*", "/usr/share/locale/de/LC_MESSAGES/x.mo", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
        let hostile = "*a".repeat(50) + "b";
        assert!(!matches(hostile.as_bytes(), "a".repeat(10_000).as_bytes()));
    }

    #[test]
    fn the_last_match_decides() {
        let minimal = filters(
            "# Drop all man pages\npath-exclude=/usr/share/man/*\nforce-unsafe-io\n\
             path-exclude /usr/share/doc/*\npath-include=\"/usr/share/doc/*/copyright\"\n\
             path-exclude = /usr/share/locale/*\npath-excluded=/x\npath-include=/usr/share/locale/en*\r\n",
        );
        for (path, expected) in [
            ("usr/share/man/man1/ls.1.gz", true),
            ("usr/share/doc/bash/README", true),
            ("usr/share/doc/bash/copyright", false),
            ("usr/share/locale/de/LC_MESSAGES/a.mo", true),
            ("usr/share/locale/en_GB/a.mo", false),
            ("usr/bin/ls", false),
            ("x", false),
        ] {
            assert_eq!(minimal.excludes(path.as_bytes()), expected, "{path}");
        }
        assert!(minimal.excludes(b"usr/share/doc/bash"));
        assert!(!minimal.excludes_object(b"usr/share/doc/bash", true));
        assert!(minimal.excludes_object(b"usr/share/man/man1", true));
        assert!(!filters("").excludes(b"a"));
    }

    #[test]
    fn the_directory_is_read_before_the_file_and_odd_names_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("etc/dpkg/dpkg.cfg.d")).unwrap();
        for (name, text) in [
            ("dpkg.cfg", "path-include=/b"),
            ("dpkg.cfg.d/10-a", "path-exclude=/*"),
            ("dpkg.cfg.d/20_b", "path-include=/a"),
            ("dpkg.cfg.d/30.dpkg-old", "path-exclude=/a"),
        ] {
            std::fs::write(dir.path().join("etc/dpkg").join(name), text).unwrap();
        }
        let mut findings = Findings::default();
        let filters = PathFilters::load(&Root::open(dir.path()).unwrap(), &mut findings);
        assert_eq!(
            [filters.excludes(b"a"), filters.excludes(b"b"), filters.excludes(b"c")],
            [false, false, true]
        );
        assert_eq!(findings, Findings::default());
    }

    proptest! {
        #[test]
        fn no_pattern_makes_it_panic(pattern in "[a*?\\[\\]\\\\:!-]{0,12}", text in "[a*?\\[\\]:-]{0,12}") {
            let _ = matches(pattern.as_bytes(), text.as_bytes());
        }
    }
}
