//! Determines which processes hold a socket, and which processes of the machine communicate.

use super::process::Processes;
use super::sockets::{InetSocket, Protocol, Sockets, State, UnixName};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// Processes that hold each socket, by inode number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holders(BTreeMap<u64, Vec<u32>>);

/// Address of a server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Endpoint {
    /// Internet address. An IPv4 address is never in its IPv6-mapped form.
    Inet(Protocol, SocketAddr),
    /// Address of a Unix socket.
    Unix(UnixName),
}

/// A client and a server process of the same machine that communicate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Peer {
    /// PID of the client.
    pub client: u32,
    /// PID of the server.
    pub server: u32,
    /// Address of the server.
    pub endpoint: Endpoint,
}

impl Holders {
    /// Lists the processes that hold each socket. The first is the owner: the oldest process,
    /// which is usually the parent of the others. Process 1 is last, because it passes sockets to
    /// services and keeps them open.
    pub fn of(processes: &Processes) -> Holders {
        let mut holders: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        let mut eldest: Vec<_> = processes.iter().collect();
        eldest.sort_by_key(|process| (process.pid == 1, process.started, process.pid));
        for process in eldest {
            for inode in process.sockets().collect::<BTreeSet<u64>>() {
                holders.entry(inode).or_default().push(process.pid);
            }
        }
        Holders(holders)
    }

    /// Returns all processes that hold the socket, the owner first.
    pub fn all(&self, inode: u64) -> &[u32] {
        self.0.get(&inode).map_or(&[], Vec::as_slice)
    }

    /// Returns the process that owns the socket.
    pub fn owner(&self, inode: u64) -> Option<u32> {
        self.all(inode).first().copied()
    }
}

/// Returns the processes of this machine that communicate over TCP, UDP and Unix sockets.
///
/// `unix_peers` contains the inode numbers of both ends of Unix connections, in any order. The
/// result is sorted and contains each pair and endpoint once.
pub fn peers(sockets: &Sockets, holders: &Holders, unix_peers: &BTreeMap<u64, u64>) -> Vec<Peer> {
    let mut peers = BTreeSet::new();
    peers.extend(tcp_peers(sockets, holders));
    peers.extend(udp_peers(sockets, holders));
    peers.extend(local_peers(sockets, holders, unix_peers));
    peers.into_iter().filter(|peer| peer.client != peer.server).collect()
}

/// Returns the TCP connections that have both ends in the table.
fn tcp_peers(sockets: &Sockets, holders: &Holders) -> Vec<Peer> {
    let is_connection = |socket: &&InetSocket| {
        socket.protocol == Protocol::Tcp && socket.state == State::Established && socket.inode != 0
    };
    let ends: BTreeMap<(SocketAddr, SocketAddr), &InetSocket> = sockets
        .inet
        .iter()
        .filter(is_connection)
        .map(|socket| ((plain(socket.local), plain(socket.remote)), socket))
        .collect();
    let servers = Servers::of(sockets);
    let is_served = |at| servers.at(Protocol::Tcp, at).is_some();
    let mut peers = Vec::new();
    for (&(local, remote), socket) in &ends {
        let Some(other) = ends.get(&(remote, local)) else { continue };
        let is_client = match (is_served(local), is_served(remote)) {
            (false, true) => true,
            (true, false) => false,
            // Both or none of the addresses have a listening socket. Servers usually have the
            // lower port.
            _ => (remote.port(), remote) < (local.port(), local),
        };
        if is_client
            && let (Some(client), Some(server)) = (holders.owner(socket.inode), holders.owner(other.inode))
        {
            peers.push(Peer { client, server, endpoint: Endpoint::Inet(Protocol::Tcp, remote) });
        }
    }
    peers
}

/// Returns the UDP sockets that are connected to a server on this machine. The server has a
/// loopback address, or a socket that is bound to exactly this address.
fn udp_peers(sockets: &Sockets, holders: &Holders) -> Vec<Peer> {
    let servers = Servers::of(sockets);
    let is_udp = |socket: &&InetSocket| matches!(socket.protocol, Protocol::Udp | Protocol::UdpLite);
    let clients = sockets.inet.iter().filter(is_udp).filter(|socket| socket.state == State::Established);
    let mut peers = Vec::new();
    for socket in clients {
        let at = plain(socket.remote);
        let Some(server) = servers.at(socket.protocol, at) else { continue };
        let is_local = at.ip().is_loopback() || plain(server.local) == at;
        if is_local
            && let (Some(client), Some(server)) = (holders.owner(socket.inode), holders.owner(server.inode))
        {
            peers.push(Peer { client, server, endpoint: Endpoint::Inet(socket.protocol, at) });
        }
    }
    peers
}

/// Server sockets by protocol and port.
struct Servers<'a>(BTreeMap<(Protocol, u16), Vec<&'a InetSocket>>);

impl<'a> Servers<'a> {
    fn of(sockets: &'a Sockets) -> Self {
        let mut servers: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for socket in sockets.inet.iter().filter(|socket| socket.is_server()) {
            servers.entry((socket.protocol, socket.local.port())).or_default().push(socket);
        }
        Servers(servers)
    }

    /// Returns the socket that receives data sent to `at`. A socket bound to this address
    /// precedes one bound to all addresses.
    fn at(&self, protocol: Protocol, at: SocketAddr) -> Option<&'a InetSocket> {
        let bound = self.0.get(&(protocol, at.port()))?;
        let is_exact = |socket: &&&InetSocket| plain(socket.local).ip() == at.ip();
        let takes_all = |socket: &&&InetSocket| {
            socket.local.ip().is_unspecified() && (socket.local.is_ipv6() || at.is_ipv4())
        };
        bound.iter().find(is_exact).or_else(|| bound.iter().find(takes_all)).copied()
    }
}

/// Returns the connections over Unix sockets. The socket that a server accepted has the server's
/// name; the client's has none.
fn local_peers(sockets: &Sockets, holders: &Holders, pairs: &BTreeMap<u64, u64>) -> Vec<Peer> {
    let named: BTreeMap<u64, &UnixName> =
        sockets.unix.iter().filter_map(|socket| Some((socket.inode, socket.name.as_ref()?))).collect();
    let mut peers = Vec::new();
    for (one, other) in pairs {
        let (client, server, name) = match (named.get(one), named.get(other)) {
            (None, Some(name)) => (one, other, *name),
            (Some(name), None) => (other, one, *name),
            _ => continue,
        };
        if let (Some(client), Some(server)) = (holders.owner(*client), holders.owner(*server)) {
            peers.push(Peer { client, server, endpoint: Endpoint::Unix(name.clone()) });
        }
    }
    peers
}

/// Converts the IPv4-mapped address of an IPv6 socket to IPv4.
fn plain(address: SocketAddr) -> SocketAddr {
    let ip: IpAddr = address.ip().to_canonical();
    SocketAddr::new(ip, address.port())
}
