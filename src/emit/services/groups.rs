//! Groups services that share a network namespace, and checks which values the formats can
//! express. Pure.

use crate::services::model::{
    Mount, Name, Port, Protocol, Purpose, Service, SharedNetwork, Volume, Workload, is_plain,
};
use std::collections::{BTreeMap, BTreeSet};

/// Services in one network namespace.
pub(super) struct Group<'a> {
    /// Name, unique among the groups. A group of several services has no service's name.
    pub name: Name,
    /// Shared network; `None` for a single service.
    pub network: Option<&'a SharedNetwork>,
    /// Services of the group, at least one, sorted by name.
    pub members: Vec<&'a Service>,
    /// Published ports. Only the first group with a port publishes it.
    pub published: BTreeSet<(u16, Protocol)>,
}

/// Groups all services by network, in the order of the workload.
pub(super) fn by_network(workload: &Workload) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut taken: BTreeSet<Name> = workload.services.iter().map(|service| service.name.clone()).collect();
    let mut published = BTreeSet::new();
    for service in &workload.services {
        let network =
            workload.networks.iter().find(|network| Some(&network.name) == service.network.as_ref());
        let known = groups.iter().position(|group| group.network.is_some() && group.network == network);
        let index = known.unwrap_or_else(|| {
            let name = network.map_or(service.name.clone(), |network| unique_name(&network.name, &mut taken));
            groups.push(Group { name, network, members: Vec::new(), published: BTreeSet::new() });
            groups.len() - 1
        });
        groups[index].members.push(service);
        let public = public_ports(service);
        groups[index].published.extend(public.into_iter().filter(|&port| published.insert(port)));
    }
    groups
}

/// Returns `name`, or the first numbered variant that is not taken.
fn unique_name(name: &Name, taken: &mut BTreeSet<Name>) -> Name {
    let numbered = (2..).map(|number| name.numbered(number));
    let mut names = std::iter::once(name.clone()).chain(numbered);
    names.find(|name| taken.insert(name.clone())).expect("the range of numbers is unlimited")
}

/// Returns the ports that other machines can reach.
pub(super) fn public_ports(service: &Service) -> BTreeSet<(u16, Protocol)> {
    let public = service.ports.iter().filter(|port| port.public);
    public.map(|Port { number, protocol, .. }| (*number, *protocol)).collect()
}

/// Returns `tcp` or `udp`.
pub(super) fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

/// Returns for each service the services to start first. Engines refuse cycles, so a dependency
/// that would close one is left out.
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

/// Returns a service's volumes and mount points. Leaves out paths that are not text.
pub(super) fn mounts<'a>(
    workload: &'a Workload,
    service: &'a Service,
) -> impl Iterator<Item = (&'a Volume, &'a str)> {
    service.mounts.iter().filter_map(|Mount { volume, path }| {
        let volume = workload.volumes.iter().find(|known| known.name == *volume)?;
        Some((volume, text(path)?))
    })
}

/// Returns the names of the machine's `/etc/hosts` as `NAME:ADDRESS`, which Compose and Podman
/// accept.
pub(super) fn hosts(workload: &Workload) -> impl Iterator<Item = String> {
    let entries = workload.hosts.iter();
    entries.flat_map(|entry| entry.names.iter().map(move |name| format!("{name}:{}", entry.address)))
}

/// Returns a service's tmpfs directories. Leaves out paths that are not text.
pub(super) fn memory_directories(service: &Service) -> impl Iterator<Item = &str> {
    service.memory_directories.iter().filter_map(|path| text(path))
}

/// Returns whether the content of a volume must be kept.
pub(super) fn is_persistent(volume: &Volume) -> bool {
    volume.purpose != Purpose::Sockets
}

/// Returns `bytes` as text if they are UTF-8 without NUL.
pub(super) fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

/// Returns a path without characters that the formats use as separators.
pub(super) fn plain_path(path: &[u8]) -> Option<&str> {
    let is_separator_free =
        path.starts_with(b"/") && is_plain(path) && !path.iter().any(|byte| b":,".contains(byte));
    if is_separator_free { text(path) } else { None }
}

/// Returns the stop timeout in whole seconds, limited to 2³¹ - 1, which all formats accept.
pub(super) fn stop_seconds(service: &Service) -> u64 {
    let grace = service.stop_grace;
    let seconds = grace.as_secs().saturating_add(u64::from(grace.subsec_nanos() > 0));
    seconds.min(i32::MAX as u64)
}
