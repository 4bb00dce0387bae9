//! The order of rpm's versions, and the parts of a package's label.
//!
//! A version is compared by segments of digits or of letters; other characters only separate
//! segments. `~` sorts before the end of the text, `^` after the end but before any segment.

use memchr::{memchr, memrchr};
use std::cmp::Ordering;

/// Compares two versions or two releases; the later one is greater.
///
/// The order is total. Different texts can be equal (`1.0` and `1_00`).
pub fn compare(a: &[u8], b: &[u8]) -> Ordering {
    let (mut a, mut b) = (Segments { rest: a }, Segments { rest: b });
    loop {
        let (left, right) = (a.next(), b.next());
        let order = rank(&left).cmp(&rank(&right)).then_with(|| match (&left, &right) {
            (Some(Segment::Number(left)), Some(Segment::Number(right))) => compare_number(left, right),
            (Some(Segment::Letters(left)), Some(Segment::Letters(right))) => left.cmp(right),
            _ => Ordering::Equal,
        });
        if order.is_ne() || left.is_none() {
            return order;
        }
    }
}

enum Segment<'a> {
    Tilde,
    Caret,
    Letters(&'a [u8]),
    Number(&'a [u8]),
}

/// Returns the position of a segment's kind in the order; the end of the text has one, too.
fn rank(segment: &Option<Segment<'_>>) -> u8 {
    match segment {
        Some(Segment::Tilde) => 0,
        None => 1,
        Some(Segment::Caret) => 2,
        Some(Segment::Letters(_)) => 3,
        Some(Segment::Number(_)) => 4,
    }
}

struct Segments<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Segments<'a> {
    type Item = Segment<'a>;

    fn next(&mut self) -> Option<Segment<'a>> {
        let is_segment = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'~' | b'^');
        let rest = &self.rest[self.rest.iter().position(is_segment)?..];
        let run =
            |is: fn(&u8) -> bool| rest.split_at(rest.iter().position(|byte| !is(byte)).unwrap_or(rest.len()));
        let (segment, rest) = match rest[0] {
            b'~' => (Segment::Tilde, &rest[1..]),
            b'^' => (Segment::Caret, &rest[1..]),
            b'0'..=b'9' => {
                let (digits, rest) = run(u8::is_ascii_digit);
                (Segment::Number(digits), rest)
            }
            _ => {
                let (letters, rest) = run(u8::is_ascii_alphabetic);
                (Segment::Letters(letters), rest)
            }
        };
        self.rest = rest;
        Some(segment)
    }
}

/// Compares numbers of any length.
fn compare_number(a: &[u8], b: &[u8]) -> Ordering {
    let trim = |digits: &[u8]| digits.iter().position(|&byte| byte != b'0').unwrap_or(digits.len());
    let (a, b) = (&a[trim(a)..], &b[trim(b)..]);
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// A version with all parts that affect the order: `[epoch:]version[-release]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Evr<'a> {
    /// Epoch; a missing one compares as 0.
    pub epoch: Option<&'a [u8]>,
    /// Version.
    pub version: &'a [u8],
    /// Release. In a relation, a missing one equals every release.
    pub release: Option<&'a [u8]>,
}

impl<'a> Evr<'a> {
    /// Parses `[epoch:]version[-release]`. Every text is valid.
    pub fn parse(text: &'a [u8]) -> Self {
        let digits = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
        let (epoch, rest) = match text.get(digits) {
            Some(b':') => (Some(&text[..digits]), &text[digits + 1..]),
            _ => (None, text),
        };
        // rpm searches the hyphen after the digits, so a version cannot be only a release.
        let (version, release) = match memrchr(b'-', rest) {
            Some(at) => (&rest[..at], Some(&rest[at + 1..])),
            None => (rest, None),
        };
        Evr { epoch, version, release }
    }

    /// Compares two versions; a missing release is before every release.
    pub fn compare(&self, other: &Evr<'_>) -> Ordering {
        self.compare_epoch(other).then_with(|| compare(self.version, other.version)).then_with(|| {
            match (self.release, other.release) {
                (Some(a), Some(b)) => compare(a, b),
                (a, b) => a.is_some().cmp(&b.is_some()),
            }
        })
    }

