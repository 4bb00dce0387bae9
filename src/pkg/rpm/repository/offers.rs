//! The offers of all repositories.

use super::cache;
use super::config::Repository;
use super::metadata::{Query, Wanted};
use super::variables::Variables;
use crate::model::findings::{self, Findings};
use crate::pkg::Pin;
use crate::pkg::dpkg::repository::keyring::Keyring;
use crate::pkg::plan::{Availability, VersionSource};
use crate::system::root::Root;
use crate::transfer::net::Client;
use rayon::prelude::*;
use std::collections::BTreeSet;

/// Result of the query to a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::pkg::rpm) struct Answer {
    pub repository: Repository,
    /// Machine's packages that it offers.
    pub packages: BTreeSet<Pin>,
    /// Whether its metadata was fetched in this run.
    pub is_current: bool,
    /// Reason why a build cannot use it.
    pub refused: Option<String>,
}

/// Common input of the query to each repository.
pub(in crate::pkg::rpm) struct Machine<'a> {
    pub root: &'a Root,
    pub variables: &'a Variables,
    /// Keys that may sign metadata, by repository.
    pub keyring: &'a (dyn Fn(&Repository) -> Keyring + Sync),
    pub client: Option<&'a Client>,
    /// Current time in seconds since 1970.
    pub now: i64,
}

/// Queries all repositories for these packages.
///
/// A repository that a build cannot use is not queried. If one does not respond, or its response
/// is not valid, the build cannot use it: the packages that only it offers are carried. Without a
/// client, the metadata that the machine's tools have stored is used.
pub(in crate::pkg::rpm) fn query(
    machine: &Machine<'_>,
    repositories: Vec<Repository>,
    pins: &BTreeSet<Pin>,
    findings: &mut Findings,
) -> Vec<Answer> {
    let wanted = &Wanted::new(pins);
    let answers: Vec<Answer> =
        repositories.into_par_iter().map(|repository| ask(machine, repository, wanted)).collect();
    for Answer { repository, refused, .. } in &answers {
        if let Some(why) = refused {
            let text = format!(
                "repository {} {why}: packages that only it offers are included in the context",
                repository.id
            );
            findings.note(findings::Kind::PackageIndex, &repository.file, text);
        }
    }
    answers
}

fn ask(machine: &Machine<'_>, repository: Repository, wanted: &Wanted<'_>) -> Answer {
    let stored = |refused: Option<String>| {
        let packages = cache::packages(machine.root, &repository, wanted);
        let why = match &packages {
            Some(Err(why)) => Some(why.clone()),
            None if refused.is_none() => Some("was not queried and has no stored metadata".to_owned()),
            _ => None,
        };
        (packages.and_then(Result::ok).unwrap_or_default(), false, refused.or(why))
    };
    let (packages, is_current, refused) = match (repository.unusable, machine.client) {
        (Some(why), _) => stored(Some(why.to_owned())),
        (None, None) => stored(None),
        (None, Some(client)) => {
            let keyring = (machine.keyring)(&repository);
            let Machine { variables, now, .. } = *machine;
            let query = Query { client, variables, wanted, keyring: &keyring, now };
            match query.packages(&repository) {
                Ok(packages) => (packages, true, None),
                Err(why) => stored(Some(format!("cannot be used: {why}"))),
            }
        }
    };
    Answer { repository, packages, is_current, refused }
}

/// Returns the source of each package.
pub(in crate::pkg::rpm) fn availability(answers: &[Answer], pins: &BTreeSet<Pin>) -> Availability {
    let source = |pin: &Pin| {
        let mut offering = answers.iter().filter(|answer| answer.packages.contains(pin));
        let usable = offering.clone().filter(|answer| answer.refused.is_none());
        match usable.map(|answer| answer.is_current).max() {
            Some(true) => Ok(VersionSource::Repository),
            Some(false) => Ok(VersionSource::Unverified),
            None => Err(match offering.next() {
                None => "no repository has this version".to_owned(),
                Some(Answer { repository, refused, .. }) => format!(
                    "only repository {} has this version, which {}",
                    repository.id,
                    refused.as_deref().unwrap_or_default()
                ),
            }),
        }
    };
    pins.iter().map(|pin| (pin.clone(), source(pin))).collect()
}
