//! Stanzas of `Field: value` lines, as dpkg and apt write them (deb822(5)).
//!
//! All values are bytes: real databases contain Latin-1 names, and damaged ones any byte. A line
//! that cannot be parsed is a [`Problem`]; the rest is kept.

use crate::model::problem::{Problem, note};
use memchr::memchr;

/// Maximum number of fields per stanza. Real stanzas have less than a tenth of it; further fields
/// are reported and ignored.
const MAX_FIELDS: usize = 512;
#[derive(Clone, Copy, Debug)]
struct Field<'a> {
    name: &'a [u8],
    start: usize,
    end: usize,
    line: usize,
}

/// One stanza, borrowed from the file's content.
#[derive(Clone, Debug)]
pub struct Stanza<'a> {
    bytes: &'a [u8],
    line: usize,
    fields: Vec<Field<'a>>,
}

impl<'a> Stanza<'a> {
    /// Returns the number of its first line, 1-based.
    pub fn line(&self) -> usize {
        self.line
    }

    /// Returns the line number of a field, or of the stanza's first line if it has no such field.
    pub fn line_of(&self, name: &str) -> usize {
        self.field(name).map_or(self.line, |field| field.line)
    }

    /// Returns a field's value with its continuation lines, without surrounding white space.
    /// Names are case-insensitive.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.field(name).map(|field| trim(&self.bytes[field.start..field.end]))
    }

    /// Returns the lines of a value that are not empty, each without surrounding white space.
    pub fn lines(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let value = self.get(name).unwrap_or_default();
        value.split(|&byte| byte == b'\n').map(trim).filter(|line| !line.is_empty())
    }

    fn field(&self, name: &str) -> Option<&Field<'a>> {
        self.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name.as_bytes()))
    }
}

/// Parses all stanzas that have a `Package` field, and returns the damaged lines.
///
/// A line of white space alone continues a value, because descriptions of some vendors contain
/// such lines. If the empty line between two stanzas is missing, the second `Package` field
/// starts a new stanza.
pub fn parse(bytes: &[u8]) -> (Vec<Stanza<'_>>, Vec<Problem>) {
    parse_keyed(bytes, "Package")
}

/// Parses stanzas as [`parse`] does, with `key` as the mandatory field instead of `Package`.
pub fn parse_keyed<'a>(bytes: &'a [u8], key: &'static str) -> (Vec<Stanza<'a>>, Vec<Problem>) {
    let (stanzas, problems, fields) = (Vec::new(), Vec::new(), Vec::new());
    let mut reader = Reader { bytes, key, stanzas, problems, fields, line: 0 };
    let mut start = 0;
    let mut number = 0;
    while start < bytes.len() {
        let end = memchr(b'\n', &bytes[start..]).map_or(bytes.len(), |length| start + length);
        number += 1;
        reader.take(number, start, end);
        start = end + 1;
    }
    reader.finish();
    (reader.stanzas, reader.problems)
}

struct Reader<'a> {
    bytes: &'a [u8],
    key: &'static str,
    stanzas: Vec<Stanza<'a>>,
    problems: Vec<Problem>,
    fields: Vec<Field<'a>>,
    /// First line of the current stanza; 0 between stanzas.
    line: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, number: usize, start: usize, end: usize) {
        let line = &self.bytes[start..end];
        match line.first() {
            None => return self.finish(),
            Some(b'\r') if line.len() == 1 => return self.finish(),
            Some(b'#') => return,
            _ => {}
        }
        if self.line == 0 {
            self.line = number;
        }
        if matches!(line[0], b' ' | b'\t') {
            match self.fields.last_mut() {
                Some(field) => field.end = end,
                None => note(&mut self.problems, number, "a continuation without a field before it"),
            }
            return;
        }
        let colon = memchr(b':', line).filter(|&length| is_field_name(&line[..length]));
        match colon {
            Some(length) => self.begin(&line[..length], start + length + 1, end, number),
            None => note(&mut self.problems, number, "neither a field nor a continuation"),
        }
    }

    fn begin(&mut self, name: &'a [u8], start: usize, end: usize, number: usize) {
        if self.fields.iter().any(|field| field.name.eq_ignore_ascii_case(name)) {
            note(&mut self.problems, number, "duplicate field");
            if !name.eq_ignore_ascii_case(self.key.as_bytes()) {
                return;
            }
            self.finish();
            self.line = number;
        }
        match self.fields.len() {
            MAX_FIELDS.. => note(&mut self.problems, number, "too many fields"),
            _ => self.fields.push(Field { name, start, end, line: number }),
        }
    }

    fn finish(&mut self) {
        if self.line == 0 {
            return;
        }
        let stanza = Stanza { bytes: self.bytes, line: self.line, fields: std::mem::take(&mut self.fields) };
        self.line = 0;
        match stanza.get(self.key) {
            Some(_) => self.stanzas.push(stanza),
            None => note(&mut self.problems, stanza.line, format!("a stanza without a {} field", self.key)),
        }
    }
}

