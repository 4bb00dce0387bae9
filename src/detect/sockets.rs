//! Reads the sockets of one network namespace from the tables in `/proc/net` (`proc_net(5)`).

use super::process_files::{decimal, split_fields, words};
use crate::model::escape::escape;
use crate::model::findings::{self, Findings};
use crate::model::tree;
use crate::system::root::Root;
use rustix::io::Errno;
use serde::{Serialize, Serializer};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Flag of a listening Unix socket (`__SO_ACCEPTCON` in the kernel's `include/linux/net.h`).
const ACCEPTS: u64 = 0x1_0000;

/// Tables of internet sockets.
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

/// Protocol of an internet socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Protocol {
    Tcp,
    Udp,
    UdpLite,
    /// Raw socket; the port in its addresses is the number of an IP protocol.
    Raw,
}

/// State of an internet socket (`include/net/tcp_states.h` of the kernel).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Connected to a peer.
    Established,
    /// TCP: accepts connections.
    Listening,
    /// UDP and raw: without a peer, bound to an address or not.
    Unconnected,
    /// TCP: any other state, such as `SYN_SENT` or `TIME_WAIT`.
    Passing,
}

/// An internet socket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct InetSocket {
    /// Protocol of the socket.
    pub protocol: Protocol,
    /// Local address. An IPv6 socket that also accepts IPv4 has an IPv6 address.
    pub local: SocketAddr,
    /// Address of the peer; zero if there is none.
    pub remote: SocketAddr,
    /// State of the socket.
    pub state: State,
    /// UID of the user that created the socket.
    pub uid: u32,
    /// Inode number; 0 if no process holds the socket.
    pub inode: u64,
}

/// Address of a Unix socket (`unix(7)`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UnixName {
    /// Path passed to `bind(2)`. It can be relative, and the file can be removed.
    Path(Box<[u8]>),
    /// Abstract address, which has no file, without the leading zero byte. The kernel shows zero
    /// bytes as `@`.
    Abstract(Box<[u8]>),
}

/// Type of a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names are those of unix(7)")]
pub enum UnixKind {
    Stream,
    Datagram,
    SeqPacket,
}

/// A Unix socket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct UnixSocket {
    /// Address. An accepted socket has the address of its listening socket.
    pub name: Option<UnixName>,
    /// Type of the socket.
    pub kind: UnixKind,
    /// Whether it accepts connections.
    pub listens: bool,
    /// Whether it is connected to a peer.
    pub is_connected: bool,
    /// Inode number; 0 if no process holds the socket.
    pub inode: u64,
}

/// The sockets of one network namespace, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sockets {
    /// Internet sockets: TCP, UDP, raw.
    pub inet: Vec<InetSocket>,
    /// Unix sockets.
    pub unix: Vec<UnixSocket>,
}

impl InetSocket {
    /// Whether it accepts connections or datagrams from any peer: it listens, or is bound to a
    /// port without a peer.
    pub fn is_server(&self) -> bool {
        match self.protocol {
            Protocol::Tcp => self.state == State::Listening,
            Protocol::Udp | Protocol::UdpLite => self.state == State::Unconnected && self.local.port() != 0,
            Protocol::Raw => false,
        }
    }
}

impl Sockets {
    /// Reads the tables in a directory of a procfs: `1/net` for the machine's own network
    /// namespace, or `PID/net`.
    ///
    /// Ignores missing tables, because the kernel then does not support the protocol.
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

/// Adds the parsed lines of a table, and returns the number of invalid lines. The first line is
/// the heading.
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

/// Parses a line of `tcp`, `udp` and similar tables.
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

/// Parses a line of `unix`. A name can contain spaces.
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

/// Parses `0100007F:0016`: words of four bytes in the CPU's byte order, and the port.
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
    // from_str_radix accepts a sign.
    let is_plain = !text.is_empty() && text.iter().all(u8::is_ascii_hexdigit);
    is_plain.then(|| u64::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok())?
}

impl Serialize for UnixName {
    /// Serializes the address as the kernel shows it, with `@` before an abstract one.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = match self {
            UnixName::Path(path) => escape(path),
            UnixName::Abstract(name) => format!("@{}", escape(name)),
        };
        serializer.serialize_str(&text)
    }
}
