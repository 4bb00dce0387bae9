//! Parses `.socket` units (`systemd.socket(5)`).

use super::load::Loaded;
use super::section::Section;
use super::service::Relations;
use super::specifiers::Host;
use super::{amount, names};
use crate::model::findings::Findings;
use std::net::{IpAddr, Ipv6Addr};

/// A socket unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketUnit {
    /// Name after following aliases.
    pub name: Vec<u8>,
    /// Addresses, in the order of the file descriptors that the service gets.
    pub listen: Vec<Listen>,
    /// Whether systemd starts one service instance per connection (`Accept=`).
    pub accept: bool,
    /// Service that it activates; a template if [`SocketUnit::accept`] is set.
    pub service: Vec<u8>,
    /// `SocketUser=`, the owner of sockets and FIFOs in the file system.
    pub user: Option<Vec<u8>>,
    /// `SocketGroup=`.
    pub group: Option<Vec<u8>>,
    /// `SocketMode=`.
    pub mode: u16,
    /// Relations to other units.
    pub relations: Relations,
}

/// One address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Kind of the socket.
    pub kind: Kind,
    /// Address.
    pub address: Address,
}

/// The kind of a socket, by the key of the assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `ListenStream=`: TCP or a Unix stream socket.
    Stream,
    /// `ListenDatagram=`: UDP or a Unix datagram socket.
    Datagram,
    /// `ListenSequentialPacket=`.
    SequentialPacket,
    /// `ListenFIFO=`.
    Fifo,
}

/// The address of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An absolute path.
    Path(Vec<u8>),
    /// A name in the abstract namespace, without its `@` (unix(7)).
    Abstract(Vec<u8>),
    /// IP address and port. A port without address means `::`, which also accepts IPv4.
    Inet(IpAddr, u16),
    /// An address of another family, such as `vsock:`.
    Other(Vec<u8>),
}

const KINDS: &[(&str, Kind)] = &[
    ("ListenStream", Kind::Stream),
    ("ListenDatagram", Kind::Datagram),
    ("ListenSequentialPacket", Kind::SequentialPacket),
    ("ListenFIFO", Kind::Fifo),
];

impl SocketUnit {
    /// Interprets a loaded `.socket` unit. Invalid addresses are notes.
    pub fn new(loaded: &Loaded, host: &Host, findings: &mut Findings) -> Self {
        let mut section = Section::new(loaded, "Unit", host, findings);
        let relations = Relations::read(&mut section, loaded);
        section.switch("Socket");
        let mut listen = Vec::new();
        for (key, kind) in KINDS {
            for line in section.lines(key) {
                match Address::parse(&line) {
                    Some(address) => listen.push(Listen { kind: *kind, address }),
                    None => section.invalid(key, "invalid address"),
                }
            }
        }
        let accept = section.flag("Accept").unwrap_or(false);
        let of_same_name = names::with_type(&loaded.name, "service");
        let service = match section.text("Service") {
            Some(service) => service,
            None if accept => names::with_instance(&of_same_name, b""),
            None => of_same_name,
        };
        let unit = SocketUnit {
            name: loaded.name.clone(),
            listen,
            accept,
            service,
            user: section.text("SocketUser"),
            group: section.text("SocketGroup"),
            // systemd.socket(5): the default of SocketMode= is 0666.
            mode: section.parsed("SocketMode", amount::mode).unwrap_or(0o666),
            relations,
        };
        section.finish();
        unit
    }
}

impl Address {
    /// Parses a path, `@name`, a port, `address:port` or `[address]:port`. Ignores a `%interface`
    /// suffix.
    fn parse(text: &[u8]) -> Option<Self> {
        match text {
            [b'/', ..] => return Some(Address::Path(text.to_vec())),
            [b'@', name @ ..] => return Some(Address::Abstract(name.to_vec())),
            _ => {}
        }
        let inet = std::str::from_utf8(text).ok().and_then(|text| {
            let text = text.split_once('%').map_or(text, |(text, _)| text);
            let (address, port) = match text.rsplit_once(':') {
                None => (IpAddr::V6(Ipv6Addr::UNSPECIFIED), text),
                Some((address, port)) => {
                    let within = address.strip_prefix('[').and_then(|address| address.strip_suffix(']'));
                    (within.map_or_else(|| address.parse(), |v6| v6.parse().map(IpAddr::V6)).ok()?, port)
                }
            };
            Some(Address::Inet(address, port.parse().ok().filter(|&port| port != 0)?))
        });
        inet.or_else(|| text.starts_with(b"vsock").then(|| Address::Other(text.to_vec())))
    }
}
