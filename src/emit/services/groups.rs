//! Which services share what, for formats that have to know. Pure.

use crate::services::model::{
    Mount, Name, Port, Protocol, Purpose, Service, SharedNetwork, Volume, Workload, is_plain,
};
use std::collections::{BTreeMap, BTreeSet};

/// Services in one network namespace.
pub(super) struct Group<'a> {
    /// Unique among groups, and no service has it unless it is the only one of the group.
    pub name: Name,
    /// What they share; nothing for a service by itself.
    pub network: Option<&'a SharedNetwork>,
    /// At least one, by name.
    pub members: Vec<&'a Service>,
    /// What is published. A port can be published once: the first group has it.
    pub published: BTreeSet<(u16, Protocol)>,
}

/// All services: each by itself or with those it shares a network with, in the order of the workload.
pub(super) fn by_network(workload: &Workload) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut taken: BTreeSet<Name> = workload.services.iter().map(|service| service.name.clone()).collect();
    let mut published = BTreeSet::new();
    for service in &workload.services {
        let is_its = |network: &&SharedNetwork| Some(&network.name) == service.network.as_ref();
        let network = workload.networks.iter().find(is_its);
        let known = groups.iter().position(|group| group.network.is_some() && group.network == network);
        let index = known.unwrap_or_else(|| {
            let name = network.map_or(service.name.clone(), |network| free(&network.name, &mut taken));
            groups.push(Group { name, network, members: Vec::new(), published: BTreeSet::new() });
            groups.len() - 1
        });
        groups[index].members.push(service);
        let public = public_ports(service);
        groups[index].published.extend(public.into_iter().filter(|&port| published.insert(port)));
    }
    groups
}

/// `name`, or with a number if somebody has it.
fn free(name: &Name, taken: &mut BTreeSet<Name>) -> Name {
    let numbered = (2..).map(|number| name.numbered(number));
    let mut names = std::iter::once(name.clone()).chain(numbered);
    names.find(|name| taken.insert(name.clone())).expect("there are always more numbers")
}

/// What others than the machine itself reach.
pub(super) fn public_ports(service: &Service) -> BTreeSet<(u16, Protocol)> {
    let public = service.ports.iter().filter(|port| port.public);
    public.map(|Port { number, protocol, .. }| (*number, *protocol)).collect()
}

/// `tcp` or `udp`.
pub(super) fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

/// Who waits for whom, without circles: engines refuse them. Of a circle the link that would close it is left out.
pub(super) fn dependencies(workload: &Workload) -> BTreeMap<&Name, BTreeSet<&Name>> {
    let mut links: BTreeMap<&Name, BTreeSet<&Name>> =
        workload.services.iter().map(|service| (&service.name, BTreeSet::new())).collect();
    for service in &workload.services {
        for other in &service.depends_on {
            if links.contains_key(other) && !reaches(&links, other, &service.name) {
                links.entry(&service.name).or_default().insert(other);
            }
        }
    }
    links
}

fn reaches<'a>(links: &BTreeMap<&'a Name, BTreeSet<&'a Name>>, from: &'a Name, to: &Name) -> bool {
    let mut seen = BTreeSet::from([from]);
    let mut next = vec![from];
    while let Some(name) = next.pop() {
        if name == to {
            return true;
        }
        next.extend(links[name].iter().filter(|other| seen.insert(other)));
    }
    false
}

/// The volumes of a service that can be written down: names of the files are text, and so have paths to be.
pub(super) fn mounts<'a>(
    workload: &'a Workload,
    service: &'a Service,
) -> impl Iterator<Item = (&'a Volume, &'a str)> {
    service.mounts.iter().filter_map(|Mount { volume, path }| {
        let volume = workload.volumes.iter().find(|known| known.name == *volume)?;
        Some((volume, text(path)?))
    })
}

/// What a service needs in memory and can be written down.
pub(super) fn memory_directories(service: &Service) -> impl Iterator<Item = &str> {
    service.memory_directories.iter().filter_map(|path| text(path))
}

/// Whether what is in the volume outlives the machine's run.
pub(super) fn stays(volume: &Volume) -> bool {
    volume.purpose != Purpose::Sockets
}

/// `bytes` where a text is needed: UTF-8 without a zero byte.
pub(super) fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

/// A path that means itself where colons and commas separate.
pub(super) fn plain_path(path: &[u8]) -> Option<&str> {
    let is_one = path.starts_with(b"/") && is_plain(path) && !path.iter().any(|byte| b":,".contains(byte));
    if is_one { text(path) } else { None }
}

/// Whole seconds to end in, as all formats can have them.
pub(super) fn stop_seconds(service: &Service) -> u64 {
    let grace = service.stop_grace;
    let seconds = grace.as_secs().saturating_add(u64::from(grace.subsec_nanos() > 0));
    seconds.min(i32::MAX as u64)
}
