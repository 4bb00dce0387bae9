//! Determines volumes: directories that outlive containers or that several of them share. Pure.

use super::connections::{Connection, Need};
use super::data;
use super::draft::Draft;
use super::model::{Mount, Name, Purpose, Service, Volume};
use super::service_files::{ServiceFiles, relative};
use crate::model::tree::{self, Kind};
use std::collections::{BTreeMap, BTreeSet};

/// Planned volumes by path: purpose, reason and the indexes of the services that mount them.
pub(super) type Planned = BTreeMap<Vec<u8>, (Purpose, String, BTreeSet<usize>)>;

/// Returns all volumes and adds the mounts to the services.
pub(super) fn volumes(
    drafts: &[Draft<'_>],
    services: &mut [Service],
    service_files: &ServiceFiles<'_>,
    live_data: &BTreeMap<Vec<u8>, String>,
    live: Planned,
    needs: &BTreeSet<Need>,
) -> Vec<Volume> {
    let mut planned = live;
    // Live data is planned first, so that it takes precedence at the same path.
    kept(drafts, service_files, live_data, &mut planned);
    for (index, draft) in drafts.iter().enumerate().filter(|(index, _)| services[*index].read_only) {
        writable(index, draft, service_files, &mut planned);
    }
    for need in needs {
        if let Connection::Unix(path) = &need.at {
            shared(need, tree::parent(path), &mut planned);
        }
    }
    named(planned, services, service_files)
}

/// Plans volumes for live data that a service uses. If a single file is live data, its directory
/// becomes the volume.
pub(super) fn live(
    drafts: &[Draft<'_>],
    service_files: &ServiceFiles<'_>,
    live_data: &BTreeMap<Vec<u8>, String>,
) -> Planned {
    let mut planned = Planned::new();
    for (path, reason) in live_data {
        let path = directory_of(path, service_files);
        let is_user = |draft: &Draft<'_>| {
            data::uses(draft.candidate, &path, service_files) || data::claims(draft, &path, service_files)
        };
        let users = drafts.iter().enumerate().filter(|(_, draft)| is_user(draft));
        let users: BTreeSet<usize> = users.map(|(index, _)| index).collect();
        if !users.is_empty() {
            planned.insert(path, (Purpose::LiveData, reason.clone(), users));
        }
    }
    planned
}

/// Adds volumes for data that is also in the image.
fn kept(
    drafts: &[Draft<'_>],
    service_files: &ServiceFiles<'_>,
    live_data: &BTreeMap<Vec<u8>, String>,
    planned: &mut Planned,
) {
    let live: BTreeSet<Vec<u8>> = live_data.keys().map(|path| directory_of(path, service_files)).collect();
    let names: BTreeSet<&[u8]> = drafts.iter().flat_map(|draft| data::names(draft.candidate)).collect();
    for (index, draft) in drafts.iter().enumerate() {
        let own = data::names(draft.candidate);
        let others: BTreeSet<&[u8]> = names.iter().copied().filter(|name| !own.contains(name)).collect();
        for path in data::directories(draft.candidate, service_files, &live, &others) {
            let reason = "data directory of a service".to_owned();
            planned.entry(path).or_insert((Purpose::Data, reason, BTreeSet::new())).2.insert(index);
        }
    }
}

/// Adds volumes for the directories that a service with a read-only root writes to.
fn writable(index: usize, draft: &Draft<'_>, service_files: &ServiceFiles<'_>, planned: &mut Planned) {
    for path in data::writable(draft.candidate, service_files) {
        let covers = |other: &Vec<u8>| tree::is_within(&path, other) || tree::is_within(other, &path);
        if !planned.keys().any(covers) {
            let reason = "writable directory of a service with a read-only root".to_owned();
            planned.insert(path, (Purpose::Sockets, reason, BTreeSet::from([index])));
        }
    }
}

/// Adds a volume for the directory of a socket between two services.
fn shared(need: &Need, directory: &[u8], planned: &mut Planned) {
    // A volume of the server can already contain the socket.
    let volume = planned
        .iter_mut()
        .find(|(path, (_, _, users))| tree::is_within(directory, path) && users.contains(&need.server));
    if let Some((_, (_, _, users))) = volume {
        users.insert(need.client);
        return;
    }
    // A volume on all of /run would hide other files there. The compatibility report lists this
    // case.
    if !matches!(directory, b"/run" | b"/tmp" | b"") {
        let reason = "directory of a socket that services share".to_owned();
        let entry = planned.entry(directory.to_vec()).or_insert((Purpose::Sockets, reason, BTreeSet::new()));
        entry.2.extend([need.client, need.server]);
    }
}

/// Assigns names and owners, and adds the mounts to the services.
fn named(planned: Planned, services: &mut [Service], service_files: &ServiceFiles<'_>) -> Vec<Volume> {
    let mut volumes: Vec<Volume> = Vec::new();
    for (path, (purpose, reason, users)) in planned {
        let name = Name::from_bytes(relative(&path))
            .make_unique(|name| volumes.iter().any(|volume| volume.name == *name));
        for index in users {
            services[index].mounts.push(Mount { volume: name.clone(), path: path.clone() });
        }
        let owner = service_files.node(&path).map(|node| (node.stat.uid, node.stat.gid, node.stat.mode));
        volumes.push(Volume { name, bytes: service_files.bytes(&path), path, purpose, reason, owner });
    }
    volumes.sort_by(|a, b| a.name.cmp(&b.name));
    volumes
}

/// Returns the path if it is a directory, otherwise its parent.
fn directory_of(path: &[u8], service_files: &ServiceFiles<'_>) -> Vec<u8> {
    let is_file = service_files.node(path).is_some_and(|node| matches!(node.kind, Kind::File { .. }));
    if is_file { tree::parent(path).to_vec() } else { path.to_vec() }
}
