//! The machine's repositories and their offers of the queried packages.

use super::cache::Cache;
use super::index::{Scanned, Target, targets};
use super::keyring::{Keyring, SignatureError};
use super::release::{MAX_SIZE, Release};
use super::scan::{Matches, PackageSet, Record};
use super::source::Source;
use super::{address, signed, snapshot_services, sources};
use crate::model::digest::Sha256;
use crate::model::findings::{self, Findings};
use crate::pkg::Pin;
use crate::system::root::Root;
use crate::transfer::net::{Client, Failure, Request};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const CLOSED: &str = "needs a password";

/// A package in a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryPackage {
    /// Index of the repository in [`Lists::repositories`].
    pub repository: usize,
    /// Path of the package file, relative to the repository's address.
    pub filename: String,
    /// Size of the file in bytes; 0 if the index does not state it.
    pub size: u64,
    /// Digest of the file, if the index has a SHA-256.
    pub sha256: Option<Sha256>,
}

/// Origin of the data about a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepositoryStatus {
    /// Queried in this run, with a verified signature.
    Current,
    /// apt's cached lists: not queried, or the response could not be used.
    Cached,
    /// Queried, but the server no longer has it.
    NotFound,
}

/// A source and its release file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// Source, as the machine has it configured.
    pub source: Source,
    /// Origin of the data.
    pub status: RepositoryStatus,
    /// Release file; empty if unknown.
    pub release: Release,
    /// Reason why a build cannot use it.
    pub unusable: Option<&'static str>,
}

/// Offers of all repositories.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lists {
    /// Whether any repository is known. If not, no package counts as missing.
    pub present: bool,
    /// Latest date of the release files in apt's cache, in seconds since 1970: the machine's last
    /// `apt-get update`.
    pub date: Option<i64>,
    /// Queried packages that a build can install.
    pub available: BTreeSet<Pin>,
    /// Repositories in apt's order.
    pub repositories: Vec<Repository>,
    /// Offers of each queried package, in the order of the repositories.
    pub offers: BTreeMap<Pin, Vec<RepositoryPackage>>,
    /// Names of queried packages that repositories with a snapshot service have in any version. A
    /// snapshot service never had packages with other names.
    pub kept_names: BTreeSet<String>,
    /// Whether all indexes of these repositories could be read.
    pub kept_names_are_all: bool,
}

impl Repository {
    /// Whether it is not the distribution's, as far as its release file is known.
    pub fn is_third_party(&self) -> bool {
        self.release != Release::default() && !self.release.is_of_distribution()
    }

    /// Returns the URL of an offered file.
    pub fn url(&self, offer: &RepositoryPackage) -> String {
        format!("{}{}", self.source.uri, address::quote_path(&offer.filename))
    }

    /// Whether a build can install packages from it.
    pub fn is_usable(&self) -> bool {
        self.unusable.is_none() && self.status != RepositoryStatus::NotFound
    }

    /// Returns the source for the build. If its release file has expired, the source accepts
    /// that.
    pub fn for_build(&self, now: i64) -> Source {
        let mut source = self.source.clone();
        if self.release.is_expired(now) && !source.may_be_expired() {
            source.set_option("Check-Valid-Until", "no");
        }
        source
    }
}

impl Lists {
    /// Returns the offers of a package that a build can use, in apt's order.
    pub fn usable<'a>(&'a self, pin: &Pin) -> impl Iterator<Item = (&'a Repository, &'a RepositoryPackage)> {
        let offers = self.offers.get(pin).into_iter().flatten();
        offers
            .map(|offer| (&self.repositories[offer.repository], offer))
            .filter(|(repository, _)| repository.is_usable())
    }

    /// Returns the reason why a build cannot install a package that is not available.
    pub fn why_missing(&self, pin: &Pin) -> String {
        let known = self.offers.get(pin).and_then(|offers| offers.first());
        match known.map(|offer| &self.repositories[offer.repository]) {
            None => "no repository has this version".to_owned(),
            Some(Repository { source, unusable: Some(why), .. }) => {
                format!("only {} has this version, which {why}", source.name())
            }
            Some(Repository { source, .. }) => {
                format!("only {} had this version, which is gone", source.name())
            }
        }
    }

    /// Returns the sources for apt in the build.
    pub fn for_build(&self, now: i64) -> Vec<Source> {
        let usable = self.repositories.iter().filter(|repository| repository.is_usable());
        usable.map(|repository| repository.for_build(now)).collect()
    }

    /// Whether a snapshot service may have the package.
    pub(super) fn may_be_kept(&self, pin: &Pin) -> bool {
        !self.kept_names_are_all || self.kept_names.contains(&pin.name)
    }

    /// Adds the offers of one repository.
    pub(super) fn add(&mut self, repository: Repository, records: Vec<Record>) {
        let index = self.repositories.len();
        let usable = repository.is_usable();
        for Record { pin, filename, size, sha256 } in records {
            if usable {
                self.available.insert(pin.clone());
            }
            let offers = self.offers.entry(pin).or_default();
            if offers.last().is_none_or(|offer| offer.repository != index) {
                offers.push(RepositoryPackage { repository: index, filename, size, sha256 });
            }
        }
        self.repositories.push(repository);
    }
}

