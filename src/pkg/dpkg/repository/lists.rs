//! What the machine's archives offer of the packages asked for.

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

/// A package in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryPackage {
    /// Index into [`Lists::archives`].
    pub archive: usize,
    /// The package's file, relative to the archive's address.
    pub filename: String,
    /// Its length in bytes; 0 where the index does not say.
    pub size: u64,
    /// Its digest, where the index has this one.
    pub sha256: Option<Sha256>,
}

/// How an archive is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepositoryStatus {
    /// Asked now, its signature verified.
    Current,
    /// By apt's cached lists: it was not asked, or its answer could not be used.
    Cached,
    /// It was asked and is not there any more.
    NotFound,
}

/// A source and what its release file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// As the machine has it.
    pub source: Source,
    /// How it is known.
    pub standing: RepositoryStatus,
    /// The release file; an empty one where none is known.
    pub release: Release,
    /// Why a build cannot use it.
    pub unusable: Option<&'static str>,
}

/// What the archives offer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lists {
    /// Whether anything is known about any archive; without that nothing is known to be missing.
    pub present: bool,
    /// The newest date of the release files in apt's cache, in seconds since 1970: when the machine last asked.
    pub date: Option<i64>,
    /// Those asked for that a build can have.
    pub available: BTreeSet<Pin>,
    /// The archives in apt's order.
    pub archives: Vec<Repository>,
    /// Those asked for that any archive has, each with its archives in order.
    pub offers: BTreeMap<Pin, Vec<RepositoryPackage>>,
    /// Names of those asked for, if the archives whose earlier states somebody keeps have them in any version. What has
    /// none of these names never was there.
    pub kept_names: BTreeSet<String>,
    /// Whether all these archives' indexes could be read.
    pub kept_names_are_all: bool,
}

impl Repository {
    /// Whether somebody else than the distribution made it, as far as its release file is known.
    pub fn is_third_party(&self) -> bool {
        self.release != Release::default() && !self.release.is_of_distribution()
    }

    /// The address of an offered file.
    pub fn url(&self, offer: &RepositoryPackage) -> String {
        format!("{}{}", self.source.uri, address::quote_path(&offer.filename))
    }

    /// Whether a build can take packages from it.
    pub fn is_usable(&self) -> bool {
        self.unusable.is_none() && self.standing != RepositoryStatus::NotFound
    }

    /// The source as a build needs it: an archive whose release file has expired is asked for no other one.
    pub fn for_build(&self, now: i64) -> Source {
        let mut source = self.source.clone();
        if self.release.is_expired(now) && !source.may_be_expired() {
            source.set_option("Check-Valid-Until", "no");
        }
        source
    }
}

impl Lists {
    /// The offers of a package that a build can use, in apt's order.
    pub fn usable<'a>(&'a self, pin: &Pin) -> impl Iterator<Item = (&'a Repository, &'a RepositoryPackage)> {
        let offers = self.offers.get(pin).into_iter().flatten();
        offers.map(|offer| (&self.archives[offer.archive], offer)).filter(|(archive, _)| archive.is_usable())
    }

    /// Why a build cannot have a package that is not available.
    pub fn why_missing(&self, pin: &Pin) -> String {
        let known = self.offers.get(pin).and_then(|offers| offers.first());
        match known.map(|offer| &self.archives[offer.archive]) {
            None => "no archive has this version".to_owned(),
            Some(Repository { source, unusable: Some(why), .. }) => {
                format!("only {} has this version, which {why}", source.name())
            }
            Some(Repository { source, .. }) => {
                format!("only {} had this version, which is gone", source.name())
            }
        }
    }

    /// The sources that the build's apt is given.
    pub fn for_build(&self, now: i64) -> Vec<Source> {
        let usable = self.archives.iter().filter(|archive| archive.is_usable());
        usable.map(|archive| archive.for_build(now)).collect()
    }

    /// Whether the package may be among the earlier states that somebody keeps of an archive.
    pub(super) fn may_be_kept(&self, pin: &Pin) -> bool {
        !self.kept_names_are_all || self.kept_names.contains(&pin.name)
    }

    /// Takes over what one archive offers.
    pub(super) fn add(&mut self, archive: Repository, records: Vec<Record>) {
        let index = self.archives.len();
        let usable = archive.is_usable();
        for Record { pin, filename, size, sha256 } in records {
            if usable {
                self.available.insert(pin.clone());
            }
            let offers = self.offers.entry(pin).or_default();
            if offers.last().is_none_or(|offer| offer.archive != index) {
                offers.push(RepositoryPackage { archive: index, filename, size, sha256 });
            }
        }
        self.archives.push(archive);
    }
}

/// What is asked of the archives.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// The packages.
    pub pins: &'a BTreeSet<Pin>,
    /// The machine's architectures, its own first.
    pub architectures: &'a [String],
    /// The time, in seconds since 1970.
    pub now: i64,
}

/// Asks all sources of the machine, or looks into apt's cached lists where there is no client.
///
/// An archive that does not answer, or whose answer is not what its keys have signed, is known by the cached lists; that
/// is a note. A source that a build cannot use is never asked.
pub fn ask(root: &Root, question: &Query<'_>, client: Option<&Client>, findings: &mut Findings) -> Lists {
    let sources = sources::load(root, findings);
    if client.is_none() && !sources.is_empty() {
        let text = "the archives were not asked: what they offer is known by apt's lists alone";
        findings.note(findings::Kind::PackageIndex, b"var/lib/apt/lists", text);
    }
    ask_sources(root, expanded(sources, question), question, client, findings)
}

