//! Reads one section of a loaded unit, expands specifiers and reports invalid values.

use super::amount::{self, TimeSpan};
use super::exec::{self, Exec};
use super::load::Loaded;
use super::specifiers::{Host, Specifiers};
use super::words;
use crate::model::escape::escape;
use crate::model::findings::{self, Findings};

/// A reader for the assignments of one section.
///
/// An invalid value is a note that contains the key but not the value. The default applies then,
/// as in systemd.
pub(super) struct Section<'a> {
    loaded: &'a Loaded,
    name: &'static str,
    specifiers: Specifiers<'a>,
    findings: &'a mut Findings,
}

impl<'a> Section<'a> {
    pub(super) fn new(
        loaded: &'a Loaded,
        name: &'static str,
        host: &'a Host,
        findings: &'a mut Findings,
    ) -> Self {
        Section { loaded, name, specifiers: Specifiers::new(&loaded.name, host), findings }
    }

    /// Switches to another section of the unit.
    pub(super) fn switch(&mut self, name: &'static str) {
        self.name = name;
    }

    /// Returns the last value with expanded specifiers.
    pub(super) fn text(&mut self, key: &str) -> Option<Vec<u8>> {
        let raw = self.raw(key)?;
        Some(self.specifiers.expand(raw))
    }

    /// Returns the last value as written.
    pub(super) fn raw(&self, key: &str) -> Option<&'a [u8]> {
        self.loaded.unit.last(self.name, key)
    }

    /// Returns the lines of a list with expanded specifiers.
    pub(super) fn lines(&mut self, key: &str) -> Vec<Vec<u8>> {
        let lines = self.loaded.unit.all(self.name, key);
        lines.into_iter().map(|line| self.specifiers.expand(line)).collect()
    }

    /// Returns the words of a list with expanded specifiers.
    pub(super) fn words(&mut self, key: &str) -> Vec<Vec<u8>> {
        let mut list = Vec::new();
        for line in self.loaded.unit.all(self.name, key) {
            match words::split(line) {
                Ok(words) => list.extend(words.iter().map(|word| self.specifiers.expand(word))),
                Err(cause) => self.invalid(key, &cause.to_string()),
            }
        }
        list
    }

    /// Returns the unit names of a list with expanded specifiers. Escapes such as `\x2d` are part of
    /// the names (`config_parse_unit_deps`).
    pub(super) fn unit_names(&mut self, key: &str) -> Vec<Vec<u8>> {
        let lines = self.loaded.unit.all(self.name, key).into_iter();
        let names = lines.flat_map(|line| line.split(u8::is_ascii_whitespace));
        let names = names.map(unquoted).filter(|name| !name.is_empty());
        names.map(|name| self.specifiers.expand(name)).collect()
    }

    /// Returns all values of a key, including empty ones, for keys with their own merge rules.
    pub(super) fn values(&self, key: &'static str) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.loaded.unit.values(self.name, key)
    }

    pub(super) fn flag(&mut self, key: &str) -> Option<bool> {
        self.parsed(key, super::parse::boolean)
    }

    pub(super) fn span(&mut self, key: &str) -> Option<TimeSpan> {
        self.parsed(key, amount::time_span)
    }

    /// Parses the last value. Reports it as a note if `parse` returns `None`.
    pub(super) fn parsed<T>(&mut self, key: &str, parse: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
        let text = self.text(key)?;
        let value = parse(&text);
        if value.is_none() {
            self.invalid(key, "invalid value");
        }
        value
    }

    /// Parses the commands of an `Exec*=` list.
    pub(super) fn commands(&mut self, key: &str) -> Vec<Exec> {
        let mut commands = Vec::new();
        for line in self.loaded.unit.all(self.name, key) {
            match exec::parse(line, &mut self.specifiers) {
                Ok(found) => commands.extend(found),
                Err(cause) => self.invalid(key, &cause.to_string()),
            }
        }
        commands
    }

    /// Returns the specifiers of the unit.
    pub(super) fn specifiers(&mut self) -> &mut Specifiers<'a> {
        &mut self.specifiers
    }

    /// Reports an invalid value as a note.
    pub(super) fn invalid(&mut self, key: &str, what: &str) {
        let path = self.loaded.path.as_deref().unwrap_or(&self.loaded.name);
        self.findings.note(findings::Kind::Unit, path, format!("[{}] {key}=: {what}", self.name));
    }

    /// Reports unsupported specifiers as a note.
    pub(super) fn finish(self) {
        if !self.specifiers.unknown.is_empty() {
            let path = self.loaded.path.as_deref().unwrap_or(&self.loaded.name);
            let letters: Vec<String> =
                self.specifiers.unknown.iter().map(|letter| format!("%{}", escape(&[*letter]))).collect();
            let text = format!("unsupported specifiers, left as written: {}", letters.join(" "));
            self.findings.note(findings::Kind::Unit, path, text);
        }
    }
}

/// Returns a word without the quotes around it.
fn unquoted(word: &[u8]) -> &[u8] {
    match word {
        [open @ (b'"' | b'\''), inner @ .., close] if open == close => inner,
        _ => word,
    }
}
