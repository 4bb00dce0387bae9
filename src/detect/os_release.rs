//! Detects the distribution from `os-release(5)` or, on older systems, from other release files.

mod release_files;

use crate::model::findings::{self, Findings};
use crate::system::root::Root;
use serde::Serialize;

/// Fields of `os-release` that identify the distribution and its release; empty if absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct OsRelease {
    /// `ID`, in lower case.
    pub id: String,
    /// `VERSION_ID`; empty for rolling distributions, and for Debian testing and unstable.
    pub version_id: String,
    /// `VERSION_CODENAME`, in lower case; otherwise the single word in brackets in `VERSION`.
    pub codename: String,
    /// `PRETTY_NAME`, for display.
    pub pretty_name: String,
    /// `NAME`; distinguishes CentOS Stream from CentOS Linux.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// `VERSION`, for display.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// `ID_LIKE`: identifiers of the parent distributions in lower case, the closest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub id_like: Vec<String>,
    /// `UBUNTU_CODENAME`: codename of the parent distribution, if that is Ubuntu.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ubuntu_codename: String,
    /// `DEBIAN_CODENAME`: codename of the parent distribution, if that is Debian.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub debian_codename: String,
    /// `PLATFORM_ID` without `platform:`: `el9`, `f43`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub platform: String,
    /// `/etc/debian_version`, otherwise `DEBIAN_VERSION_FULL`: Debian's point release (`12.11`),
    /// or `trixie/sid`. Derivatives can have that of their parent.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub debian_version: String,
}

impl OsRelease {
    /// Reads `/etc/os-release`, otherwise `/usr/lib/os-release`, otherwise older release files.
    ///
    /// If none identifies the distribution, the fields are empty and a warning is added.
    pub fn load(root: &Root, findings: &mut Findings) -> Self {
        let read = root.read(b"etc/os-release").or_else(|_| root.read(b"usr/lib/os-release"));
        let mut os = read.as_deref().map(parse).unwrap_or_default();
        if os.id.is_empty() {
            os = release_files::load(root).unwrap_or(os);
        }
        if let Ok(text) = root.read(b"etc/debian_version") {
            os.take_debian_version(&text);
        }
        if os.id.is_empty() {
            let text = match read {
                Err(cause) => format!("the distribution is not known: {cause}"),
                Ok(_) => "the distribution is not known: no ID".to_owned(),
            };
            findings.warning(findings::Kind::OsRelease, b"etc/os-release", text);
        }
        os
    }

    /// Applies `/etc/debian_version`, which contains the point release. Some images without a
    /// shell have no other release file.
    fn take_debian_version(&mut self, text: &[u8]) {
        let text = String::from_utf8_lossy(text);
        let version = text.trim().to_owned();
        let (codename, is_testing) = match version.split_once('/') {
            Some((codename, _)) => (codename, true),
            None => ("", false),
        };
        if self.id == "debian" && self.version_id.is_empty() && self.codename.is_empty() {
            match is_testing {
                true => self.codename = codename.to_ascii_lowercase(),
                false => self.version_id = version.clone(),
            }
        }
        self.debian_version = version;
    }

    /// Returns the name of the distribution for display; never empty.
    pub fn shown(&self) -> &str {
        let names = [&self.pretty_name, &self.name, &self.id];
        names.into_iter().find(|name| !name.is_empty()).map_or("this distribution", |name| name)
    }
}

/// Parses `os-release(5)`: lines `NAME=value`, with values quoted as in a shell. If a name occurs
/// more than once, its last value applies.
pub fn parse(text: &[u8]) -> OsRelease {
    let mut os = OsRelease::default();
    for (name, value) in assignments(text) {
        match name.as_str() {
            "ID" => os.id = value.to_ascii_lowercase(),
            "VERSION_ID" => os.version_id = value,
            "VERSION_CODENAME" => os.codename = value.to_ascii_lowercase(),
            "PRETTY_NAME" => os.pretty_name = value,
            "NAME" => os.name = value,
            "VERSION" => os.version = value,
            "ID_LIKE" => os.id_like = value.split_whitespace().map(str::to_ascii_lowercase).collect(),
            "UBUNTU_CODENAME" => os.ubuntu_codename = value.to_ascii_lowercase(),
            "DEBIAN_CODENAME" => os.debian_codename = value.to_ascii_lowercase(),
            "DEBIAN_VERSION_FULL" => os.debian_version = value,
            "PLATFORM_ID" => {
                os.platform = value.strip_prefix("platform:").unwrap_or_default().to_ascii_lowercase();
            }
            _ => {}
        }
    }
    if os.codename.is_empty() {
        os.codename = bracketed_word(&os.version);
    }
    os
}

/// Returns the assignments of a file such as `os-release(5)` or `lsb-release`, in order, with
/// values unquoted.
fn assignments(text: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(text);
    let pairs = text.lines().filter_map(|line| line.trim().split_once('='));
    pairs.map(|(name, value)| (name.trim_end().to_owned(), unquote(value.trim_start()))).collect()
}

/// Returns `wheezy` for `7 (wheezy)`: the codename on releases that have no field for it.
fn bracketed_word(version: &str) -> String {
    let inner = version.rsplit_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or_default();
    let is_word = !inner.is_empty() && inner.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_word { inner.to_ascii_lowercase() } else { String::new() }
}

/// Unquotes a value as a shell does; an unquoted space ends it. If a quote is not closed, returns
/// the value unchanged.
fn unquote(value: &str) -> String {
    let mut text = String::new();
    let mut quote = None;
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (None, ' ' | '\t') => break,
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), _) if character == open => quote = None,
            (None | Some('"'), '\\') => match characters.next() {
                Some(next) => {
                    if quote.is_some() && !"\"\\$`".contains(next) {
                        text.push('\\');
                    }
                    text.push(next);
                }
                None => text.push('\\'),
            },
            _ => text.push(character),
        }
    }
    if quote.is_some() { value.to_owned() } else { text }
}

#[cfg(test)]
#[path = "os_release_tests.rs"]
mod tests;
