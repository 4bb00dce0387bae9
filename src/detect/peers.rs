//! Which process holds a socket, and which processes of the machine talk to each other.

use super::process::Processes;
use super::sockets::{InetSocket, Protocol, Sockets, State, UnixName};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// Who holds which socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holders(BTreeMap<u64, Vec<u32>>);

/// Where a server is reached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Endpoint {
    /// An internet address; an IPv4 address is never written as IPv6.
    Inet(Protocol, SocketAddr),
    /// The address of a unix socket.
    Unix(UnixName),
}

/// A process that talks to another one of the same machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Peer {
    /// Who asked.
    pub client: u32,
    /// Who was asked.
    pub server: u32,
    /// Where.
    pub endpoint: Endpoint,
}

impl Holders {
    /// Joins sockets to processes. Of several holders the first is the owner: the eldest, as a rule the parent of the
    /// others. Process 1 comes last, because it hands sockets to services and keeps them open.
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

    /// All processes that hold the socket, the owner first.
    pub fn all(&self, inode: u64) -> &[u32] {
        self.0.get(&inode).map_or(&[], Vec::as_slice)
    }

    /// The process that the socket belongs to.
    pub fn owner(&self, inode: u64) -> Option<u32> {
        self.all(inode).first().copied()
    }
}

/// Who talks to whom on this machine over TCP and UDP, and over unix sockets as far as `unix_peers` tells
/// (the inode numbers of both ends, either way round); sorted, each pair and endpoint once.
pub fn peers(sockets: &Sockets, holders: &Holders, unix_peers: &BTreeMap<u64, u64>) -> Vec<Peer> {
    let mut peers = BTreeSet::new();
    peers.extend(tcp_peers(sockets, holders));
    peers.extend(udp_peers(sockets, holders));
    peers.extend(local_peers(sockets, holders, unix_peers));
    peers.into_iter().filter(|peer| peer.client != peer.server).collect()
}

/// Connections of which both ends are in the table.
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
    let peer = |(&(local, remote), socket): (&(SocketAddr, SocketAddr), &&InetSocket)| {
        let other = ends.get(&(remote, local))?;
        let is_client = match (is_served(local), is_served(remote)) {
            (false, true) => true,
            (true, false) => false,
            // Both listen, or the server does no longer: the lower port is the server's.
            _ => (remote.port(), remote) < (local.port(), local),
        };
        let (client, server) = (holders.owner(socket.inode)?, holders.owner(other.inode)?);
        is_client.then_some(Peer { client, server, endpoint: Endpoint::Inet(Protocol::Tcp, remote) })
    };
    ends.iter().filter_map(peer).collect()
}

/// Sockets that chose a peer on this machine, which is known by a loopback address or by one that is bound.
fn udp_peers(sockets: &Sockets, holders: &Holders) -> Vec<Peer> {
    let servers = Servers::of(sockets);
    let is_udp = |socket: &&InetSocket| matches!(socket.protocol, Protocol::Udp | Protocol::UdpLite);
    let clients = sockets.inet.iter().filter(is_udp).filter(|socket| socket.state == State::Established);
    let peer = |client: &InetSocket| {
        let at = plain(client.remote);
        let server = servers.at(client.protocol, at)?;
        let is_here = at.ip().is_loopback() || plain(server.local) == at;
        let endpoint = Endpoint::Inet(client.protocol, at);
        let (client, server) = (holders.owner(client.inode)?, holders.owner(server.inode)?);
        is_here.then_some(Peer { client, server, endpoint })
    };
    clients.filter_map(peer).collect()
}

/// Sockets that others reach unasked, by protocol and port.
struct Servers<'a>(BTreeMap<(Protocol, u16), Vec<&'a InetSocket>>);

impl<'a> Servers<'a> {
    fn of(sockets: &'a Sockets) -> Self {
        let mut servers: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for socket in sockets.inet.iter().filter(|socket| socket.is_server()) {
            servers.entry((socket.protocol, socket.local.port())).or_default().push(socket);
        }
        Servers(servers)
    }

    /// The socket that gets what is sent to `at`: one that is bound to the very address before one bound to all.
    fn at(&self, protocol: Protocol, at: SocketAddr) -> Option<&'a InetSocket> {
        let bound = self.0.get(&(protocol, at.port()))?;
        let is_exact = |socket: &&&InetSocket| plain(socket.local).ip() == at.ip();
        let takes_all = |socket: &&&InetSocket| {
            socket.local.ip().is_unspecified() && (socket.local.is_ipv6() || at.is_ipv4())
        };
        bound.iter().find(is_exact).or_else(|| bound.iter().find(takes_all)).copied()
    }
}

/// Unix sockets: what a server accepted has the server's name, the client's has none.
fn local_peers(sockets: &Sockets, holders: &Holders, pairs: &BTreeMap<u64, u64>) -> Vec<Peer> {
    let named: BTreeMap<u64, &UnixName> =
        sockets.unix.iter().filter_map(|socket| Some((socket.inode, socket.name.as_ref()?))).collect();
    let peer = |(one, other): (u64, u64)| {
        let (client, server) = match (named.get(&one), named.get(&other)) {
            (None, Some(_)) => (one, other),
            (Some(_), None) => (other, one),
            _ => return None,
        };
        let endpoint = Endpoint::Unix((*named.get(&server)?).clone());
        Some(Peer { client: holders.owner(client)?, server: holders.owner(server)?, endpoint })
    };
    pairs.iter().filter_map(|(&one, &other)| peer((one, other))).collect()
}

/// An IPv4 address that an IPv6 socket uses, as IPv4.
fn plain(address: SocketAddr) -> SocketAddr {
    let ip: IpAddr = address.ip().to_canonical();
    SocketAddr::new(ip, address.port())
}