/// As [`ask`], for these sources.
pub(super) fn ask_sources(
    root: &Root,
    sources: Vec<Source>,
    question: &Query<'_>,
    client: Option<&Client>,
    findings: &mut Findings,
) -> Lists {
    let cache = Cache::open(root, findings);
    let asked = PackageSet::new(question.pins);
    let none = sources.is_empty();
    let inquiry = SourceQuery { root, cache: &cache, question, asked: &asked };
    let answers: Vec<Answer> = sources.into_par_iter().map(|source| inquiry.ask(source, client)).collect();
    // Without any source it is known that nothing is offered.
    let mut lists =
        Lists { present: none, date: cache.newest(), kept_names_are_all: true, ..Lists::default() };
    for answer in answers {
        lists.take(answer, findings);
    }
    lists
}

/// With apt's one variable filled in, and with the snapshot's own address where a source names one.
fn expanded(mut sources: Vec<Source>, question: &Query<'_>) -> Vec<Source> {
    let own = question.architectures.first().map_or("", String::as_str);
    for source in &mut sources {
        source.uri = source.uri.replace("$(ARCH)", own);
        source.suite = source.suite.replace("$(ARCH)", own);
        snapshot_services::resolve(source);
    }
    sources
}

/// What every source is asked.
pub(super) struct SourceQuery<'a> {
    pub(super) root: &'a Root,
    pub(super) cache: &'a Cache<'a>,
    pub(super) question: &'a Query<'a>,
    pub(super) asked: &'a PackageSet<'a>,
}

impl Lists {
    fn take(&mut self, answer: Answer, findings: &mut Findings) {
        let Answer { archive, scanned, findings: found } = answer;
        findings.extend(found);
        let present = scanned.iter().any(|part| part.present);
        let is_kept =
            archive.unusable.is_none() && snapshot_services::is_kept(&archive.source, &archive.release);
        self.kept_names_are_all &= present || !is_kept;
        self.present |= present || archive.standing != RepositoryStatus::Cached;
        let mut records = Vec::new();
        for part in scanned {
            records.extend(part.found.records);
            self.kept_names.extend(part.found.names.into_iter().filter(|_| is_kept));
            part.notes
                .into_iter()
                .for_each(|(path, text)| findings.note(findings::Kind::PackageIndex, &path, text));
        }
        self.add(archive, records);
    }
}

struct Answer {
    archive: Repository,
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
            if release.is_expired(self.question.now) && !source.may_be_expired() {
                let text = format!("{}: its release file has expired; used all the same", source.name());
                findings.note(findings::Kind::PackageIndex, &source.file, text);
            }
            let scanned = self.scan(&source, &release, client);
            let archive = Repository { source, standing: RepositoryStatus::Current, release, unusable };
            return Answer { archive, scanned, findings };
        }
        let mut standing = RepositoryStatus::Cached;
        if let Some((_, Err(refused))) = &answer {
            match refused {
                NoRelease::Absent if !source.is_trusted() => standing = RepositoryStatus::NotFound,
                NoRelease::Failed(Failure::Status { status: 401 | 403, .. }) => unusable = Some(CLOSED),
                _ => {}
            }
            // A host that is not there is named once for all its suites.
            let text = match refused.is_of_host() {
                true => format!("archives are known by apt's lists alone: {refused}"),
                false => format!("{} is known by apt's lists alone: {refused}", source.name()),
            };
            findings.note(findings::Kind::PackageIndex, &source.file, text);
        }
        let targets = targets(&source, self.question.architectures);
        let remembered = |target: &Target| target.remembered(self.cache, self.asked);
        let scanned = targets.par_iter().map(remembered).collect();
        let release = self.cache.release(&source).unwrap_or_default();
        Answer { archive: Repository { source, standing, release, unusable }, scanned, findings }
    }

    /// The source's release file, fetched and verified: `InRelease`, else `Release` with `Release.gpg`.
    pub(super) fn release(
        &self,
        source: &Source,
        client: &Client,
        findings: &mut Findings,
    ) -> Result<Release, NoRelease> {
        let keyring = Keyring::of(self.root, source, findings);
        let (directory, now) = (source.release_directory(), self.question.now);
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

    /// What the source's indexes have that its release file lists.
    pub(super) fn scan(&self, source: &Source, release: &Release, client: &Client) -> Vec<Scanned<Matches>> {
        let targets = targets(source, self.question.architectures);
        targets.par_iter().map(|target| target.current(release, self.cache, client, self.asked)).collect()
    }
}

/// Why there is no release file to go by.
#[derive(Debug)]
pub(super) enum NoRelease {
    Absent,
    Failed(Failure),
    Unverified(SignatureError),
}

impl NoRelease {
    /// Whether it is the same for everything else on that host.
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
            NoRelease::Absent => f.write_str("no release file is there"),
            NoRelease::Failed(failure) => failure.fmt(f),
            NoRelease::Unverified(refusal) => refusal.fmt(f),
        }
    }
}
