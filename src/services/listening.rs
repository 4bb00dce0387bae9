//! Determines the addresses that a service listens on, and its health check. Pure.

use super::model::{Health, Port, Protocol};
use super::survey::Candidate;
use crate::detect::RuntimeState;
use crate::detect::sockets::{self, UnixName};
use crate::detect::units::socket::{Address, Kind};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Range of ephemeral ports if the kernel's own is unknown: the default of `ip_local_port_range`
/// (ip(7)).
const CLIENT_PORTS: (u16, u16) = (32_768, 60_999);

/// Addresses of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listening {
    /// TCP and UDP ports.
    pub(super) ports: BTreeSet<Port>,
    /// Absolute paths of Unix sockets.
    pub(super) paths: BTreeSet<Vec<u8>>,
    /// Whether a raw socket is open.
    pub(super) is_raw: bool,
}

/// Returns the addresses on which the service's processes listen, or systemd on their behalf.
pub(super) fn of(candidate: &Candidate<'_>, live: Option<&RuntimeState>) -> Listening {
    let mut ports: BTreeMap<(u16, Protocol), BTreeSet<IpAddr>> = BTreeMap::new();
    let mut listening = Listening::default();
    if let Some(live) = live {
        let (first, last) = live.hardware.client_ports.unwrap_or(CLIENT_PORTS);
        let inodes: BTreeSet<u64> =
            candidate.processes.iter().flat_map(|process| process.sockets()).collect();
        for socket in live.sockets.inet.iter().filter(|socket| inodes.contains(&socket.inode)) {
            listening.is_raw |= socket.protocol == sockets::Protocol::Raw;
            let protocol = match socket.protocol {
                sockets::Protocol::Tcp => Protocol::Tcp,
                sockets::Protocol::Udp => Protocol::Udp,
                _ => continue,
            };
            let number = socket.local.port();
            // A UDP socket with an ephemeral port belongs to a client. UDP has no listening state
            // to check.
            let is_client = protocol == Protocol::Udp && (first..=last).contains(&number);
            // A dual-stack socket has IPv4-mapped IPv6 addresses (ipv6(7)).
            if socket.is_server() && !is_client {
                ports.entry((number, protocol)).or_default().insert(socket.local.ip().to_canonical());
            }
        }
        let unix = live.sockets.unix.iter().filter(|socket| socket.listens && inodes.contains(&socket.inode));
        listening.paths.extend(unix.filter_map(|socket| match &socket.name {
            Some(UnixName::Path(path)) if path.starts_with(b"/") => Some(canonical(path)),
            _ => None,
        }));
    }
    for listen in candidate.sockets.iter().flat_map(|socket| &socket.listen) {
        match &listen.address {
            Address::Inet(ip, port) => {
                let protocol = if listen.kind == Kind::Datagram { Protocol::Udp } else { Protocol::Tcp };
                ports.entry((*port, protocol)).or_default().insert(ip.to_canonical());
            }
            Address::Path(path) => {
                listening.paths.insert(canonical(path));
            }
            Address::Abstract(_) | Address::Other(_) => {}
        }
    }
    listening.ports = ports
        .into_iter()
        .map(|((number, protocol), addresses)| {
            let public = addresses.iter().any(|address| !address.is_loopback());
            Port { number, protocol, addresses, public }
        })
        .collect();
    listening
}

/// Replaces `/var/run/` by `/run/`, because `/var/run` is a symbolic link to `/run`
/// (file-hierarchy(7)).
pub(super) fn canonical(path: &[u8]) -> Vec<u8> {
    match path.strip_prefix(b"/var/run/") {
        Some(rest) => [b"/run/", rest].concat(),
        None => path.to_vec(),
    }
}

impl Listening {
    /// Returns the health check: a TCP port, preferably a published one; else a Unix socket; else
    /// a UDP port.
    pub(super) fn health(&self) -> Option<Health> {
        let tcp: Vec<&Port> = self.ports.iter().filter(|port| port.protocol == Protocol::Tcp).collect();
        if let Some(port) = tcp.iter().find(|port| port.public).or(tcp.first()) {
            return Some(Health::Tcp(port.number));
        }
        for path in &self.paths {
            // The path becomes part of a shell command.
            if path.iter().all(|byte| byte.is_ascii_alphanumeric() || b"/._@+-".contains(byte)) {
                return Some(Health::Socket(String::from_utf8_lossy(path).into_owned()));
            }
        }
        self.ports.first().map(|port| Health::Udp(port.number))
    }
}
