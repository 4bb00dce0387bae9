//! One apt source of either format of sources.list(5).

use super::address::Address;
use std::collections::BTreeSet;

/// Maximum number of sources in a file.
pub(super) const MAX_SOURCES: usize = 1000;

/// Format of a source in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// `deb [options] uri suite components`.
    OneLine,
    /// A stanza of fields.
    Deb822,
}

/// A key that may sign the release file (`Signed-By`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signer {
    /// Keys in a file of the machine; an absolute path.
    File(String),
    /// Key with this hexadecimal fingerprint, among those that apt trusts for all sources.
    Fingerprint(String),
    /// Key itself, armored.
    Inline(String),
}

/// A list that replaces or changes the default (`arch=`, `arch+=`, `arch-=`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Replacement of the default, if not empty.
    pub only: Vec<String>,
    /// Additional elements.
    pub added: Vec<String>,
    /// Removed elements.
    pub removed: Vec<String>,
}

impl Selection {
    /// Applies the selection to `default`, in order.
    pub fn of(&self, default: &[String]) -> Vec<String> {
        let chosen = if self.only.is_empty() { default } else { &self.only };
        let mut seen = BTreeSet::new();
        let all = chosen.iter().chain(&self.added).filter(|name| !self.removed.contains(name));
        all.filter(|name| seen.insert(*name)).cloned().collect()
    }
}

/// Binary packages of one suite at one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// File that contains the source, relative to the root.
    pub file: Box<[u8]>,
    /// Format in that file.
    pub style: Style,
    /// Address with a final slash; without user and password.
    pub uri: String,
    /// Suite; the directory of a flat repository ends in a slash.
    pub suite: String,
    /// Components; none in a flat repository.
    pub components: Vec<String>,
    /// Selected architectures; by default all that dpkg has configured.
    pub architectures: Selection,
    /// Keys that may sign; if empty, all keys that apt trusts.
    pub signed_by: Vec<Signer>,
    /// Options of [`OPTIONS`] with the field's name and value, in the table's order.
    pub options: Vec<(&'static str, String)>,
    /// Whether it needs a password: one in the address, or one in apt_auth.conf(5).
    pub has_credentials: bool,
    /// Whether it is a CD-ROM or a directory of the machine.
    pub is_local: bool,
}

/// Options that affect whether apt uses a source: one-line name and field. Other options select
/// additional files.
pub const OPTIONS: [(&str, &str); 14] = [
    ("trusted", "Trusted"),
    ("allow-insecure", "Allow-Insecure"),
    ("allow-weak", "Allow-Weak"),
    ("allow-downgrade-to-insecure", "Allow-Downgrade-To-Insecure"),
    ("by-hash", "By-Hash"),
    ("check-valid-until", "Check-Valid-Until"),
    ("valid-until-min", "Valid-Until-Min"),
    ("valid-until-max", "Valid-Until-Max"),
    ("check-date", "Check-Date"),
    ("date-max-future", "Date-Max-Future"),
    ("inrelease-path", "InRelease-Path"),
    ("snapshot", "Snapshot"),
    ("include", "Include"),
    ("exclude", "Exclude"),
];

impl Source {
    /// Returns the value of an option by its field's name.
    pub fn option(&self, field: &str) -> Option<&str> {
        self.options.iter().find(|(name, _)| *name == field).map(|(_, value)| value.as_str())
    }

    /// Sets an option of [`OPTIONS`] by its field's name.
    pub fn set_option(&mut self, field: &'static str, value: &str) {
        self.options.retain(|(name, _)| *name != field);
        self.options.push((field, value.to_owned()));
        let place = |field: &str| OPTIONS.iter().position(|(_, name)| *name == field);
        self.options.sort_by_key(|(name, _)| place(name));
    }

    /// Whether apt uses it without a valid signature.
    pub fn is_trusted(&self) -> bool {
        self.option("Trusted").and_then(boolean) == Some(true)
    }

    /// Whether a release file past its `Valid-Until` is accepted.
    pub fn may_be_expired(&self) -> bool {
        self.option("Check-Valid-Until").and_then(boolean) == Some(false)
    }