    /// Compares only the epochs.
    pub fn compare_epoch(&self, other: &Evr<'_>) -> Ordering {
        compare_number(self.epoch.unwrap_or_default(), other.epoch.unwrap_or_default())
    }
}

/// The parts of a package's label: `[name-][epoch:]version-release[.architecture]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Label<'a> {
    /// Name of the package, if the label has one.
    pub name: Option<&'a [u8]>,
    /// Epoch, version and release.
    pub evr: Evr<'a>,
    /// Architecture, if the label ends in the name of a known one.
    pub architecture: Option<&'a [u8]>,
}

impl<'a> Label<'a> {
    /// Parses a label. `None` if it has no release.
    ///
    /// A release can contain dots, so an architecture is recognized by its name only.
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        let (text, architecture) = match memrchr(b'.', text) {
            Some(at) if is_architecture(&text[at + 1..]) => (&text[..at], Some(&text[at + 1..])),
            _ => (text, None),
        };
        let release = memrchr(b'-', text)?;
        let name = memrchr(b'-', &text[..release]);
        let start = name.map_or(0, |at| at + 1);
        let evr = Evr::parse(&text[start..]);
        let name = name.map(|at| &text[..at]);
        (!evr.version.is_empty()).then_some(Label { name, evr, architecture })
    }

    /// Compares two labels: by name, version and architecture. A missing part is before any.
    pub fn compare(&self, other: &Label<'_>) -> Ordering {
        self.name
            .cmp(&other.name)
            .then_with(|| self.evr.compare(&other.evr))
            .then_with(|| self.architecture.cmp(&other.architecture))
    }
}

