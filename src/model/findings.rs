//! Everything that was skipped, unstable, unreadable or withheld.
//!
//! A finding never ends the run; it is listed in `findings.jsonl` and decides
//! between exit codes 0 and 3.

use super::document::Schema;
use super::escape;
use serde::Serialize;

/// Whether the image lacks something that it should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something of the machine could not be read or kept: exit code 3.
    Loss,
    /// The result is complete, but worse than it could be: larger, less exact or less useful.
    Warning,
    /// Worth knowing; the image is what was asked for.
    Note,
}

macro_rules! kinds {
    ($($kind:ident $name:literal [$($severity:ident)+]: $meaning:literal;)+) => {
        /// The kind of a [`Finding`], for programs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
        #[cfg_attr(test, derive(schemars::JsonSchema))]
        pub enum Kind {
            $(#[doc = $meaning] #[serde(rename = $name)] $kind,)+
        }

        impl Kind {
            /// Every kind, by name.
            pub const ALL: &[Kind] = &[$(Kind::$kind),+];

            /// The name in JSON.
            pub fn name(self) -> &'static str {
                match self { $(Kind::$kind => $name),+ }
            }

            /// Returns a text that says what happened.
            pub fn meaning(self) -> &'static str {
                match self { $(Kind::$kind => $meaning),+ }
            }

            /// The severities that findings of this kind can have.
            pub fn severities(self) -> &'static [Severity] {
                match self { $(Kind::$kind => &[$(Severity::$severity),+]),+ }
            }
        }
    };
}

kinds! {
    Accounts "accounts" [Note]: "Names of users or groups are unknown; the numbers are used.";
    AptSource "apt-source" [Note]: "An apt source or its key cannot be used in the build.";
    Architecture "architecture" [Note]: "The architecture is unknown or differs from this binary's.";
    BaseImage "base-image" [Warning Note]: "The contents of the base image are not known exactly.";
    BasePackages "base-packages" [Note]: "Files of the base image's packages are unknown.";
    Changed "changed" [Loss Note]: "A file changed between the walk and the archive, or packages did.";
    Containers "containers" [Warning]: "Containers and volumes of an engine are not in the image.";
    Cron "cron" [Note]: "A line or file of cron is not understood or never run.";
    Dangling "dangling" [Note]: "A unit file is a link to a file that does not exist.";
    Disabled "disabled" [Note]: "A package enables this unit or module; it was disabled later.";
    Environment "environment" [Note]: "An environment file that a service needs does not exist.";
    ForeignRoot "foreign-root" [Warning]: "The root is not that of a machine: a container, WSL or no system.";
    Growing "growing" [Note]: "A file grew while it was read; the image has its first state.";
    Hardware "hardware" [Note]: "Memory, CPUs or limits are unknown.";
    Mount "mount" [Loss Note]: "A mounted file system is not part of the image.";
    Mounted "mounted" [Loss]: "A file system was mounted here during the walk.";
    Mounts "mounts" [Loss]: "The mount table cannot be read.";
    NameResolution "name-resolution" [Note]: "A line of /etc/hosts or resolv.conf is not in containers.";
    NestedRoot "nested-root" [Warning]: "A directory contains another root file system.";
    OsRelease "os-release" [Warning]: "The distribution is unknown.";
    PackageDatabase "package-database" [Loss Note]: "A part of the package database is not understood.";
    PackageIndex "package-index" [Warning Note]: "A package repository or its index cannot be used.";
    Processes "processes" [Loss Note]: "Processes cannot be read completely.";
    Regenerate "regenerate" [Note]: "A file is unique to each machine and is generated again.";
    Sockets "sockets" [Loss Note]: "Sockets cannot be read completely.";
    Sparse "sparse" [Warning]: "A file is much larger than the space that it takes on the disk.";
    Suspicious "suspicious" [Note]: "A file that is in the image may be a secret.";
    Swap "swap" [Note]: "Swap space is left out of the image.";
    Sysctl "sysctl" [Note]: "A kernel parameter is not understood.";
    Tmpfiles "tmpfiles" [Note]: "A line of tmpfiles.d(5) is not understood.";
    Unit "unit" [Loss Note]: "A unit or a setting of it is not understood or supported.";
    Unmounted "unmounted" [Loss Note]: "A file system of `fstab(5)` is not mounted, so its files are missing.";
    Unreadable "unreadable" [Loss Note]: "An object cannot be read.";
    Unrepresentable "unrepresentable" [Loss]: "An image layer cannot hold an object of this name or type.";
    Unstable "unstable" [Loss]: "An object kept changing while it was read.";
    Vanished "vanished" [Note]: "An object was removed during the run.";
    Withheld "withheld" [Note]: "A secret is left out of the image.";
}