    /// Whether `Packages` is in the same directory as the release file, without components.
    pub fn is_flat(&self) -> bool {
        self.suite.ends_with('/')
    }

    /// Returns the URL of the release file's directory.
    pub fn release_directory(&self) -> String {
        match self.is_flat() {
            true if self.suite == "/" => self.uri.clone(),
            true => format!("{}{}", self.uri, self.suite),
            false => format!("{}dists/{}/", self.uri, self.suite),
        }
    }

    /// Returns the reason why a build on another host cannot use it, or `None` if it can.
    pub fn unusable(&self) -> Option<&'static str> {
        let scheme = Address::parse(&self.uri).map_or("", |address| address.scheme);
        match scheme {
            _ if self.is_local => Some("is on this machine"),
            _ if self.has_credentials => Some("needs a password"),
            "http" | "https" | "ftp" | "mirror" | "mirror+http" | "mirror+https" => None,
            _ => Some("needs an apt method that the base image does not have"),
        }
    }

    /// Returns address and suite for messages.
    pub fn name(&self) -> String {
        format!("{} {}", self.uri, self.suite)
    }
}

/// Parses a boolean as apt's `StringToBool`.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "true" | "with" | "on" | "enable" | "1" => Some(true),
        "no" | "false" | "without" | "off" | "disable" | "0" => Some(false),
        _ => None,
    }
}

/// Parts of a source, common to both formats.
pub(super) struct Parts<'a> {
    pub(super) file: &'a [u8],
    pub(super) style: Style,
    pub(super) uri: String,
    pub(super) suite: String,
    pub(super) components: Vec<String>,
    pub(super) architectures: Selection,
    pub(super) signed_by: Vec<Signer>,
    pub(super) options: Vec<(&'static str, String)>,
}

impl Parts<'_> {
    /// Returns the source, or its problem.
    pub(super) fn source(self) -> Result<Source, &'static str> {
        let address = Address::parse(&self.uri).ok_or("address without a scheme")?;
        let shown = |text: &String| text.bytes().all(|byte| byte.is_ascii_graphic());
        let uri = address.plain();
        if !is_address(&uri) || !shown(&self.suite) || !self.components.iter().all(shown) {
            return Err("invalid characters in the address");
        }
        if address.path.contains("://") && address.path.contains('@') {
            return Err("address that contains another address, which may have a password");
        }
        if self.suite.ends_with('/') != self.components.is_empty() {
            return Err("suite without components, or directory with components");
        }
        Ok(Source {
            file: self.file.into(),
            style: self.style,
            uri,
            suite: self.suite,
            components: self.components,
            architectures: self.architectures,
            signed_by: self.signed_by,
            options: self.options,
            has_credentials: address.has_user,
            is_local: address.is_local(),
        })
    }
}

/// Whether the address is one word of a line: blanks only in brackets, as in `cdrom:[Debian
/// 12]/`. It must be checked on the address without password, because the password may have
/// contained a bracket.
fn is_address(text: &str) -> bool {
    let mut is_open = false;
    text.bytes().all(|byte| {
        is_open = (is_open || byte == b'[') && byte != b']';
        byte.is_ascii_graphic() || (byte == b' ' && is_open)
    })
}

/// Parses a path or a fingerprint of `Signed-By`. An exclamation mark after it means exactly that
/// subkey, which this implementation does not distinguish from its key.
pub(super) fn signer(word: &str) -> Option<Signer> {
    if word.starts_with('/') && !word.contains(char::is_control) {
        return Some(Signer::File(word.to_owned()));
    }
    let fingerprint = word.trim_end_matches('!');
    let fits = fingerprint.len() >= 16 && fingerprint.bytes().all(|byte| byte.is_ascii_hexdigit());
    fits.then(|| Signer::Fingerprint(fingerprint.to_ascii_uppercase()))
}

/// Returns the values that `,` or white space separates.
pub(super) fn words(text: &str) -> impl Iterator<Item = String> {
    text.split([',', ' ', '\t', '\n', '\r']).filter(|word| !word.is_empty()).map(str::to_owned)
}
