//! The machine's apt sources: sources.list(5), both formats.

use super::address::Address;
use super::source::Source;
use super::{deb822_sources, one_line_sources};
use crate::model::findings::{self, Findings};
use crate::model::problem::Problem;
use crate::system::root::Root;
use std::io::ErrorKind::NotFound;

const LIST: &[u8] = b"etc/apt/sources.list";
const PARTS: &[u8] = b"etc/apt/sources.list.d";

/// Returns all enabled sources of binary packages in apt's order: `sources.list`, then the parts
/// by name.
///
/// A file that cannot be read is a loss, an invalid line or stanza a note.
pub fn load(root: &Root, findings: &mut Findings) -> Vec<Source> {
    let auth = read_auth(root);
    let mut sources = Vec::new();
    for path in files(root) {
        let content = match root.read(&path) {
            Ok(content) => content,
            Err(cause) if cause.kind() == NotFound => continue,
            Err(cause) => {
                findings.loss(
                    findings::Kind::Unreadable,
                    &path,
                    format!("apt source, not used in the build: {cause}"),
                );
                continue;
            }
        };
        let (mut found, problems) = parse(&path, &content);
        problems
            .iter()
            .for_each(|problem| findings.note(findings::Kind::AptSource, &path, problem.to_string()));
        for source in &mut found {
            let address = Address::parse(&source.uri);
            source.has_credentials |= address.is_some_and(|address| address.is_in_auth(&auth));
        }
        sources.extend(found);
    }
    sources
}

/// Parses the sources of one file; its name determines the format.
pub fn parse(path: &[u8], content: &[u8]) -> (Vec<Source>, Vec<Problem>) {
    match path.ends_with(b".sources") {
        true => deb822_sources::parse(path, content),
        false => one_line_sources::parse(path, content),
    }
}

/// Returns the paths of the files that may contain sources, even if they do not exist.
fn files(root: &Root) -> Vec<Vec<u8>> {
    let names = root.list(PARTS).unwrap_or_default();
    let parts = names.iter().filter(|name| is_part(name));
    let parts = parts.map(|name| [PARTS, b"/", name].concat());
    [LIST.to_vec()].into_iter().chain(parts).collect()
}

/// Whether apt accepts the name in its directories (`GetListOfFilesInDir`).
fn is_part(name: &[u8]) -> bool {
    name[0] != b'.'
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-:".contains(byte))
        && (name.ends_with(b".list") || name.ends_with(b".sources"))
}

/// Reads `auth.conf` and its parts (apt_auth.conf(5)).
fn read_auth(root: &Root) -> Vec<u8> {
    let names = root.list(b"etc/apt/auth.conf.d").unwrap_or_default();
    let parts = names.iter().filter(|name| name.ends_with(b".conf"));
    let parts = parts.map(|name| [b"etc/apt/auth.conf.d/", &name[..]].concat());
    let contents = parts.chain([b"etc/apt/auth.conf".to_vec()]).filter_map(|path| root.read(&path).ok());
    contents.collect::<Vec<_>>().join(&b'\n')
}

/// Returns the source files that contain a password, also in comments; they must not get into the
/// image.
pub fn with_passwords(root: &Root) -> Vec<Vec<u8>> {
    let names = root.list(PARTS).unwrap_or_default();
    let parts = names.iter().map(|name| [PARTS, b"/", name].concat());
    let all = parts.chain([LIST.to_vec()]);
    all.filter(|path| root.read(path).is_ok_and(|content| holds_password(&content))).collect()
}

/// Whether an address contains `user:password@`.
fn holds_password(content: &[u8]) -> bool {
    content.split(|byte| byte.is_ascii_whitespace()).any(|word| {
        memchr::memmem::find(word, b"://").is_some_and(|at| {
            let authority = word[at + 3..].split(|&byte| byte == b'/').next().unwrap_or_default();
            authority.contains(&b'@')
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pkg::dpkg::repository::source::{Selection, words};
    use proptest::prelude::*;

    #[test]
    fn load_returns_sources_in_order_of_apt_with_passwords_marked() {
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
    fn holds_password_user_in_address_returns_true() {
        assert!(holds_password(b"deb https://user:pw@example.org/debian stable main"));
        assert!(holds_password(b"Types: deb\nURIs: https://token@example.org/x\n"));
        assert!(!holds_password(b"deb https://example.org/debian@2 stable main # me@example.org"));
    }

    #[test]
    fn parse_password_with_bracket_is_a_problem() {
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
    fn selection_replaces_or_changes_default() {
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
        fn parse_any_bytes_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for name in [&b"x.list"[..], b"x.sources"] {
                let _ = parse(name, &bytes);
                let _ = parse(name, &[b"deb [".as_slice(), &bytes].concat());
                let _ = parse(name, &[b"Types: deb\nURIs: http://x\nSuites: ".as_slice(), &bytes].concat());
            }
        }
    }
}