/// A query to all repositories.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// Queried packages.
    pub pins: &'a BTreeSet<Pin>,
    /// Architectures of the machine, the native one first.
    pub architectures: &'a [String],
    /// Current time in seconds since 1970.
    pub now: i64,
}

/// Queries all sources of the machine. Without a client it reads apt's cached lists.
///
/// If a repository does not respond, or its response is not signed by its keys, the cached lists
/// are used, with a note. A source that a build cannot use is never queried.
/// is a note. A source that a build cannot use is never asked.
pub fn ask(root: &Root, query: &Query<'_>, client: Option<&Client>, findings: &mut Findings) -> Lists {
    let sources = sources::load(root, findings);
    if client.is_none() && !sources.is_empty() {
        let text = "repositories not queried; package availability is taken from apt's cached lists";
        findings.note(findings::Kind::PackageIndex, b"var/lib/apt/lists", text);
    }
    ask_sources(root, expanded(sources, query), query, client, findings)
}

/// Queries these sources as [`ask`] does.
pub(super) fn ask_sources(
    root: &Root,
    sources: Vec<Source>,
    query: &Query<'_>,
    client: Option<&Client>,
    findings: &mut Findings,
) -> Lists {
    let cache = Cache::open(root, findings);
    let asked = PackageSet::new(query.pins);
    let none = sources.is_empty();
    let source_query = SourceQuery { root, cache: &cache, query, asked: &asked };
    let answers: Vec<Answer> =
        sources.into_par_iter().map(|source| source_query.ask(source, client)).collect();
    // Without any source, it is certain that no package is offered.
    let mut lists =
        Lists { present: none, date: cache.newest(), kept_names_are_all: true, ..Lists::default() };
    for answer in answers {
        lists.take(answer, findings);
    }
    lists
}

/// Replaces apt's variable `$(ARCH)`, and resolves sources that name a snapshot.
fn expanded(mut sources: Vec<Source>, query: &Query<'_>) -> Vec<Source> {
    let own = query.architectures.first().map_or("", String::as_str);
    for source in &mut sources {
        source.uri = source.uri.replace("$(ARCH)", own);
        source.suite = source.suite.replace("$(ARCH)", own);
        snapshot_services::resolve(source);
    }
    sources
}

/// Common input of the query to each source.
pub(super) struct SourceQuery<'a> {
    pub(super) root: &'a Root,
    pub(super) cache: &'a Cache<'a>,
    pub(super) query: &'a Query<'a>,
    pub(super) asked: &'a PackageSet<'a>,
}

impl Lists {
    fn take(&mut self, answer: Answer, findings: &mut Findings) {
        let Answer { repository, scanned, findings: found } = answer;
        findings.extend(found);
        let present = scanned.iter().any(|part| part.present);
        let is_kept = repository.unusable.is_none()
            && snapshot_services::is_kept(&repository.source, &repository.release);
        self.kept_names_are_all &= present || !is_kept;
        self.present |= present || repository.status != RepositoryStatus::Cached;
        let mut records = Vec::new();
        for part in scanned {
            records.extend(part.found.records);
            self.kept_names.extend(part.found.names.into_iter().filter(|_| is_kept));
            part.notes
                .into_iter()
                .for_each(|(path, text)| findings.note(findings::Kind::PackageIndex, &path, text));
        }
        self.add(repository, records);
    }
}

struct Answer {
    repository: Repository,
    scanned: Vec<Scanned<Matches>>,
    findings: Findings,
}

