//! One apt source, whichever format of `sources.list(5)` it is written in.

use super::address::Address;
use std::collections::BTreeSet;

/// A file with more sources than this is none.
pub(super) const MAX_SOURCES: usize = 1000;

/// How a source is written in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// `deb [options] uri suite components`.
    OneLine,
    /// A stanza of fields.
    Deb822,
}

/// Who may sign the release file (`Signed-By`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signer {
    /// The keys in a file of the machine; an absolute path.
    File(String),
    /// The key with this fingerprint, in hexadecimal, of those that apt trusts for everything.
    Fingerprint(String),
    /// The key itself, armored.
    Inline(String),
}

/// A list that may be given as a whole or as changes to the default (`arch=`, `arch+=`, `arch-=`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// These instead of the default, if there are any.
    pub only: Vec<String>,
    /// These, too.
    pub added: Vec<String>,
    /// Without these.
    pub removed: Vec<String>,
}

impl Selection {
    /// The selection from `default`, in order.
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
    /// The file that names it, relative to the root.
    pub file: Box<[u8]>,
    /// How it stands there.
    pub style: Style,
    /// The archive's address, with a slash at its end; a user or password that was written in it is not.
    pub uri: String,
    /// The suite; a directory of a flat archive ends in a slash.
    pub suite: String,
    /// Its components; none in a flat archive.
    pub components: Vec<String>,
    /// The architectures asked for; by default all that dpkg knows.
    pub architectures: Selection,
    /// Whose signature counts; without any, that of every key that apt trusts.
    pub signed_by: Vec<Signer>,
    /// The options that [`OPTIONS`] knows, with the field's name and value, in the table's order.
    pub options: Vec<(&'static str, String)>,
    /// Cannot be used without a password: one stands in the address, or `apt_auth.conf(5)` has one for it.
    pub has_credentials: bool,
    /// A medium or a directory of the machine.
    pub is_local: bool,
}

/// Options that decide whether apt uses a source: one-line name and field. The others choose what else is fetched.
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
    /// The value of an option by its field's name.
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

    /// Whether a release file past its `Valid-Until` counts.
    pub fn may_be_expired(&self) -> bool {
        self.option("Check-Valid-Until").and_then(boolean) == Some(false)
    }

    /// Whether `Packages` lies beside the release file, without components.
    pub fn is_flat(&self) -> bool {
        self.suite.ends_with('/')
    }

    /// The address of the directory that holds the release file.
    pub fn release_directory(&self) -> String {
        match self.is_flat() {
            true if self.suite == "/" => self.uri.clone(),
            true => format!("{}{}", self.uri, self.suite),
            false => format!("{}dists/{}/", self.uri, self.suite),
        }
    }

    /// Why a build elsewhere cannot use it, or `None` if it can.
    pub fn unusable(&self) -> Option<&'static str> {
        let scheme = Address::parse(&self.uri).map_or("", |address| address.scheme);
        match scheme {
            _ if self.is_local => Some("is on this machine"),
            _ if self.has_credentials => Some("needs a password"),
            "http" | "https" | "ftp" | "mirror" | "mirror+http" | "mirror+https" => None,
            _ => Some("needs an apt method that the base image does not have"),
        }
    }

    /// For people: address and suite.
    pub fn name(&self) -> String {
        format!("{} {}", self.uri, self.suite)
    }
}

/// apt's `StringToBool`, as far as it is one.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "true" | "with" | "on" | "enable" | "1" => Some(true),
        "no" | "false" | "without" | "off" | "disable" | "0" => Some(false),
        _ => None,
    }
}

/// What a source is made of, as both formats have it.
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
    /// The source, or what is wrong with it.
    pub(super) fn source(self) -> Result<Source, &'static str> {
        let address = Address::parse(&self.uri).ok_or("an address without a scheme")?;
        let shown = |text: &String| text.bytes().all(|byte| byte.is_ascii_graphic());
        let uri = address.plain();
        if !is_address(&uri) || !shown(&self.suite) || !self.components.iter().all(shown) {
            return Err("characters that no address has");
        }
        if address.path.contains("://") && address.path.contains('@') {
            return Err("an address with another one inside that may hold a password");
        }
        if self.suite.ends_with('/') != self.components.is_empty() {
            return Err("a suite without a component, or a directory with one");
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

/// Whether a line can have it as one word: blanks only in brackets, as in `cdrom:[Debian 12]/`. To be asked of what is written
/// again, since a password that goes may take a bracket with it.
fn is_address(text: &str) -> bool {
    let mut is_open = false;
    text.bytes().all(|byte| {
        is_open = (is_open || byte == b'[') && byte != b']';
        byte.is_ascii_graphic() || (byte == b' ' && is_open)
    })
}

/// A path or a fingerprint of `Signed-By`; an exclamation mark means that very subkey, which counts as the key here.
pub(super) fn signer(word: &str) -> Option<Signer> {
    if word.starts_with('/') && !word.contains(char::is_control) {
        return Some(Signer::File(word.to_owned()));
    }
    let fingerprint = word.trim_end_matches('!');
    let fits = fingerprint.len() >= 16 && fingerprint.bytes().all(|byte| byte.is_ascii_hexdigit());
    fits.then(|| Signer::Fingerprint(fingerprint.to_ascii_uppercase()))
}

/// Values with `,` or white space between them.
pub(super) fn words(text: &str) -> impl Iterator<Item = String> {
    text.split([',', ' ', '\t', '\n', '\r']).filter(|word| !word.is_empty()).map(str::to_owned)
}
