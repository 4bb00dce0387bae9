//! Parses unit files (`systemd.syntax(7)`).
//!
//! The rules are those of systemd's parser. A backslash at the end of a line joins the next line.
//! Comments between joined lines are skipped. Assignments before the first section, and lines
//! without `=`, are ignored.

use crate::model::problem::{Problem, note};
use std::collections::BTreeMap;
use std::fmt;

/// Maximum length of a joined line in bytes. Systemd ignores longer ones too (`LONG_LINE_MAX`).
const MAX_LINE: usize = 1 << 20;

/// The sections of a unit file with their assignments in order.
///
/// Values can contain passwords, so `Debug` shows only keys.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Unit {
    sections: BTreeMap<Vec<u8>, Vec<Assignment>>,
}

/// Key and value.
type Assignment = (Vec<u8>, Vec<u8>);

impl Unit {
    /// Parses a unit file. Returns malformed lines as [`Problem`]s and keeps the rest.
    pub fn parse(text: &[u8]) -> (Self, Vec<Problem>) {
        let mut reader = Reader::default();
        // Systemd also skips a byte order mark.
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let mut joined: Option<(usize, Vec<u8>)> = None;
        for (index, line) in text.split(|byte| matches!(byte, b'\n' | 0)).enumerate() {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if matches!(line.trim_ascii_start().first(), Some(b'#' | b';')) {
                continue;
            }
            let (number, mut joined_line) = joined.take().unwrap_or((index + 1, Vec::new()));
            if joined_line.len() + line.len() > MAX_LINE {
                note(&mut reader.problems, number, "line is longer than 1 MiB; ignored");
                continue;
            }
            joined_line.extend_from_slice(line);
            // Joined lines end in a space, so all trailing backslashes are from this line.
            let backslashes = joined_line.iter().rev().take_while(|&&byte| byte == b'\\').count();
            if backslashes % 2 == 1 {
                joined_line.pop();
                joined_line.push(b' ');
                joined = Some((number, joined_line));
            } else {
                reader.take(number, &joined_line);
            }
        }
        if let Some((number, joined_line)) = joined {
            reader.take(number, &joined_line);
        }
        (reader.unit, reader.problems)
    }

    /// Appends the assignments of a drop-in.
    pub fn extend(&mut self, other: Unit) {
        for (section, assignments) in other.sections {
            self.sections.entry(section).or_default().extend(assignments);
        }
    }

    /// Returns all values of a key, including empty ones.
    pub fn values(&self, section: &str, key: &str) -> impl Iterator<Item = &[u8]> {
        let assignments = self.sections.get(section.as_bytes()).map(Vec::as_slice).unwrap_or_default();
        assignments.iter().filter(move |(name, _)| name == key.as_bytes()).map(|(_, value)| value.as_slice())
    }

    /// Returns the last value. An empty value selects the default, so it is `None`.
    pub fn last(&self, section: &str, key: &str) -> Option<&[u8]> {
        self.values(section, key).last().filter(|value| !value.is_empty())
    }

    /// Returns the values of a list: those after the last empty assignment.
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

    /// Returns the last value as a boolean, or `None` if it is missing or not a boolean.
    pub fn flag(&self, section: &str, key: &str) -> Option<bool> {
        self.last(section, key).and_then(boolean)
    }

    /// Returns the assignments of a section in order, including empty ones.
    pub fn assignments(&self, section: &str) -> impl Iterator<Item = (&[u8], &[u8])> {
        let assignments = self.sections.get(section.as_bytes()).map(Vec::as_slice).unwrap_or_default();
        assignments.iter().map(|(key, value)| (key.as_slice(), value.as_slice()))
    }

    /// Returns section and key of each assignment.
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

/// Parses a boolean in upper or lower case (`systemd.syntax(7)`).
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
                // The section of the following lines is unknown.
                self.section = None;
                note(&mut self.problems, number, "section header without closing bracket");
            }
            _ => self.assign(number, line),
        }
    }

    fn assign(&mut self, number: usize, line: &[u8]) {
        let Some(equals) = memchr::memchr(b'=', line).filter(|&at| at > 0) else {
            return note(&mut self.problems, number, "neither a section nor an assignment");
        };
        let Some(section) = &self.section else {
            return note(&mut self.problems, number, "assignment outside a section");
        };
        let key = line[..equals].trim_ascii().to_vec();
        let value = line[equals + 1..].trim_ascii().to_vec();
        self.unit.sections.entry(section.clone()).or_default().push((key, value));
    }
}
