//! The packages of a base image whose database cannot be read: names, versions, and the source of
//! the list.

use crate::pkg::dpkg::{status, version};
use crate::pkg::{Catalog, Pin};

/// One package of a list as `dpkg-query -W` prints it. It has an architecture only if the name
/// alone is ambiguous (`${binary:Package}`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Name of the package.
    pub name: String,
    /// Architecture, if the list has it.
    pub architecture: Option<String>,
    /// Version.
    pub version: String,
}

/// The packages of a base image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageList {
    /// Packages by name and architecture, each once.
    pub packages: Vec<Pin>,
    /// Source of the list, for messages.
    pub source: String,
    /// Tag that always names the image with exactly these packages, for example
    /// `bookworm-20260824`.
    pub tag: Option<String>,
    /// Digest (`sha256:...`) of the registry's image index for exactly these packages.
    pub digest: Option<String>,
}

impl Listed {
    /// Parses `name[:architecture]` and a version. `None` if they do not match the grammar of
    /// Debian policy.
    pub fn parse(name: &str, version: &str) -> Option<Self> {
        let (name, architecture) = match name.split_once(':') {
            Some((name, architecture)) => (name, Some(architecture)),
            None => (name, None),
        };
        let is_architecture =
            |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let valid = status::is_valid_name(name.as_bytes())
            && architecture.is_none_or(is_architecture)
            && version::is_valid(version.as_bytes());
        let listed = || Listed {
            name: name.to_owned(),
            architecture: architecture.map(str::to_owned),
            version: version.to_owned(),
        };
        valid.then(listed)
    }
}

/// Returns the packages with their architectures. If the list has none, it is that of the
/// machine's package of this version, else of this name, else the machine's own.
pub fn complete(listed: Vec<Listed>, catalog: &Catalog) -> Vec<Pin> {
    let mut packages: Vec<Pin> = listed
        .into_iter()
        .map(|Listed { name, architecture, version }| {
            let architecture = architecture.unwrap_or_else(|| architecture_of(&name, &version, catalog));
            Pin { name, version, architecture }
        })
        .collect();
    packages.sort_by(|a, b| key(a).cmp(&key(b)));
    packages.dedup_by(|a, b| key(a) == key(b));
    packages
}

fn architecture_of(name: &str, version: &str, catalog: &Catalog) -> String {
    let native = catalog.architecture.as_str();
    let known =
        |architecture: &str| catalog.find(name, architecture).map(|id| &catalog[id]).filter(|p| p.installed);
    let candidates = [known("all"), known(native)];
    let same = candidates.iter().flatten().find(|package| package.version == version);
    let any = same.or_else(|| candidates.iter().flatten().next());
    any.map_or(native, |package| package.architecture.as_str()).to_owned()
}

fn key(pin: &Pin) -> (&str, &str) {
    (&pin.name, &pin.architecture)
}

/// Whether these are the packages of a system that can install others. An error page or a
/// truncated list is rejected by this test.
pub fn is_base_system<'a>(names: impl Iterator<Item = &'a str>) -> bool {
    const ALWAYS: [&str; 3] = ["base-files", "dpkg", "libc6"];
    let mut found = [false; ALWAYS.len()];
    for name in names {
        if let Some(at) = ALWAYS.iter().position(|always| *always == name) {
            found[at] = true;
        }
    }
    found == [true; ALWAYS.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pkg::dpkg::database;
    use crate::pkg::dpkg::status::parse_status;

    #[test]
    fn parse_names_and_versions_other_than_policy_are_rejected() {
        let parse = |name: &str, version: &str| {
            Listed::parse(name, version).map(|l| (l.name, l.architecture.unwrap_or_default(), l.version))
        };
        let listed = |name: &str, architecture: &str, version: &str| {
            Some((name.to_owned(), architecture.to_owned(), version.to_owned()))
        };
        assert_eq!(parse("libattr1:amd64", "1:2.5.1-4"), listed("libattr1", "amd64", "1:2.5.1-4"));
        assert_eq!(parse("apt", "2.6.1"), listed("apt", "", "2.6.1"));
        for (name, version) in [
            ("", "1"),
            ("apt", ""),
            ("apt:", "1"),
            ("Apt", "1"),
            ("apt", "1 2"),
            ("<html>", "1"),
            ("apt:a b", "1"),
        ] {
            assert_eq!(parse(name, version), None, "{name} {version}");
        }
    }

    #[test]
    fn complete_missing_architectures_are_taken_from_machine() {
        let stanza = |name: &str, version: &str, architecture: &str, state: &str| {
            format!(
                "Package: {name}\nStatus: install ok {state}\nVersion: {version}\nArchitecture: {architecture}\n\n"
            )
        };
        let status = [
            stanza("adduser", "3.134", "all", "installed"),
            stanza("apt", "2.6.1", "amd64", "installed"),
            stanza("gone", "1", "all", "config-files"),
            stanza("moved", "1", "all", "installed"),
            stanza("moved", "2", "amd64", "installed"),
        ];
        let packages = parse_status(status.concat().as_bytes()).0;
        let catalog = database::catalog(&packages, "amd64");
        for (name, version, architecture) in [
            ("adduser", "3.134", "all"),
            ("adduser", "3.135", "all"),
            ("apt", "2.6.1", "amd64"),
            ("gone", "1", "amd64"),
            ("moved", "1", "all"),
            ("moved", "2", "amd64"),
            ("unknown", "1", "amd64"),
            ("libc6:i386", "1", "i386"),
        ] {
            let listed = Listed::parse(name, version).unwrap();
            assert_eq!(complete(vec![listed], &catalog)[0].architecture, architecture, "{name} {version}");
        }
        let twice = vec![Listed::parse("apt", "2").unwrap(), Listed::parse("apt:amd64", "2").unwrap()];
        assert_eq!(complete(twice, &catalog).len(), 1);
    }

    #[test]
    fn is_base_system_truncated_list_returns_false() {
        assert!(is_base_system(["apt", "base-files", "dpkg", "libc6"].into_iter()));
        assert!(!is_base_system(["apt", "base-files", "dpkg"].into_iter()));
        assert!(!is_base_system([].into_iter()));
    }
}
