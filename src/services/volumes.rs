//! Directories that outlive containers or that several of them share. Pure.

use super::connections::{Connection, Need};
use super::data;
use super::draft::Draft;
use super::model::{Mount, Name, Purpose, Service, Volume};
use super::service_files::{ServiceFiles, relative};
use crate::model::tree::{self, Kind};
use std::collections::{BTreeMap, BTreeSet};

/// Volumes on their way: by path, what for, why, and which services have them.
type Wanted = BTreeMap<Vec<u8>, (Purpose, String, BTreeSet<usize>)>;

/// Volumes of live data, of data, of what a read-only root has to have writable, and those where services meet; each
/// service gets its mounts.
pub(super) fn volumes(
    drafts: &[Draft<'_>],
    services: &mut [Service],
    ground: &ServiceFiles<'_>,
    live_data: &BTreeMap<Vec<u8>, String>,
    needs: &BTreeSet<Need>,
) -> Vec<Volume> {
    let mut wanted = live(drafts, ground, live_data);
    kept(drafts, ground, live_data, &mut wanted);
    for (index, draft) in drafts.iter().enumerate().filter(|(index, _)| services[*index].read_only) {
        writable(index, draft, ground, &mut wanted);
    }
    for need in needs {
        if let Connection::Unix(path) = &need.at {
            shared(need, tree::parent(path), &mut wanted);
        }
    }
    named(wanted, services, ground)
}

/// Databases and other live data that some service uses. A file that is live data by itself stays with its directory.
fn live(drafts: &[Draft<'_>], ground: &ServiceFiles<'_>, live_data: &BTreeMap<Vec<u8>, String>) -> Wanted {
    let mut wanted = Wanted::new();
    for (path, reason) in live_data {
        let path = directory_of(path, ground);
        let users = drafts.iter().enumerate().filter(|(_, draft)| data::uses(draft.candidate, &path, ground));
        let users: BTreeSet<usize> = users.map(|(index, _)| index).collect();
        if !users.is_empty() {
            wanted.insert(path, (Purpose::LiveData, reason.clone(), users));
        }
    }
    wanted
}

/// Data that the image has as it was.
fn kept(
    drafts: &[Draft<'_>],
    ground: &ServiceFiles<'_>,
    live_data: &BTreeMap<Vec<u8>, String>,
    wanted: &mut Wanted,
) {
    let live: BTreeSet<Vec<u8>> = live_data.keys().map(|path| directory_of(path, ground)).collect();
    let names: BTreeSet<&[u8]> = drafts.iter().flat_map(|draft| data::names(draft.candidate)).collect();
    for (index, draft) in drafts.iter().enumerate() {
        let own = data::names(draft.candidate);
        let others: BTreeSet<&[u8]> = names.iter().copied().filter(|name| !own.contains(name)).collect();
        for path in data::directories(draft.candidate, ground, &live, &others) {
            let reason = "the service keeps data here".to_owned();
            wanted.entry(path).or_insert((Purpose::Data, reason, BTreeSet::new())).2.insert(index);
        }
    }
}

/// What a service whose root is read-only writes to.
fn writable(index: usize, draft: &Draft<'_>, ground: &ServiceFiles<'_>, wanted: &mut Wanted) {
    for path in data::writable(draft.candidate, ground) {
        let covers = |other: &Vec<u8>| tree::is_within(&path, other) || tree::is_within(other, &path);
        if !wanted.keys().any(covers) {
            let reason = "all else of the service's root is read-only".to_owned();
            wanted.insert(path, (Purpose::Sockets, reason, BTreeSet::from([index])));
        }
    }
}

/// The directory of a socket at which two services meet.
fn shared(need: &Need, directory: &[u8], wanted: &mut Wanted) {
    // What the server has as a volume holds the socket already.
    let volume = wanted
        .iter_mut()
        .find(|(path, (_, _, users))| tree::is_within(directory, path) && users.contains(&need.server));
    if let Some((_, (_, _, users))) = volume {
        users.insert(need.client);
        return;
    }
    // All of /run would hide what each has there: the fit report says so.
    if !matches!(directory, b"/run" | b"/tmp" | b"") {
        let reason = "services meet at a socket here".to_owned();
        let entry = wanted.entry(directory.to_vec()).or_insert((Purpose::Sockets, reason, BTreeSet::new()));
        entry.2.extend([need.client, need.server]);
    }
}

/// Names and owners, and the mounts of the services.
fn named(wanted: Wanted, services: &mut [Service], ground: &ServiceFiles<'_>) -> Vec<Volume> {
    let mut volumes: Vec<Volume> = Vec::new();
    for (path, (purpose, reason, users)) in wanted {
        let name = Name::from_bytes(relative(&path))
            .unless(|name| volumes.iter().any(|volume| volume.name == *name));
        for index in users {
            services[index].mounts.push(Mount { volume: name.clone(), path: path.clone() });
        }
        let owner = ground.node(&path).map(|node| (node.stat.uid, node.stat.gid, node.stat.mode));
        volumes.push(Volume { name, bytes: ground.bytes(&path), path, purpose, reason, owner });
    }
    volumes.sort_by(|a, b| a.name.cmp(&b.name));
    volumes
}

fn directory_of(path: &[u8], ground: &ServiceFiles<'_>) -> Vec<u8> {
    let is_file = ground.node(path).is_some_and(|node| matches!(node.kind, Kind::File { .. }));
    if is_file { tree::parent(path).to_vec() } else { path.to_vec() }
}