/// One object and what happened to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "finding"))]
pub struct Finding {
    /// Relative to the root, as bytes; empty where the finding concerns no single path. In JSON
    /// absolute and escaped, or `null`.
    #[serde(serialize_with = "shown")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub path: Box<[u8]>,
    /// Decides the exit code.
    pub severity: Severity,
    /// For programs.
    pub kind: Kind,
    /// Description in English; never contains a file's content.
    pub text: String,
}

/// The findings of a run, in the order of discovery until [`Findings::sorted`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// Something of the machine is missing from the result.
    pub fn loss(&mut self, kind: Kind, path: &[u8], text: impl Into<String>) {
        self.push(Severity::Loss, kind, path, text.into());
    }

    /// The result is worse than it could be. The text says what it costs and what avoids it.
    pub fn warning(&mut self, kind: Kind, path: &[u8], text: impl Into<String>) {
        self.push(Severity::Warning, kind, path, text.into());
    }

    /// Something that people should know.
    pub fn note(&mut self, kind: Kind, path: &[u8], text: impl Into<String>) {
        self.push(Severity::Note, kind, path, text.into());
    }

    fn push(&mut self, severity: Severity, kind: Kind, path: &[u8], text: String) {
        debug_assert!(kind.severities().contains(&severity), "{kind:?} as {severity:?}");
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

impl Schema for Finding {
    const NAME: &'static str = "vm2docker-self/finding";
    const VERSION: u32 = 1;
}

/// The path as people write it; `null` where the finding concerns no single path.
fn shown<S: serde::Serializer>(path: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    (!path.is_empty()).then(|| escape::display(path)).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_all_are_sorted_and_kebab_case() {
        let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        assert!(names.is_sorted());
        let kebab = |kind: &Kind| {
            let mut name = format!("{kind:?}");
            let inner: Vec<usize> =
                name.match_indices(char::is_uppercase).map(|(at, _)| at).skip(1).collect();
            inner.iter().rev().for_each(|at| name.insert(*at, '-'));
            name.to_ascii_lowercase()
        };
        assert_eq!(Kind::ALL.iter().map(kebab).collect::<Vec<_>>(), names);
    }

    /// Returns the page that documents the kinds.
    fn reference() -> String {
        let mut page = String::from(
            "# Findings\n\nThe kinds of findings in `findings.jsonl` and in `--json`.\n\
             A `loss` means that the image lacks something (exit code 3).\n\
             A `warning` means that the result is complete, but larger or less exact than it could be.\n\
             This page is written by the test `reference_page_lists_every_kind`.\n\n\
             | kind | severity | meaning |\n|---|---|---|\n",
        );
        for kind in Kind::ALL {
            let severities: Vec<String> =
                kind.severities().iter().map(|severity| format!("{severity:?}").to_lowercase()).collect();
            page += &format!("| `{}` | {} | {} |\n", kind.name(), severities.join(", "), kind.meaning());
        }
        page
    }

    #[test]
    fn reference_page_lists_every_kind() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/findings.md");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, reference()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), reference(), "run this test with UPDATE=1");
    }
}
