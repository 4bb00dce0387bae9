//! Everything that was skipped, unstable, unreadable or withheld.
//!
//! A finding never ends the run; it is listed in `findings.jsonl` and decides
//! between exit codes 0 and 3.

use super::escape;
use serde::Serialize;

/// Whether the image lacks something that it should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something of the machine could not be read or kept: exit code 3.
    Loss,
    /// Worth knowing; the image is what was asked for.
    Note,
}

/// One object and what happened to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Relative to the root, as bytes; empty where the finding concerns no single path.
    pub path: Box<[u8]>,
    /// Decides the exit code.
    pub severity: Severity,
    /// The kind of finding, for programs: `unreadable`, `unstable`, `withheld`, ...
    pub kind: &'static str,
    /// The same for people; never a file's content.
    pub text: String,
}

/// The findings of a run, in the order of discovery until [`Findings::sorted`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// Something of the machine is missing from the result.
    pub fn loss(&mut self, kind: &'static str, path: &[u8], text: impl Into<String>) {
        self.push(Severity::Loss, kind, path, text.into());
    }

    /// Something that people should know.
    pub fn note(&mut self, kind: &'static str, path: &[u8], text: impl Into<String>) {
        self.push(Severity::Note, kind, path, text.into());
    }

    fn push(&mut self, severity: Severity, kind: &'static str, path: &[u8], text: String) {
        self.0.push(Finding { path: path.into(), severity, kind, text });
    }

    /// Takes over what another stage found.
    pub fn extend(&mut self, other: Findings) {
        self.0.extend(other.0);
    }

    /// All findings by path, so that the order of discovery never shows.
    pub fn sorted(&self) -> Vec<Finding> {
        let mut findings = self.0.clone();
        findings.sort();
        findings.dedup();
        findings
    }

    /// Number of findings that make the result incomplete.
    pub fn losses(&self) -> usize {
        self.sorted().iter().filter(|finding| finding.severity == Severity::Loss).count()
    }
}

impl Serialize for Finding {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut line = serializer.serialize_struct("Finding", 4)?;
        line.serialize_field("severity", &self.severity)?;
        line.serialize_field("kind", self.kind)?;
        let path = (!self.path.is_empty()).then(|| escape::display(&self.path));
        line.serialize_field("path", &path)?;
        line.serialize_field("text", &self.text)?;
        line.end()
    }
}
