//! Complete indexes of the distribution's own repositories.

use super::cache::Cache;
use super::index::targets;
use super::lists::{Lists, Repository, RepositoryStatus};
use super::scan::Scan;
use crate::model::findings::{self, Findings};
use crate::system::root::Root;
use crate::transfer::net::Client;
use rayon::prelude::*;

/// Selection of indexes.
#[derive(Clone, Copy, Debug)]
pub struct Whole<'a> {
    /// Codename of the release, such as `bookworm`. Its updates and security updates are
    /// included.
    pub codename: &'a str,
    /// Component, such as `main`.
    pub component: &'a str,
    /// Debian's name of the architecture.
    pub architecture: &'a str,
}

impl Whole<'_> {
    /// Reads the indexes of the repositories that [`super::ask`] found. apt's cached indexes are
    /// used if they are current, else they are fetched. Without a client, cached indexes are used
    /// as they are.
    pub fn read<S: Scan>(
        &self,
        root: &Root,
        lists: &Lists,
        client: Option<&Client>,
        scan: &S,
        findings: &mut Findings,
    ) -> Vec<S::Output> {
        let cache = Cache::open(root, findings);
        let architectures = [self.architecture.to_owned()];
        let repositories = lists.repositories.iter().filter(|repository| self.includes(repository));
        let indexes: Vec<_> = repositories
            .flat_map(|repository| {
                targets(&repository.source, &architectures).into_iter().map(move |at| (repository, at))
            })
            .filter(|(_, target)| target.is_of(self.component))
            .collect();
        let read = |(repository, target): &(&Repository, super::index::Target)| match client {
            Some(client) if repository.status == RepositoryStatus::Current => {
                target.current(&repository.release, &cache, client, scan)
            }
            _ => target.cached(&cache, scan),
        };
        let scanned: Vec<_> = indexes.par_iter().map(read).collect();
        let mut found = Vec::new();
        for part in scanned {
            part.notes
                .into_iter()
                .for_each(|(path, text)| findings.note(findings::Kind::PackageIndex, &path, text));
            found.extend(part.present.then_some(part.found));
        }
        found
    }

    /// Images contain neither backports nor proposed updates, nor packages of other releases.
    fn includes(&self, repository: &Repository) -> bool {
        let Repository { source, release, .. } = repository;
        let name = release.codename.split(['-', '/']).next().unwrap_or_default();
        let is_extra = |suite: &str| suite.contains("backports") || suite.contains("proposed");
        !repository.is_third_party()
            && name == self.codename
            && ![&release.suite, &release.codename, &source.suite].into_iter().any(|suite| is_extra(suite))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pkg::dpkg::repository::release::Release;
    use crate::pkg::dpkg::repository::sources;

    #[test]
    fn includes_other_suites_are_rejected() {
        for (line, origin, suite, codename, expected) in [
            ("deb http://a.example.org/debian bookworm main", "Debian", "oldstable", "bookworm", true),
            (
                "deb http://a.example.org/debian oldstable-updates main",
                "Debian",
                "oldstable-updates",
                "bookworm-updates",
                true,
            ),
            (
                "deb http://a.example.org/s bookworm-security main",
                "Debian",
                "oldstable-security",
                "bookworm-security",
                true,
            ),
            (
                "deb http://a.example.org/debian bookworm-backports main",
                "Debian Backports",
                "x-backports",
                "bookworm-backports",
                false,
            ),
            (
                "deb http://a.example.org/debian bookworm-proposed-updates main",
                "Debian",
                "oldstable-proposed-updates",
                "bookworm-proposed-updates",
                false,
            ),
            ("deb http://a.example.org/debian sid main", "Debian", "unstable", "sid", false),
            ("deb http://a.example.org/debian bookworm main", "Example", "oldstable", "bookworm", false),
            (
                "deb http://a.example.org/ubuntu jammy-backports main",
                "Ubuntu",
                "jammy-backports",
                "bookworm",
                false,
            ),
        ] {
            let source = sources::parse(b"etc/apt/sources.list", line.as_bytes()).0.remove(0);
            let release = Release {
                origin: origin.to_owned(),
                suite: suite.to_owned(),
                codename: codename.to_owned(),
                ..Release::default()
            };
            let repository = Repository { source, status: RepositoryStatus::Cached, release, unusable: None };
            let whole = Whole { codename: "bookworm", component: "main", architecture: "amd64" };
            assert_eq!(whole.includes(&repository), expected, "{line}");
        }
    }
}