/// Whether the name is printable ASCII without space and colon (deb822(5)).
fn is_field_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(u8::is_ascii_graphic)
}

/// Trims white space, including carriage returns, at both ends.
pub(in crate::pkg) fn trim(bytes: &[u8]) -> &[u8] {
    bytes.trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::problem::MAX_PROBLEMS;
    use proptest::prelude::*;

    /// Returns `package=version` of each stanza, and the lines of the problems.
    fn read(text: &[u8]) -> (Vec<String>, Vec<usize>) {
        let (stanzas, problems) = parse(text);
        let show = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or(b"-")).into_owned();
        let names = stanzas
            .iter()
            .map(|s| format!("{}={}", show(s.get("package")), show(s.get("VERSION"))))
            .collect();
        (names, problems.iter().map(|problem| problem.line).collect())
    }

    #[test]
    fn parse_damaged_lines_are_reported_and_others_kept() {
        let cases: &[(&[u8], &[&str], &[usize])] = &[
            (b"", &[], &[]),
            (b"\n\n\n", &[], &[]),
            (b"Package: a\nVersion: 1\n\nPackage: b\nVersion: 2", &["a=1", "b=2"], &[]),
            (b"Package: a\r\nVersion: 1\r\n\r\nPackage: b\r\n", &["a=1", "b=-"], &[]),
            (b"package:a\nvErSiOn:\t1 \n", &["a=1"], &[]),
            (b"# comment\nPackage: a\n# comment\nVersion: 1\n", &["a=1"], &[]),
            (b"Package: a\ngarbage\nVersion: 1\n", &["a=1"], &[2]),
            (b" lost\nPackage: a\n", &["a=-"], &[1]),
            (b"Version: 1\n\nPackage: b\n", &["b=-"], &[1]),
            (b"Package: a\nVersion: 1\nVersion: 2\n", &["a=1"], &[3]),
            (b"Package: a\nVersion: 1\nPackage: b\nVersion: 2\n", &["a=1", "b=2"], &[3]),
            (b"Package: a\nDescription: x\n \n y\nVersion: 1\n", &["a=1"], &[]),
            (b"Package: a\nMaintainer: J\xf6rg\nVersion: 1\0\n", &["a=1\0"], &[]),
            (b"Pack\0age: a\n\n: x\nPackage: b\n", &["b=-"], &[1, 1, 3]),
        ];
        for (text, names, lines) in cases {
            let (got, problems) = read(text);
            assert_eq!(
                (got.join(" "), problems.as_slice()),
                (names.join(" "), *lines),
                "{}",
                text.escape_ascii()
            );
        }
    }

    #[test]
    fn get_continuation_lines_belong_to_their_field() {
        let (stanzas, _) = parse(b"X: 1\nPackage: a\nConffiles:\n /a 1\n\t/b 2\n .\nEnd: x\n");
        let lines: Vec<&[u8]> = stanzas[0].lines("conffiles").collect();
        assert_eq!(lines, [&b"/a 1"[..], b"/b 2", b"."]);
        assert_eq!(
            (stanzas[0].line(), stanzas[0].line_of("Conffiles"), stanzas[0].line_of("none")),
            (1, 3, 1)
        );
        assert_eq!(stanzas[0].lines("none").count(), 0);
    }

    #[test]
    fn parse_many_or_long_fields_needs_little_time_and_memory() {
        let garbage = b"x\n".repeat(100_000);
        let (stanzas, problems) = parse(&garbage);
        assert_eq!((stanzas.len(), problems.len()), (0, MAX_PROBLEMS));
        let fields: String = (0..100_000).map(|number| format!("f{number}: x\n")).collect();
        let text = format!("Package: a\n{fields}");
        let (stanzas, problems) = parse(text.as_bytes());
        assert_eq!((stanzas.len(), problems.len()), (1, MAX_PROBLEMS));
        let long = [b"Package: a\nDescription: ".as_slice(), &[b'x'; 1 << 20]].concat();
        assert_eq!(parse(&long).0[0].get("Description").map(<[u8]>::len), Some(1 << 20));
    }

    proptest! {
        #[test]
        fn parse_any_bytes_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
            for stanza in parse(&bytes).0 {
                prop_assert!(stanza.get("package").is_some());
            }
        }
    }
}
