//! Environments of services ("ENVIRONMENT" in `systemd.exec(5)`).
//!
//! Values may be secret: they leave a [`Variables`] only through [`Variables::get`] and [`Variables::iter`].

use super::load;
use super::specifiers::Specifiers;
use super::words::{self, Unbalanced};
use crate::glob::{self, Dialect, Glob};
use crate::model::findings::{self, Findings};
use crate::model::tree;
use crate::system::root::Root;
use std::fmt;

/// Environment variables in the order of their first assignment; the debugging form shows only names.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Variables(Vec<(Vec<u8>, Vec<u8>)>);

impl Variables {
    /// Sets a variable; a later value takes the place of an earlier one.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value.to_vec(),
            None => self.0.push((name.to_vec(), value.to_vec())),
        }
    }

    /// Sets what `NAME=value` says, if that is the form of it.
    pub fn assign(&mut self, assignment: &[u8]) -> bool {
        let Some(equals) = memchr::memchr(b'=', assignment) else { return false };
        let (name, value) = (&assignment[..equals], &assignment[equals + 1..]);
        let is_valid = is_name(name);
        if is_valid {
            self.set(name, value);
        }
        is_valid
    }

    /// Removes the variable `NAME`, or only if it has that value for `NAME=value` (`UnsetEnvironment=`).
    pub fn unset(&mut self, what: &[u8]) {
        match memchr::memchr(b'=', what) {
            Some(at) => self.0.retain(|(name, value)| name != &what[..at] || value != &what[at + 1..]),
            None => self.0.retain(|(name, _)| name != what),
        }
    }

    /// The value of a variable.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_slice())
    }

    /// All names with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(name, value)| (name.as_slice(), value.as_slice()))
    }

    /// Sets everything that `other` has.
    pub fn extend(&mut self, other: &Variables) {
        other.iter().for_each(|(name, value)| self.set(name, value));
    }

    /// Whether no variable is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.0.iter().map(|(name, _)| crate::model::escape::escape(name))).finish()
    }
}

/// A name that systemd passes on: letters, digits and `_`, no digit first.
fn is_name(name: &[u8]) -> bool {
    let is_valid = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    name.first().is_some_and(|first| !first.is_ascii_digit()) && name.iter().all(is_valid)
}

/// Sets what one value of `Environment=` says; the number of words that are no assignment is returned.
///
/// # Errors
/// A quote is not closed: nothing of it counts.
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
    /// Relative to the root; the last component may be a pattern.
    pub path: Vec<u8>,
    /// `-`: it need not be there.
    pub optional: bool,
}

impl EnvironmentFile {
    /// Parses the value, after specifiers; `None` if it is no absolute path.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (optional, path) = value.strip_prefix(b"-").map_or((false, value), |path| (true, path));
        Some(EnvironmentFile { path: path.strip_prefix(b"/")?.to_vec(), optional })
    }

    /// Reads the file, or all that the pattern matches by name. One that is not there and has to be is a note:
    /// the service would not start on the machine either.
    pub fn load(&self, root: &Root, findings: &mut Findings) -> Variables {
        let mut variables = Variables::default();
        let paths = if !glob::is_literal(&self.path) {
            let directory = tree::parent(&self.path);
            let names = load::list(root, directory, findings).into_iter();
            let paths = names.filter(|name| !name.starts_with(b".")).map(|name| tree::join(directory, &name));
            let pattern = Glob::new(&self.path, Dialect::Path);
            paths.filter(|path| pattern.matches(path)).collect()
        } else {
            vec![self.path.clone()]
        };
        if paths.is_empty() && !self.optional {
            findings.note(
                findings::Kind::Environment,
                &self.path,
                "a service needs this file, and it is not there",
            );
        }
        for path in paths {
            match root.read(&path) {
                Ok(text) => variables.extend(&parse_file(&text)),
                Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
                    if !self.optional {
                        findings.note(
                            findings::Kind::Environment,
                            &path,
                            "a service needs this file, and it is not there",
                        );
                    }
                }
                Err(cause) => {
                    findings.loss(
                        findings::Kind::Unreadable,
                        &path,
                        format!("a service's environment is not known: {cause}"),
                    );
                }
            }
        }
        variables
    }
}

/// The variables of an environment file. Specifiers and other variables mean nothing in it.
///
/// As systemd's own reader (`env-file.c`): quotes count at the beginning of a value and after a closing quote,
/// within double quotes a backslash takes only `"`, `\`, `` ` ``, `$` and the end of the line, and a backslash at the
/// end of a comment continues the comment.
pub fn parse_file(text: &[u8]) -> Variables {
    let mut reader = FileReader { variables: Variables::default(), rest: text };
    while let Some(&first) = reader.rest.first() {
        match first {
            b'#' | b';' => reader.skip_comment(),
            byte if byte.is_ascii_whitespace() => reader.rest = &reader.rest[1..],
            _ => reader.take_assignment(),
        }
    }
    reader.variables
}

struct FileReader<'a> {
    variables: Variables,
    rest: &'a [u8],
}

fn is_newline(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

impl FileReader<'_> {
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
        let end = self.rest.iter().position(|&byte| byte == b'=' || is_newline(byte));
        let end = end.unwrap_or(self.rest.len());
        let name = self.rest[..end].trim_ascii().to_vec();
        let has_value = self.rest.get(end) == Some(&b'=');
        self.rest = self.rest.get(end + 1..).unwrap_or_default();
        if has_value {
            let value = self.take_value();
            if is_name(&name) {
                self.variables.set(&name, &value);
            }
        }
    }

    /// What stands before the end of the line, or at the beginning and after each closing quote.
    fn take_value(&mut self) -> Vec<u8> {
        let mut value = Vec::new();
        while let Some(byte) = self.next() {
            match byte {
                byte if is_newline(byte) => return value,
                b'\'' => self.take_single(&mut value),
                b'"' => self.take_double(&mut value),
                byte if byte.is_ascii_whitespace() => {}
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

    /// The rest of the line without the white space at its end, unless a backslash took it.
    fn take_plain(&mut self, first: u8, value: &mut Vec<u8>) {
        let mut byte = Some(first);
        let mut kept = value.len();
        while let Some(current) = byte.filter(|&byte| !is_newline(byte)) {
            if current == b'\\' {
                value.extend(self.next().filter(|&byte| !is_newline(byte)));
                kept = value.len();
            } else {
                value.push(current);
                if !current.is_ascii_whitespace() {
                    kept = value.len();
                }
            }
            byte = self.next();
        }
        value.truncate(kept);
    }
}
