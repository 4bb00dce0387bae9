//! Parses environments of services ("ENVIRONMENT" in `systemd.exec(5)`).
//!
//! Values can be secret. Only [`Variables::get`] and [`Variables::iter`] return them.

use super::patterns;
use super::specifiers::Specifiers;
use super::words::{self, Unbalanced};
use crate::system::root::Root;
use std::{fmt, io};

/// Environment variables in the order of their first assignment. `Debug` shows only names.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Variables(Vec<(Vec<u8>, Vec<u8>)>);

impl Variables {
    /// Sets a variable and replaces its previous value.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value.to_vec(),
            None => self.0.push((name.to_vec(), value.to_vec())),
        }
    }

    /// Sets the variable of `NAME=value`. Returns whether the assignment is valid.
    pub fn assign(&mut self, assignment: &[u8]) -> bool {
        let Some(equals) = memchr::memchr(b'=', assignment) else { return false };
        let (name, value) = (&assignment[..equals], &assignment[equals + 1..]);
        let is_valid = is_name(name);
        if is_valid {
            self.set(name, value);
        }
        is_valid
    }

    /// Removes the variable `NAME`. For `NAME=value`, removes it only if it has this value
    /// (`UnsetEnvironment=`).
    pub fn unset(&mut self, what: &[u8]) {
        match memchr::memchr(b'=', what) {
            Some(at) => self.0.retain(|(name, value)| name != &what[..at] || value != &what[at + 1..]),
            None => self.0.retain(|(name, _)| name != what),
        }
    }

    /// Returns the value of a variable.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_slice())
    }

    /// Returns all names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(name, value)| (name.as_slice(), value.as_slice()))
    }

    /// Sets all variables of `other`.
    pub fn extend(&mut self, other: &Variables) {
        other.iter().for_each(|(name, value)| self.set(name, value));
    }

    /// Returns whether no variable is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.0.iter().map(|(name, _)| crate::model::escape::escape(name))).finish()
    }
}

/// Returns whether systemd accepts the name: letters, digits and `_`, not starting with a digit.
fn is_name(name: &[u8]) -> bool {
    let is_valid = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    name.first().is_some_and(|first| !first.is_ascii_digit()) && name.iter().all(is_valid)
}

/// Sets the variables of one `Environment=` value. Returns the number of words that are not
/// assignments.
///
/// # Errors
/// Returns an error if a quote is not closed. Then no variable is set.
pub fn assignments(
    value: &[u8],
    specifiers: &mut Specifiers<'_>,
    variables: &mut Variables,
) -> Result<usize, Unbalanced> {
    let words = words::split(value)?;
    Ok(words.iter().filter(|word| !variables.assign(&specifiers.expand(word))).count())
}

/// One value of `EnvironmentFile=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentFile {
    /// Path relative to the root. Each component can be a pattern.
    pub path: Vec<u8>,
    /// Whether the file can be missing (prefix `-`).
    pub optional: bool,
}

impl EnvironmentFile {
    /// Parses the value after expansion of specifiers. Returns `None` if the path is not
    /// absolute.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (optional, path) = value.strip_prefix(b"-").map_or((false, value), |path| (true, path));
        Some(EnvironmentFile { path: path.strip_prefix(b"/")?.to_vec(), optional })
    }

    /// Returns the files that exist, relative to the root, sorted. Each component of the path can
    /// be a pattern (`glob(7)`).
    pub fn paths(&self, root: &Root) -> Vec<Vec<u8>> {
        patterns::matching(root, &self.path)
    }
}

/// Reads an environment file as systemd's service manager does.
///
/// A value with a control character other than tab and newline is not set (`env_value_is_valid`).
///
/// # Errors
/// Returns an error if the file cannot be read, or if a name or a value in it is not UTF-8. Then
/// systemd uses no variable of the file (`load_env_file`).
pub fn read(root: &Root, path: &[u8]) -> io::Result<Variables> {
    let text = root.read(path)?;
    let mut reader = FileReader::new(&text);
    reader.read();
    if !reader.is_text {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a name or a value is not UTF-8"));
    }
    let is_valid =
        |value: &[u8]| !value.iter().any(|byte| byte.is_ascii_control() && !matches!(byte, b'\t' | b'\n'));
    reader.variables.0.retain(|(_, value)| is_valid(value));
    Ok(reader.variables)
}

