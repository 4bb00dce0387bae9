//! The syntax of unit files (`systemd.syntax(7)`).
//!
//! As systemd's own parser reads it: a backslash at the end of a line joins the
//! next one, comments in between are passed over, and an assignment before the
//! first section, or without `=`, counts for nothing.

use crate::model::problem::{Problem, note};
use std::collections::BTreeMap;
use std::fmt;

/// A joined line longer than this is left out, as systemd does (`LONG_LINE_MAX`).
const MAX_LINE: usize = 1 << 20;

/// The sections of a unit file with their assignments in order.
///
/// Values may hold passwords, so the debugging form shows only keys.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Unit {
    sections: BTreeMap<Vec<u8>, Vec<Assignment>>,
}

/// Key and value.
type Assignment = (Vec<u8>, Vec<u8>);

impl Unit {
    /// Reads a unit file. What cannot be used is a [`Problem`], the rest counts.
    pub fn parse(text: &[u8]) -> (Self, Vec<Problem>) {
        let mut reader = Reader::default();
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let mut joined: Option<(usize, Vec<u8>)> = None;
        for (index, line) in text.split(|byte| matches!(byte, b'\n' | 0)).enumerate() {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if matches!(line.trim_ascii_start().first(), Some(b'#' | b';')) {
                continue;
            }
            let (number, mut whole) = joined.take().unwrap_or((index + 1, Vec::new()));
            if whole.len() + line.len() > MAX_LINE {
                note(&mut reader.problems, number, "a line that is far too long");
                continue;
            }
            whole.extend_from_slice(line);
            // What is joined ends in a space, so an odd number of backslashes can only be this line's.
            let backslashes = whole.iter().rev().take_while(|&&byte| byte == b'\\').count();
            if backslashes % 2 == 1 {
                whole.pop();
                whole.push(b' ');
                joined = Some((number, whole));
            } else {
                reader.take(number, &whole);
            }
        }
        if let Some((number, whole)) = joined {
            reader.take(number, &whole);
        }
        (reader.unit, reader.problems)
    }

    /// Appends the assignments of a drop-in.
    pub fn extend(&mut self, other: Unit) {
        for (section, assignments) in other.sections {
            self.sections.entry(section).or_default().extend(assignments);
        }
    }

    /// Every value assigned to a key, empty ones among them.
    pub fn values(&self, section: &str, key: &str) -> impl Iterator<Item = &[u8]> {
        let assignments = self.sections.get(section.as_bytes()).map(Vec::as_slice).unwrap_or_default();
        assignments.iter().filter(move |(name, _)| name == key.as_bytes()).map(|(_, value)| value.as_slice())
    }

    /// The value assigned last. An empty one means the default, so it is `None`.
    pub fn last(&self, section: &str, key: &str) -> Option<&[u8]> {
        self.values(section, key).last().filter(|value| !value.is_empty())
    }

    /// The values of a list: those after the last empty assignment.
    pub fn all(&self, section: &str, key: &str) -> Vec<&[u8]> {
        let mut list = Vec::new();
        for value in self.values(section, key) {
            if value.is_empty() {
                list.clear();
            } else {
                list.push(value);
            }
        }
        list
    }

    /// The value assigned last as a boolean; `None` without one, or if it is none of systemd's words for it.
    pub fn flag(&self, section: &str, key: &str) -> Option<bool> {
        self.last(section, key).and_then(boolean)
    }

    /// The names of the sections and of the keys in them, as often as they are assigned.
    pub fn keys(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let sections = self.sections.iter();
        sections.flat_map(|(section, list)| list.iter().map(move |(key, _)| (section.as_slice(), &**key)))
    }
}

impl fmt::Debug for Unit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lossy = String::from_utf8_lossy;
        out.debug_list()
            .entries(self.keys().map(|(section, key)| format!("[{}] {}", lossy(section), lossy(key))))
            .finish()
    }
}

/// systemd's words for yes and no (`systemd.syntax(7)`), in upper or lower case.
pub fn boolean(value: &[u8]) -> Option<bool> {
    let is = |words: &[&str]| words.iter().any(|word| value.eq_ignore_ascii_case(word.as_bytes()));
    if is(&["1", "yes", "y", "true", "t", "on"]) {
        return Some(true);
    }
    is(&["0", "no", "n", "false", "f", "off"]).then_some(false)
}

#[derive(Default)]
struct Reader {
    unit: Unit,
    section: Option<Vec<u8>>,
    problems: Vec<Problem>,
}

impl Reader {
    fn take(&mut self, number: usize, line: &[u8]) {
        let line = line.trim_ascii();
        match line {
            [] => {}
            [b'[', name @ .., b']'] if !name.is_empty() => {
                self.unit.sections.entry(name.to_vec()).or_default();
                self.section = Some(name.to_vec());
            }
            [b'[', ..] => {
                // What follows belongs to nothing that is known.
                self.section = None;
                note(&mut self.problems, number, "a section header that does not end");
            }
            _ => self.assign(number, line),
        }
    }

    fn assign(&mut self, number: usize, line: &[u8]) {
        let Some(equals) = memchr::memchr(b'=', line).filter(|&at| at > 0) else {
            return note(&mut self.problems, number, "neither a section nor an assignment");
        };
        let Some(section) = &self.section else {
            return note(&mut self.problems, number, "an assignment outside of a section");
        };
        let key = line[..equals].trim_ascii().to_vec();
        let value = line[equals + 1..].trim_ascii().to_vec();
        self.unit.sections.entry(section.clone()).or_default().push((key, value));
    }
}
