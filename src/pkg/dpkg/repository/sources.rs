//! The machine's apt sources: `sources.list(5)`, both formats.

use super::address::Address;
use super::{deb822_sources, one_line_sources};
use crate::model::findings::Findings;
use crate::model::problem::Problem;
use crate::system::root::Root;
use std::collections::BTreeSet;
use std::io::ErrorKind::NotFound;

/// The kind of the findings about sources.
pub(super) const KIND: &str = "apt-source";
const LIST: &[u8] = b"etc/apt/sources.list";
const PARTS: &[u8] = b"etc/apt/sources.list.d";
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

/// All sources of binary packages that are switched on, in apt's order: `sources.list`, then the parts by name.
///
/// A file that cannot be read is a loss, a line or stanza that says nothing a note.
pub fn load(root: &Root, findings: &mut Findings) -> Vec<Source> {
    let auth = read_auth(root);
    let mut sources = Vec::new();
    for path in files(root) {
        let content = match root.read(&path) {
            Ok(content) => content,
            Err(cause) if cause.kind() == NotFound => continue,
            Err(cause) => {
                findings.loss("unreadable", &path, format!("apt source, not used in the build: {cause}"));
                continue;
            }
        };
        let (mut found, problems) = parse(&path, &content);
        problems.iter().for_each(|problem| findings.note(KIND, &path, problem.to_string()));
        for source in &mut found {
            let address = Address::parse(&source.uri);
            source.has_credentials |= address.is_some_and(|address| address.is_in_auth(&auth));
        }
        sources.extend(found);
    }
    sources
}

/// The sources of one file; its name decides the format.
pub fn parse(path: &[u8], content: &[u8]) -> (Vec<Source>, Vec<Problem>) {
    match path.ends_with(b".sources") {
        true => deb822_sources::parse(path, content),
        false => one_line_sources::parse(path, content),
    }
}

/// The files that apt reads sources from, whether they exist or not.
fn files(root: &Root) -> Vec<Vec<u8>> {
    let names = root.list(PARTS).unwrap_or_default();
    let parts = names.iter().filter(|name| is_part(name));
    let parts = parts.map(|name| [PARTS, b"/", name].concat());
    [LIST.to_vec()].into_iter().chain(parts).collect()
}

/// Names that apt accepts in its directories (`GetListOfFilesInDir`).
fn is_part(name: &[u8]) -> bool {
    name[0] != b'.'
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-:".contains(byte))
        && (name.ends_with(b".list") || name.ends_with(b".sources"))
}

/// `auth.conf` and its parts (`apt_auth.conf(5)`).
fn read_auth(root: &Root) -> Vec<u8> {
    let names = root.list(b"etc/apt/auth.conf.d").unwrap_or_default();
    let parts = names.iter().filter(|name| name.ends_with(b".conf"));
    let parts = parts.map(|name| [b"etc/apt/auth.conf.d/", &name[..]].concat());
    let contents = parts.chain([b"etc/apt/auth.conf".to_vec()]).filter_map(|path| root.read(&path).ok());
    contents.collect::<Vec<_>>().join(&b'\n')
}

/// The files among the apt sources that hold a password, in a comment, too: not for the image.
pub fn with_passwords(root: &Root) -> Vec<Vec<u8>> {
    let names = root.list(PARTS).unwrap_or_default();
    let parts = names.iter().map(|name| [PARTS, b"/", name].concat());
    let all = parts.chain([LIST.to_vec()]);
    all.filter(|path| root.read(path).is_ok_and(|content| holds_password(&content))).collect()
}

/// `user:password@` in an address.
fn holds_password(content: &[u8]) -> bool {
    content.split(|byte| byte.is_ascii_whitespace()).any(|word| {
        memchr::memmem::find(word, b"://").is_some_and(|at| {
            let authority = word[at + 3..].split(|&byte| byte == b'/').next().unwrap_or_default();
            authority.contains(&b'@')
        })
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn all_files_are_read_in_apts_order_and_passwords_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        assert!(load(&root, &mut Findings::default()).is_empty());
        for (path, text) in [
            ("etc/apt/sources.list", "deb http://a.example/debian bookworm main\nnonsense\n"),
            ("etc/apt/sources.list.d/b.list", "deb https://b.example/x ./\ndeb https://u:p@c.example/x ./"),
            ("etc/apt/sources.list.d/a.sources", "Types: deb\nURIs: https://d.example/x\nSuites: y/\n"),
            ("etc/apt/sources.list.d/c.list.save", "deb http://not.example/debian bookworm main\n"),
            ("etc/apt/sources.list.d/d.list.save", "# deb http://u:p@not.example/debian bookworm main\n"),
            ("etc/apt/auth.conf.d/x.conf", "machine d.example\nlogin x password y"),
        ] {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let mut findings = Findings::default();
        let sources = load(&root, &mut findings);
        let seen: Vec<_> = sources.iter().map(|source| (source.uri.as_str(), source.unusable())).collect();
        let expected = [
            ("http://a.example/debian/", None),
            ("https://d.example/x/", Some("needs a password")),
            ("https://b.example/x/", None),
            ("https://c.example/x/", Some("needs a password")),
        ];
        assert_eq!(seen, expected);
        assert_eq!((findings.sorted().len(), findings.losses()), (1, 0));
        let passwords = ["etc/apt/sources.list.d/b.list", "etc/apt/sources.list.d/d.list.save"];
        assert_eq!(with_passwords(&root), passwords.map(|path| path.as_bytes().to_vec()));
    }

    #[test]
    fn passwords_in_addresses_are_seen() {
        assert!(holds_password(b"deb https://user:pw@example.org/debian stable main"));
        assert!(holds_password(b"Types: deb\nURIs: https://token@example.org/x\n"));
        assert!(!holds_password(b"deb https://example.org/debian@2 stable main # me@example.org"));
    }

    #[test]
    fn an_address_that_loses_a_bracket_with_its_password_is_refused() {
        for (line, uris) in [
            ("deb cdrom:[Debian 12]/ bookworm main", &["cdrom:[Debian 12]/"][..]),
            ("deb http://u:p@[::1]/x bookworm main", &["http://[::1]/x/"]),
            ("deb http://u:p@e:[a@b c] http://example.org/x bookworm main", &[]),
        ] {
            let (sources, problems) = parse(b"etc/apt/sources.list", line.as_bytes());
            assert_eq!(sources.iter().map(|source| &*source.uri).collect::<Vec<_>>(), uris, "{line}");
            assert_eq!(problems.is_empty(), !uris.is_empty(), "{line}");
        }
    }

    #[test]
    fn lists_are_given_as_a_whole_or_as_changes() {
        let words = |text: &str| words(text).collect::<Vec<_>>();
        let choice = |only, added, removed| {
            let selection = Selection { only: words(only), added: words(added), removed: words(removed) };
            selection.of(&words("amd64 i386")).join(" ")
        };
        assert_eq!(choice("", "", ""), "amd64 i386");
        assert_eq!(choice("arm64", "", ""), "arm64");
        assert_eq!(choice("", "armel,amd64", "i386"), "amd64 armel");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for name in [&b"x.list"[..], b"x.sources"] {
                let _ = parse(name, &bytes);
                let _ = parse(name, &[b"deb [".as_slice(), &bytes].concat());
                let _ = parse(name, &[b"Types: deb\nURIs: http://x\nSuites: ".as_slice(), &bytes].concat());
            }
        }
    }
}
