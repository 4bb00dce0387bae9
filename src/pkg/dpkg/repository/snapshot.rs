//! What no archive has any more: archives of releases that have ended, and those that keep every earlier state.

use super::cache::Cache;
use super::date;
use super::lists::{Lists, NoRelease, Query, Repository, RepositoryStatus, SourceQuery};
use super::release::{Release, SNAPSHOT_ID};
use super::scan::{PackageSet, Record};
use super::snapshot_services::{KEEPERS, SnapshotService, earlier, kind};
use super::source::Source;
use crate::model::findings::{self, Findings};
use crate::pkg::Pin;
use crate::system::root::{self, Root};
use crate::transfer::net::Client;
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::os::fd::AsFd;

const DAY: i64 = 86_400;
/// After the machine's last change: what was built that day may have reached the archive only later.
const LATER: [i64; 3] = [0, DAY, 7 * DAY];
const INFO: &[u8] = b"var/lib/dpkg/info";

const UNSOUGHT: &str = "packages that no archive has any more were not looked for";

/// When the machine last changed as far as packages go: the newest of apt's release files and of dpkg's lists of files.
pub fn last_change(root: &Root, lists: &Lists) -> Option<i64> {
    let names = root.list(INFO).unwrap_or_default();
    let directory = root.open_directory_exactly(INFO).ok();
    let files = names.iter().filter(|name| name.ends_with(b".list"));
    let times =
        files.filter_map(|name| Some(root::stat_at(directory.as_ref()?.as_fd(), name).ok()?.st_mtime));
    times.max().max(lists.date)
}

/// Looks for the packages that `lists` does not have available, at the time `date` and shortly after, and adds the
/// archives that have some of them. An archive that cannot be used is a note. Nobody is asked for packages whose very
/// names these archives do not know.
pub fn search(
    root: &Root,
    lists: &mut Lists,
    question: &Query<'_>,
    date: i64,
    client: &Client,
    findings: &mut Findings,
) {
    search_keepers(&KEEPERS, root, lists, question, date, client, findings);
}

/// As [`search`], with these keepers.
pub(super) fn search_keepers(
    keepers: &[SnapshotService],
    root: &Root,
    lists: &mut Lists,
    question: &Query<'_>,
    date: i64,
    client: &Client,
    findings: &mut Findings,
) {
    let usable = lists.archives.iter().filter(|archive| archive.unusable.is_none());
    let archives: Vec<Repository> = usable.cloned().collect();
    let current = archives.iter().filter(|archive| archive.standing == RepositoryStatus::Current);
    let seen = current.map(|archive| state(&archive.source, &archive.release)).collect();
    let mut search = Search { root, question, client, seen };
    let gone = archives.iter().filter(|archive| archive.standing == RepositoryStatus::NotFound);
    let ended = gone.filter_map(|archive| {
        let keeper = keeper(keepers, archive)?;
        Some(vec![earlier(&archive.source, keeper.ended.to_owned())])
    });
    search.rung(lists, ended.collect(), findings);
    for time in LATER.map(|later| date + later).into_iter().filter(|time| *time <= question.now) {
        let stamp = date::stamp(time);
        let states = archives.iter().map(|archive| {
            let addresses = addresses(keepers, archive, time).into_iter();
            addresses.map(|address| earlier(&archive.source, address.replace(SNAPSHOT_ID, &stamp))).collect()
        });
        search.rung(lists, states.collect(), findings);
    }
}

fn addresses(keepers: &[SnapshotService], archive: &Repository, time: i64) -> Vec<String> {
    if let Some(snapshots) = &archive.release.snapshots {
        return vec![snapshots.clone()];
    }
    let states = keeper(keepers, archive).filter(|keeper| time >= keeper.since).map(|keeper| keeper.states);
    states.unwrap_or_default().iter().map(|&address| address.to_owned()).collect()
}

fn keeper<'a>(keepers: &'a [SnapshotService], archive: &Repository) -> Option<&'a SnapshotService> {
    let kind = kind(&archive.source, &archive.release)?;
    keepers.iter().find(|keeper| keeper.kind == kind)
}

/// Suite and components of a release file with its date: what was looked through once is not fetched again.
type State = (String, Vec<String>, String, Option<i64>);

fn state(source: &Source, release: &Release) -> State {
    (source.suite.clone(), source.components.clone(), release.label.clone(), release.date)
}

struct Search<'a> {
    root: &'a Root,
    question: &'a Query<'a>,
    client: &'a Client,
    seen: Vec<State>,
}

/// What came of one source: the archive if it was looked through, and what it has.
type Outcome = Option<(Repository, Vec<Record>)>;

impl Search<'_> {
    /// Asks one source of each group (the next one where there is none), and adds those that have something missing.
    fn rung(&mut self, lists: &mut Lists, groups: Vec<Vec<Source>>, findings: &mut Findings) {
        let missing: BTreeSet<Pin> = self.question.pins.difference(&lists.available).cloned().collect();
        // Other people's packages are not worth the while: those who keep earlier states serve many.
        if !missing.iter().any(|pin| lists.may_be_kept(pin)) {
            return;
        }
        let (asked, question) = (PackageSet::new(&missing), Query { pins: &missing, ..*self.question });
        let cache = Cache::open(self.root, findings);
        let inquiry = SourceQuery { root: self.root, cache: &cache, question: &question, asked: &asked };
        let ask = |group: Vec<Source>| self.ask(group, &inquiry);
        let outcomes: Vec<(Outcome, Findings)> = groups.into_par_iter().map(ask).collect();
        for (outcome, found) in outcomes {
            findings.extend(found);
            let Some((archive, records)) = outcome else { continue };
            self.seen.push(state(&archive.source, &archive.release));
            if !records.is_empty() {
                lists.add(archive, records);
            }
        }
    }

    fn ask(&self, group: Vec<Source>, inquiry: &SourceQuery<'_>) -> (Outcome, Findings) {
        let mut findings = Findings::default();
        for source in group {
            match inquiry.release(&source, self.client, &mut findings) {
                Ok(release) if self.seen.contains(&state(&source, &release)) => break,
                Ok(release) => {
                    let scanned = inquiry.scan(&source, &release, self.client);
                    let notes = scanned.iter().flat_map(|part| &part.notes);
                    notes.for_each(|(path, text)| {
                        findings.note(findings::Kind::PackageIndex, path, text.as_str())
                    });
                    let records = scanned.into_iter().flat_map(|part| part.found.records).collect();
                    let archive =
                        Repository { source, standing: RepositoryStatus::Current, release, unusable: None };
                    return (Some((archive, records)), findings);
                }
                Err(NoRelease::Absent) => {}
                Err(refused) => {
                    // A host that is not there is named once for all its suites.
                    let text = match refused.is_of_host() {
                        true => format!("{UNSOUGHT}: {refused}"),
                        false => format!("{UNSOUGHT} in {}: {refused}", source.name()),
                    };
                    findings.note(findings::Kind::PackageIndex, b"", text);
                    break;
                }
            }
        }
        (None, findings)
    }
}