impl SourceQuery<'_> {
    fn ask(&self, source: Source, client: Option<&Client>) -> Answer {
        let mut findings = Findings::default();
        let mut unusable = source.unusable();
        let speaks_http = source.uri.starts_with("http:") || source.uri.starts_with("https:");
        let client = client.filter(|_| unusable.is_none() && speaks_http);
        let answer = client.map(|client| (client, self.release(&source, client, &mut findings)));
        if let Some((client, Ok(release))) = answer {
            if release.is_expired(self.query.now) && !source.may_be_expired() {
                let text = format!("{}: its release file has expired; used anyway", source.name());
                findings.note(findings::Kind::PackageIndex, &source.file, text);
            }
            let scanned = self.scan(&source, &release, client);
            let repository = Repository { source, status: RepositoryStatus::Current, release, unusable };
            return Answer { repository, scanned, findings };
        }
        let mut status = RepositoryStatus::Cached;
        if let Some((_, Err(refused))) = &answer {
            match refused {
                NoRelease::Absent if !source.is_trusted() => status = RepositoryStatus::NotFound,
                NoRelease::Failed(Failure::Status { status: 401 | 403, .. }) => unusable = Some(CLOSED),
                // apt in the build verifies with the same keys, so it would refuse the source too.
                NoRelease::Unverified(refusal) => unusable = Some(refusal.of_source()),
                // A server that does not respond now can respond during the build.
                _ => {}
            }
            // A host that does not respond is reported once, not for each of its suites.
            let text = match refused {
                NoRelease::Unverified(_) => format!("{} cannot be used: {refused}", source.name()),
                _ if refused.is_of_host() => format!("using apt's cached lists for repositories: {refused}"),
                _ => format!("using apt's cached lists for {}: {refused}", source.name()),
            };
            findings.note(findings::Kind::PackageIndex, &source.file, text);
        }
        if unusable.is_none()
            && status == RepositoryStatus::Cached
            && let Some(refusal) = self.cached_refusal(&source, &mut findings)
        {
            unusable = Some(refusal.of_source());
            let text = format!("{} cannot be used: its cached release file is {refusal}", source.name());
            findings.note(findings::Kind::PackageIndex, &source.file, text);
        }
        let targets = targets(&source, self.query.architectures);
        let cached = |target: &Target| target.cached(self.cache, self.asked);
        let scanned = targets.par_iter().map(cached).collect();
        let release = self.cache.release(&source).unwrap_or_default();
        Answer { repository: Repository { source, status, release, unusable }, scanned, findings }
    }

    /// Verifies the cached release file again, because a key can have expired since apt fetched it.
    fn cached_refusal(&self, source: &Source, findings: &mut Findings) -> Option<SignatureError> {
        if source.is_trusted() {
            return None;
        }
        let keyring = Keyring::of(self.root, source, findings);
        self.cache.verify(source, &keyring, self.query.now).err()
    }

    /// Fetches and verifies the source's release file: `InRelease`, else `Release` with
    /// `Release.gpg`.
    pub(super) fn release(
        &self,
        source: &Source,
        client: &Client,
        findings: &mut Findings,
    ) -> Result<Release, NoRelease> {
        let keyring = Keyring::of(self.root, source, findings);
        let (directory, now) = (source.release_directory(), self.query.now);
        let get = |name: &str| client.get_bytes(&Request::new(&format!("{directory}{name}"), MAX_SIZE));
        let text = match get("InRelease") {
            Ok(message) if source.is_trusted() => signed::text(&message).ok_or(SignatureError::Malformed)?,
            Ok(message) => signed::open(&message, &keyring, now)?,
            Err(failure) if failure.is_absent() => {
                let text = get("Release")?;
                if !source.is_trusted() {
                    let signature = get("Release.gpg").map_err(|failure| match failure.is_absent() {
                        true => NoRelease::Unverified(SignatureError::UnknownKeys(Vec::new())),
                        false => NoRelease::Failed(failure),
                    })?;
                    signed::verify(&text, &signature, &keyring, now)?;
                }
                text
            }
            Err(failure) => return Err(failure.into()),
        };
        Ok(Release::parse(&text))
    }

    /// Scans the source's indexes that its release file lists.
    pub(super) fn scan(&self, source: &Source, release: &Release, client: &Client) -> Vec<Scanned<Matches>> {
        let targets = targets(source, self.query.architectures);
        targets.par_iter().map(|target| target.current(release, self.cache, client, self.asked)).collect()
    }
}

/// Reason why the release file cannot be used.
#[derive(Debug)]
pub(super) enum NoRelease {
    Absent,
    Failed(Failure),
    Unverified(SignatureError),
}

impl NoRelease {
    /// Whether the reason applies to all repositories of the host.
    pub(super) fn is_of_host(&self) -> bool {
        matches!(self, NoRelease::Failed(Failure::Offline { .. } | Failure::Tls { .. } | Failure::Budget))
    }
}

impl From<Failure> for NoRelease {
    fn from(failure: Failure) -> Self {
        if failure.is_absent() { NoRelease::Absent } else { NoRelease::Failed(failure) }
    }
}

impl From<SignatureError> for NoRelease {
    fn from(refusal: SignatureError) -> Self {
        NoRelease::Unverified(refusal)
    }
}

impl std::fmt::Display for NoRelease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NoRelease::Absent => f.write_str("no release file"),
            NoRelease::Failed(failure) => failure.fmt(f),
            NoRelease::Unverified(refusal) => refusal.fmt(f),
        }
    }
}
