//! Sockets of one network namespace: the tables in `/proc/net` (`proc_net(5)`), read as bytes.

use super::process_files::{decimal, split_fields, words};
use crate::model::escape::escape;
use crate::model::findings::{self, Findings};
use crate::model::tree;
use crate::system::root::Root;
use rustix::io::Errno;
use serde::{Serialize, Serializer};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Flag of a listening unix socket (`__SO_ACCEPTCON` in the kernel's `include/linux/net.h`).
const ACCEPTS: u64 = 0x1_0000;

/// The tables of internet sockets.
const TABLES: &[(&str, Protocol)] = &[
    ("tcp", Protocol::Tcp),
    ("tcp6", Protocol::Tcp),
    ("udp", Protocol::Udp),
    ("udp6", Protocol::Udp),
    ("udplite", Protocol::UdpLite),
    ("udplite6", Protocol::UdpLite),
    ("raw", Protocol::Raw),
    ("raw6", Protocol::Raw),
];

/// What an internet socket speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Protocol {
    Tcp,
    Udp,
    UdpLite,
    /// The port of its addresses is the number of an IP protocol.
    Raw,
}

/// State of an internet socket (`include/net/tcp_states.h` of the kernel).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Has a peer.
    Established,
    /// TCP: waits for connections.
    Listening,
    /// UDP and raw: bound to an address or not, without a peer.
    Unconnected,
    /// TCP: comes or goes.
    Passing,
}

/// An internet socket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct InetSocket {
    /// What it speaks.
    pub protocol: Protocol,
    /// The address it is bound to; of an IPv6 socket that also takes IPv4, as IPv6.
    pub local: SocketAddr,
    /// The peer's; zero if there is none.
    pub remote: SocketAddr,
    /// Whether it listens, or has a peer.
    pub state: State,
    /// The user who made it.
    pub uid: u32,
    /// 0 if no process holds it any more.
    pub inode: u64,
}

/// The address of a unix socket (`unix(7)`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UnixName {
    /// A path as it was bound: it may be relative, or removed since.
    Path(Box<[u8]>),
    /// Without a file. Zero bytes are shown as `@` by the kernel, as is the first one, which is left out here.
    Abstract(Box<[u8]>),
}

/// How a unix socket transmits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names are those of unix(7)")]
pub enum UnixKind {
    Stream,
    Datagram,
    SeqPacket,
}

/// A unix socket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct UnixSocket {
    /// Its address. What a server accepted has the server's.
    pub name: Option<UnixName>,
    /// How it transmits.
    pub kind: UnixKind,
    /// Waits for connections.
    pub listens: bool,
    /// Has a peer.
    pub is_connected: bool,
    /// 0 if no process holds it any more.
    pub inode: u64,
}

/// The sockets of one network namespace, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sockets {
    /// TCP, UDP, raw.
    pub inet: Vec<InetSocket>,
    /// Local ones.
    pub unix: Vec<UnixSocket>,
}

impl InetSocket {
    /// Others can reach it unasked: it listens, or is bound to a port without having chosen a peer.
    pub fn is_server(&self) -> bool {
        match self.protocol {
            Protocol::Tcp => self.state == State::Listening,
            Protocol::Udp | Protocol::UdpLite => self.state == State::Unconnected && self.local.port() != 0,
            Protocol::Raw => false,
        }
    }
}

impl Sockets {
    /// Reads the tables in a folder of a procfs: `1/net` for the machine's own namespace, or `PID/net`.
    ///
    /// A table that is not there belongs to a protocol that the kernel does not have.
    pub fn load(proc: &Root, folder: &[u8], findings: &mut Findings) -> Sockets {
        let mut table = |name: &str| {
            let path = tree::join(folder, name.as_bytes());
            proc.read(&path).unwrap_or_else(|cause| {
                if Errno::from_io_error(&cause) != Some(Errno::NOENT) {
                    findings.loss(findings::Kind::Sockets, &tree::join(b"proc", &path), cause.to_string());
                }
                Vec::new()
            })
        };
        let inet: Vec<_> = TABLES.iter().map(|(name, protocol)| (*name, *protocol, table(name))).collect();
        let unix = table("unix");
        let mut sockets = Sockets::default();
        let mut report = |name: &str, bad: usize| {
            if bad > 0 {
                let path = tree::join(&tree::join(b"proc", folder), name.as_bytes());
                findings.loss(findings::Kind::Sockets, &path, format!("{bad} lines are not understood"));
            }
        };
        for (name, protocol, text) in inet {
            let bad = collect(&text, &mut sockets.inet, |line| parse_inet(line, protocol));
            report(name, bad);
        }
        let bad = collect(&unix, &mut sockets.unix, parse_unix);
        report("unix", bad);
        sockets.inet.sort();
        sockets.unix.sort();
        sockets
    }
}

