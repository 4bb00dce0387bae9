//! Packages that no repository has any more: repositories of ended releases, and snapshot
//! repositories.

use super::cache::Cache;
use super::date;
use super::lists::{Lists, NoRelease, Query, Repository, RepositoryStatus, SourceQuery};
use super::release::{Release, SNAPSHOT_ID};
use super::scan::{PackageSet, Record};
use super::snapshot_services::{SERVICES, SnapshotService, earlier, kind};
use super::source::Source;
use crate::model::findings::{self, Findings};
use crate::pkg::Pin;
use crate::system::root::{self, Root};
use crate::transfer::net::Client;
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::os::fd::AsFd;

const DAY: i64 = 86_400;
/// Delays after the machine's last change, in seconds, because a snapshot may contain that day's
/// packages only later.
const LATER: [i64; 3] = [0, DAY, 7 * DAY];
const INFO: &[u8] = b"var/lib/dpkg/info";

const NOT_SEARCHED: &str = "packages that no repository has any more were not searched";

/// Returns the time of the machine's last package change in seconds since 1970: the newest of
/// apt's release files and dpkg's lists of files.
pub fn last_change(root: &Root, lists: &Lists) -> Option<i64> {
    let names = root.list(INFO).unwrap_or_default();
    let directory = root.open_directory_exactly(INFO).ok();
    let files = names.iter().filter(|name| name.ends_with(b".list"));
    let times =
        files.filter_map(|name| Some(root::stat_at(directory.as_ref()?.as_fd(), name).ok()?.st_mtime));
    times.max().max(lists.date)
}

/// Searches the packages that `lists` does not have available, at the time `date` and shortly
/// after. Adds the repositories that have some of them. A repository that cannot be used is a
/// note. Packages whose names these repositories do not know are not searched.
pub fn search(
    root: &Root,
    lists: &mut Lists,
    query: &Query<'_>,
    date: i64,
    client: &Client,
    findings: &mut Findings,
) {
    search_services(&SERVICES, root, lists, query, date, client, findings);
}

/// Searches with these snapshot services.
pub(super) fn search_services(
    services: &[SnapshotService],
    root: &Root,
    lists: &mut Lists,
    query: &Query<'_>,
    date: i64,
    client: &Client,
    findings: &mut Findings,
) {
    let usable = lists.repositories.iter().filter(|repository| repository.unusable.is_none());
    let repositories: Vec<Repository> = usable.cloned().collect();
    let current = repositories.iter().filter(|repository| repository.status == RepositoryStatus::Current);
    let seen = current.map(|repository| state(&repository.source, &repository.release)).collect();
    let mut search = Search { root, query, client, seen };
    let gone = repositories.iter().filter(|repository| repository.status == RepositoryStatus::NotFound);
    let ended = gone.filter_map(|repository| {
        let service = service(services, repository)?;
        Some(vec![earlier(&repository.source, service.ended.to_owned())])
    });
    search.search_groups(lists, ended.collect(), findings);
    for time in LATER.map(|later| date + later).into_iter().filter(|time| *time <= query.now) {
        let stamp = date::stamp(time);
        let states = repositories.iter().map(|repository| {
            let addresses = addresses(services, repository, time).into_iter();
            addresses
                .map(|address| earlier(&repository.source, address.replace(SNAPSHOT_ID, &stamp)))
                .collect()
        });
        search.search_groups(lists, states.collect(), findings);
    }
}

fn addresses(services: &[SnapshotService], repository: &Repository, time: i64) -> Vec<String> {
    if let Some(snapshots) = &repository.release.snapshots {
        return vec![snapshots.clone()];
    }
    let states =
        service(services, repository).filter(|service| time >= service.since).map(|service| service.states);
    states.unwrap_or_default().iter().map(|&address| address.to_owned()).collect()
}

fn service<'a>(services: &'a [SnapshotService], repository: &Repository) -> Option<&'a SnapshotService> {
    let kind = kind(&repository.source, &repository.release)?;
    services.iter().find(|service| service.kind == kind)
}

/// Suite, components and label of a release file with its date. The same state is not fetched
/// twice.
type State = (String, Vec<String>, String, Option<i64>);

fn state(source: &Source, release: &Release) -> State {
    (source.suite.clone(), source.components.clone(), release.label.clone(), release.date)
}

struct Search<'a> {
    root: &'a Root,
    query: &'a Query<'a>,
    client: &'a Client,
    seen: Vec<State>,
}

/// Result of one source: the repository if it was searched, and its packages.
type Outcome = Option<(Repository, Vec<Record>)>;

impl Search<'_> {
    /// Queries one source of each group (the next one if it does not exist), and adds those that
    /// have a missing package.
    fn search_groups(&mut self, lists: &mut Lists, groups: Vec<Vec<Source>>, findings: &mut Findings) {
        let missing: BTreeSet<Pin> = self.query.pins.difference(&lists.available).cloned().collect();
        // Snapshot services do not have third-party packages, so these cause no requests.
        if !missing.iter().any(|pin| lists.may_be_kept(pin)) {
            return;
        }
        let (asked, query) = (PackageSet::new(&missing), Query { pins: &missing, ..*self.query });
        let cache = Cache::open(self.root, findings);
        let source_query = SourceQuery { root: self.root, cache: &cache, query: &query, asked: &asked };
        let ask = |group: Vec<Source>| self.ask(group, &source_query);
        let outcomes: Vec<(Outcome, Findings)> = groups.into_par_iter().map(ask).collect();
        for (outcome, found) in outcomes {
            findings.extend(found);
            let Some((repository, records)) = outcome else { continue };
            self.seen.push(state(&repository.source, &repository.release));
            if !records.is_empty() {
                lists.add(repository, records);
            }
        }
    }

    fn ask(&self, group: Vec<Source>, source_query: &SourceQuery<'_>) -> (Outcome, Findings) {
        let mut findings = Findings::default();
        for source in group {
            match source_query.release(&source, self.client, &mut findings) {
                Ok(release) if self.seen.contains(&state(&source, &release)) => break,
                Ok(release) => {
                    let scanned = source_query.scan(&source, &release, self.client);
                    let notes = scanned.iter().flat_map(|part| &part.notes);
                    notes.for_each(|(path, text)| {
                        findings.note(findings::Kind::PackageIndex, path, text.as_str())
                    });
                    let records = scanned.into_iter().flat_map(|part| part.found.records).collect();
                    let repository =
                        Repository { source, status: RepositoryStatus::Current, release, unusable: None };
                    return (Some((repository, records)), findings);
                }
                Err(NoRelease::Absent) => {}
                Err(refused) => {
                    // A host that does not respond is reported once, not for each of its suites.
                    let text = match refused.is_of_host() {
                        true => format!("{NOT_SEARCHED}: {refused}"),
                        false => format!("{NOT_SEARCHED} in {}: {refused}", source.name()),
                    };
                    findings.note(findings::Kind::PackageIndex, b"", text);
                    break;
                }
            }
        }
        (None, findings)
    }
}
