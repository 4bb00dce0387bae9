//! One section of a loaded unit, read with its specifiers replaced and its mistakes on record.

use super::amount::{self, TimeSpan};
use super::exec::{self, Exec};
use super::load::Loaded;
use super::specifiers::{Host, Specifiers};
use super::words;
use crate::model::escape::escape;
use crate::model::findings::{self, Findings};

/// A reader of the assignments in one section.
///
/// What cannot be understood is a note with the key, never with the value; the default holds then, as in systemd.
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

    /// The same unit's other section.
    pub(super) fn switch(&mut self, name: &'static str) {
        self.name = name;
    }

    /// Specifiers replaced; the last assignment counts.
    pub(super) fn text(&mut self, key: &str) -> Option<Vec<u8>> {
        let raw = self.raw(key)?;
        Some(self.specifiers.expand(raw))
    }

    /// The last assignment as it is written.
    pub(super) fn raw(&self, key: &str) -> Option<&'a [u8]> {
        self.loaded.unit.last(self.name, key)
    }

    /// The values of a list, whole, specifiers replaced.
    pub(super) fn lines(&mut self, key: &str) -> Vec<Vec<u8>> {
        let lines = self.loaded.unit.all(self.name, key);
        lines.into_iter().map(|line| self.specifiers.expand(line)).collect()
    }

    /// The words of a list, specifiers replaced.
    pub(super) fn words(&mut self, key: &str) -> Vec<Vec<u8>> {
        let mut list = Vec::new();
        for line in self.loaded.unit.all(self.name, key) {
            match words::split(line) {
                Ok(words) => list.extend(words.iter().map(|word| self.specifiers.expand(word))),
                Err(cause) => self.mistake(key, &cause.to_string()),
            }
        }
        list
    }

    /// Every value of a key with its words, also of empty ones, for settings that subtract.
    pub(super) fn values(&self, key: &'static str) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.loaded.unit.values(self.name, key)
    }

    pub(super) fn flag(&mut self, key: &str) -> Option<bool> {
        self.parsed(key, super::parse::boolean)
    }

    pub(super) fn span(&mut self, key: &str) -> Option<TimeSpan> {
        self.parsed(key, amount::time_span)
    }

    /// What `parse` makes of the last assignment.
    pub(super) fn parsed<T>(&mut self, key: &str, parse: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
        let text = self.text(key)?;
        let value = parse(&text);
        if value.is_none() {
            self.mistake(key, "a value that is not understood");
        }
        value
    }

    /// The commands of an `Exec*=` list.
    pub(super) fn commands(&mut self, key: &str) -> Vec<Exec> {
        let mut commands = Vec::new();
        for line in self.loaded.unit.all(self.name, key) {
            match exec::parse(line, &mut self.specifiers) {
                Ok(found) => commands.extend(found),
                Err(cause) => self.mistake(key, &cause.to_string()),
            }
        }
        commands
    }

    /// The specifiers, for what needs them itself.
    pub(super) fn specifiers(&mut self) -> &mut Specifiers<'a> {
        &mut self.specifiers
    }

    /// Notes that a key's value does not count.
    pub(super) fn mistake(&mut self, key: &str, what: &str) {
        let path = self.loaded.path.as_deref().unwrap_or(&self.loaded.name);
        self.findings.note(findings::Kind::Unit, path, format!("[{}] {key}=: {what}", self.name));
    }

    /// Notes the specifiers that could not be replaced.
    pub(super) fn finish(self) {
        if !self.specifiers.unknown.is_empty() {
            let path = self.loaded.path.as_deref().unwrap_or(&self.loaded.name);
            let letters: Vec<String> =
                self.specifiers.unknown.iter().map(|letter| format!("%{}", escape(&[*letter]))).collect();
            let text = format!("specifiers that only a boot tells, or nobody: {}", letters.join(" "));
            self.findings.note(findings::Kind::Unit, path, text);
        }
    }
}