/// The lines of a table that are understood, and how many are not. The first line is the heading.
fn collect<T>(text: &[u8], into: &mut Vec<T>, parse: impl Fn(&[u8]) -> Option<T>) -> usize {
    let lines = text.split(|&byte| byte == b'\n').skip(1).filter(|line| !line.is_empty());
    let mut bad = 0;
    for line in lines {
        match parse(line) {
            Some(entry) => into.push(entry),
            None => bad += 1,
        }
    }
    bad
}

/// A line of `tcp`, `udp` and their like.
pub fn parse_inet(line: &[u8], protocol: Protocol) -> Option<InetSocket> {
    let mut fields = words(line);
    let (local, remote) = (address(fields.nth(1)?)?, address(fields.next()?)?);
    let state = match (hex(fields.next()?)?, protocol) {
        (0x01, _) => State::Established,
        (0x0a, Protocol::Tcp) => State::Listening,
        (0x00..=0x0d, Protocol::Tcp) => State::Passing,
        (0x07, _) => State::Unconnected,
        _ => return None,
    };
    let (uid, inode) = (decimal(fields.nth(3)?)?, decimal(fields.nth(1)?)?);
    (local.is_ipv4() == remote.is_ipv4()).then_some(InetSocket { protocol, local, remote, state, uid, inode })
}

/// A line of `unix`; a name may hold spaces.
pub fn parse_unix(line: &[u8]) -> Option<UnixSocket> {
    let (fields, rest) = split_fields::<7>(line)?;
    let [_, _, _, flags, kind, state, inode] = fields;
    let kind = match hex(kind)? {
        1 => UnixKind::Stream,
        2 => UnixKind::Datagram,
        5 => UnixKind::SeqPacket,
        _ => return None,
    };
    let name = match rest.strip_prefix(b" ").unwrap_or_default() {
        [] => None,
        [b'@', name @ ..] => Some(UnixName::Abstract(name.into())),
        path => Some(UnixName::Path(path.into())),
    };
    Some(UnixSocket {
        name,
        kind,
        listens: hex(flags)? & ACCEPTS != 0,
        is_connected: hex(state)? == 3,
        inode: decimal(inode)?,
    })
}

/// `0100007F:0016`: words of four bytes in the order of the processor, and the port.
fn address(text: &[u8]) -> Option<SocketAddr> {
    let colon = text.iter().position(|&byte| byte == b':')?;
    let port = (text.len() == colon + 5).then(|| hex(&text[colon + 1..]))??;
    let mut words = text[..colon].chunks(8).map(|word| Some((hex(word)? as u32).to_ne_bytes()));
    let ip = match colon {
        8 => IpAddr::V4(Ipv4Addr::from(words.next()??)),
        32 => {
            let mut bytes = [0; 16];
            for (part, word) in bytes.chunks_exact_mut(4).zip(words) {
                part.copy_from_slice(&word?);
            }
            IpAddr::V6(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::try_from(port).ok()?))
}

fn hex(text: &[u8]) -> Option<u64> {
    // The standard parser would take a sign.
    let is_plain = !text.is_empty() && text.iter().all(u8::is_ascii_hexdigit);
    is_plain.then(|| u64::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok())?
}

impl Serialize for UnixName {
    /// As the kernel shows it: an abstract one with `@` before it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = match self {
            UnixName::Path(path) => escape(path),
            UnixName::Abstract(name) => format!("@{}", escape(name)),
        };
        serializer.serialize_str(&text)
    }
}