/// Whether it is the name of an architecture that rpm knows (`rpmrc`).
pub fn is_architecture(name: &[u8]) -> bool {
    const NAMES: &[&str] = &[
        "aarch64",
        "aarch64_ilp32",
        "alpha",
        "alphaev6",
        "amd64",
        "athlon",
        "geode",
        "i386",
        "i486",
        "i586",
        "i686",
        "ia32e",
        "ia64",
        "loongarch64",
        "m68k",
        "mips",
        "mips64",
        "mips64el",
        "mipsel",
        "noarch",
        "nosrc",
        "pentium3",
        "pentium4",
        "ppc",
        "ppc64",
        "ppc64le",
        "ppc64p7",
        "riscv",
        "riscv32",
        "riscv64",
        "s390",
        "s390x",
        "sh4",
        "sparc",
        "sparc64",
        "sparc64v",
        "sparcv9",
        "src",
        "x86_64",
        "x86_64_v2",
        "x86_64_v3",
        "x86_64_v4",
    ];
    let Ok(name) = std::str::from_utf8(name) else { return false };
    NAMES.binary_search(&name).is_ok()
        || (name.starts_with("armv") && memchr(b'-', name.as_bytes()).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pkg::rpm::tests_data;
    use proptest::prelude::*;

    fn order(word: &str) -> Ordering {
        match word {
            "<" => Ordering::Less,
            ">" => Ordering::Greater,
            _ => Ordering::Equal,
        }
    }

    /// Returns the words of each line of a table; comments and empty lines are left out.
    fn table(name: &str) -> Vec<Vec<String>> {
        let text = std::fs::read_to_string(tests_data::directory("versions").join(name)).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        lines
            .map(|line| line.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect())
            .collect()
    }

    #[test]
    fn compare_test_table_of_rpm_matches() {
        let table = table("claircore-rpmvercmp.txt");
        assert_eq!(table.len(), 113);
        for line in table {
            let [a, word, b] = line.as_slice() else { panic!("{line:?}") };
            assert_eq!(compare(a.as_bytes(), b.as_bytes()), order(word), "{line:?}");
        }
    }

    #[test]
    fn label_compare_test_table_matches() {
        for line in table("claircore-compare.txt") {
            let [a, word, b] = line.as_slice() else { panic!("{line:?}") };
            let parse = |text: &'_ String| Label::parse(text.clone().leak().as_bytes()).unwrap();
            assert_eq!(parse(a).compare(&parse(b)), order(word), "{line:?}");
        }
    }

    #[test]
    fn label_parse_test_table_matches() {
        for line in table("claircore-parse.txt") {
            let [label, name, epoch, version, release, architecture] = line.as_slice() else {
                panic!("{line:?}")
            };
            let part = |text: &str| (text != "''").then(|| text.as_bytes().to_vec());
            let parsed = Label::parse(label.as_bytes()).unwrap();
            assert_eq!(parsed.name.map(<[u8]>::to_vec), part(name), "{label}");
            assert_eq!(parsed.evr.epoch.map(<[u8]>::to_vec), part(epoch), "{label}");
            assert_eq!(parsed.evr.version, version.as_bytes(), "{label}");
            assert_eq!(parsed.evr.release.map(<[u8]>::to_vec), part(release), "{label}");
            assert_eq!(parsed.architecture.map(<[u8]>::to_vec), part(architecture), "{label}");
        }
    }

    #[test]
    fn evr_parse_every_text_has_parts() {
        let show = |text: &'static str| {
            let evr = Evr::parse(text.as_bytes());
            let part = |part: &[u8]| String::from_utf8(part.to_vec()).unwrap();
            (evr.epoch.map(part), part(evr.version), evr.release.map(part))
        };
        let text = |part: &str| Some(part.to_owned());
        assert_eq!(show("1:2-3"), (text("1"), "2".into(), text("3")));
        assert_eq!(show("2"), (None, "2".into(), None));
        assert_eq!(show("1:2-3-4"), (text("1"), "2-3".into(), text("4")));
        assert_eq!(show(":2"), (text(""), "2".into(), None));
        assert_eq!(show("a:2"), (None, "a:2".into(), None));
        assert_eq!(show(""), (None, String::new(), None));
    }

    #[test]
    fn evr_compare_epoch_version_release() {
        let compare = |a: &str, b: &str| Evr::parse(a.as_bytes()).compare(&Evr::parse(b.as_bytes()));
        for (a, word, b) in [
            ("1", "==", "0:1"),
            ("1:1", ">", "2"),
            ("0:1-1", "==", "1-1"),
            ("1", "<", "1-1"),
            ("1-1", "<", "1-2"),
            ("00:1", "==", ":1"),
            ("10:1", ">", "9:9"),
            ("1~rc1-9", "<", "1-1"),
        ] {
            assert_eq!(compare(a, b), order(word), "{a} {b}");
        }
    }

    #[test]
    fn is_architecture_table_is_sorted() {
        for name in ["aarch64", "x86_64_v4", "x86_64", "noarch", "armv7hl", "i686", "src"] {
            assert!(is_architecture(name.as_bytes()), "{name}");
        }
        for name in ["fc39", "", "el9", "X86_64", "armv-7", "\u{fc}"] {
            assert!(!is_architecture(name.as_bytes()), "{name}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn compare_any_versions_order_is_total(versions in proptest::array::uniform3("[0-2aB~^+._ä-]{0,7}")) {
            let [a, b, c] = versions.each_ref().map(|text| text.as_bytes());
            prop_assert_eq!(compare(a, a), Ordering::Equal);
            prop_assert_eq!(compare(a, b), compare(b, a).reverse());
            if compare(a, b).is_le() && compare(b, c).is_le() {
                prop_assert!(compare(a, c).is_le());
            }
        }

        #[test]
        fn evr_compare_any_versions_order_is_total(versions in proptest::array::uniform3("([01]?:)?[01a~^.]{0,4}(-[01a]{0,2})?")) {
            let [a, b, c] = versions.each_ref().map(|text| Evr::parse(text.as_bytes()));
            prop_assert_eq!(a.compare(&a), Ordering::Equal);
            prop_assert_eq!(a.compare(&b), b.compare(&a).reverse());
            if a.compare(&b).is_le() && b.compare(&c).is_le() {
                prop_assert!(a.compare(&c).is_le());
            }
        }

        #[test]
        fn parse_any_bytes_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = (Evr::parse(&bytes), Label::parse(&bytes));
        }
    }
}