/// Parses an environment file. Specifiers and variables are not expanded.
///
/// The rules are those of systemd's parser (`env-file.c`):
/// - Quotes are special at the start of a value and after a closing quote.
/// - Within double quotes, a backslash escapes only `"`, `\`, `` ` ``, `$` and newline.
/// - A backslash at the end of a comment continues the comment. Since version 254 it does not.
pub fn parse_file(text: &[u8]) -> Variables {
    let mut reader = FileReader::new(text);
    reader.read();
    reader.variables
}

struct FileReader<'a> {
    variables: Variables,
    rest: &'a [u8],
    /// Whether all names and values are UTF-8.
    is_text: bool,
}

/// Returns whether the byte is white space in systemd's parser, which has no form feed.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn is_newline(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

impl<'a> FileReader<'a> {
    fn new(text: &'a [u8]) -> Self {
        FileReader { variables: Variables::default(), rest: text, is_text: true }
    }

    fn read(&mut self) {
        while let Some(&first) = self.rest.first() {
            match first {
                b'#' | b';' => self.skip_comment(),
                byte if is_space(byte) => self.rest = &self.rest[1..],
                _ => self.take_assignment(),
            }
        }
    }

    fn next(&mut self) -> Option<u8> {
        let (&first, tail) = self.rest.split_first()?;
        self.rest = tail;
        Some(first)
    }

    fn skip_comment(&mut self) {
        while let Some(byte) = self.next() {
            if byte == b'\\' {
                self.next();
            } else if is_newline(byte) {
                return;
            }
        }
    }

    fn take_assignment(&mut self) {
        // A name that starts with `=` is invalid, but its value can have several lines.
        let end = self.rest[1..].iter().position(|&byte| byte == b'=' || is_newline(byte));
        let end = end.map_or(self.rest.len(), |end| end + 1);
        let length = self.rest[..end].iter().rposition(|&byte| !is_space(byte)).map_or(0, |last| last + 1);
        let name = self.rest[..length].to_vec();
        let has_value = self.rest.get(end) == Some(&b'=');
        self.rest = self.rest.get(end + 1..).unwrap_or_default();
        if has_value {
            let value = self.take_value();
            self.is_text &= std::str::from_utf8(&name).is_ok() && std::str::from_utf8(&value).is_ok();
            if is_name(&name) {
                self.variables.set(&name, &value);
            }
        }
    }

    /// Reads the value up to the end of the line.
    fn take_value(&mut self) -> Vec<u8> {
        let mut value = Vec::new();
        while let Some(byte) = self.next() {
            match byte {
                byte if is_newline(byte) => return value,
                b'\'' => self.take_single(&mut value),
                b'"' => self.take_double(&mut value),
                byte if is_space(byte) => {}
                _ => {
                    self.take_plain(byte, &mut value);
                    return value;
                }
            }
        }
        value
    }

    fn take_single(&mut self, value: &mut Vec<u8>) {
        while let Some(byte) = self.next().filter(|&byte| byte != b'\'') {
            value.push(byte);
        }
    }

    fn take_double(&mut self, value: &mut Vec<u8>) {
        while let Some(byte) = self.next().filter(|&byte| byte != b'"') {
            if byte != b'\\' {
                value.push(byte);
                continue;
            }
            match self.next() {
                Some(b'\n') | None => {}
                Some(byte) if b"\"\\`$".contains(&byte) => value.push(byte),
                Some(byte) => value.extend([b'\\', byte]),
            }
        }
    }

    /// Reads the rest of the line without trailing white space, unless it is escaped.
    fn take_plain(&mut self, first: u8, value: &mut Vec<u8>) {
        let mut byte = Some(first);
        let mut kept = value.len();
        while let Some(current) = byte.filter(|&byte| !is_newline(byte)) {
            if current == b'\\' {
                value.extend(self.next().filter(|&byte| !is_newline(byte)));
                kept = value.len();
            } else {
                value.push(current);
                if !is_space(current) {
                    kept = value.len();
                }
            }
            byte = self.next();
        }
        value.truncate(kept);
    }
}
