//! Determines which services connect to each other and what they must share. Pure.

use super::listening::{Listening, canonical};
use super::model::Protocol;
use crate::detect::peers::Endpoint;
use crate::detect::sockets::UnixName;
use memchr::memmem;
use std::collections::{BTreeMap, BTreeSet};

/// Words that identify a server in configurations without a port: executable, words, usual port.
const CLIENTS: &[(&str, &[&str], u16)] = &[
    ("postgres", &["postgres", "psycopg", "pgsql"], 5432),
    ("mariadbd", &["mysql", "mariadb"], 3306),
    ("mysqld", &["mysql", "mariadb"], 3306),
    ("redis-server", &["redis"], 6379),
    ("valkey-server", &["redis", "valkey"], 6379),
    ("memcached", &["memcache"], 11211),
    ("beanstalkd", &["beanstalk"], 11300),
    ("mosquitto", &["mqtt"], 1883),
    ("mongod", &["mongodb"], 27017),
    ("master", &["smtp"], 25),
    ("exim4", &["smtp"], 25),
];
/// Loopback names and addresses, as configurations write them.
const LOOPBACK: &[&str] = &["127.0.0.1", "localhost", "[::1]", "::1"];

/// Properties of a service that its clients see.
pub(super) struct PeerService<'a> {
    /// File name of the executable.
    pub(super) program: &'a [u8],
    /// Addresses that the service listens on.
    pub(super) listening: &'a Listening,
    /// Configuration files, without comments.
    pub(super) texts: &'a [Text],
}

/// A configuration file of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text {
    /// Path relative to the root.
    pub(super) path: Vec<u8>,
    /// Content without comments.
    pub(super) content: Vec<u8>,
    /// Whether the file is local. Packaged defaults mention many servers that the machine does
    /// not use.
    pub(super) is_local: bool,
}

/// A dependency of one service on another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Need {
    /// Index of the client.
    pub(super) client: usize,
    /// Index of the server.
    pub(super) server: usize,
    /// Address of the server.
    pub(super) at: Connection,
    /// Observation that shows the dependency, as text for the report.
    pub(super) evidence: String,
}

/// The address at which a client reaches a server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Connection {
    /// A loopback address, or another address of this machine.
    Loopback,
    /// A Unix socket at this absolute path.
    Unix(Vec<u8>),
}

/// Returns the dependencies that configurations show. `own` lists further names and addresses of
/// the machine.
pub(super) fn from_configuration(services: &[PeerService<'_>], own: &[Vec<u8>]) -> BTreeSet<Need> {
    let mut needs = BTreeSet::new();
    for (client, service) in services.iter().enumerate() {
        for text in service.texts {
            for (server, other) in services.iter().enumerate().filter(|(server, _)| *server != client) {
                if let Some(at) = mentioned_address(text, other, service, own) {
                    let evidence =
                        format!("{} mentions its address", crate::model::escape::display(&text.path));
                    needs.insert(Need { client, server, at, evidence });
                }
            }
        }
    }
    // The first observation for an address is enough.
    let mut seen = BTreeSet::new();
    needs.into_iter().filter(|need| seen.insert((need.client, need.server, need.at.clone()))).collect()
}

/// Returns the address of `server` that a text mentions.
fn mentioned_address(
    text: &Text,
    server: &PeerService<'_>,
    client: &PeerService<'_>,
    own: &[Vec<u8>],
) -> Option<Connection> {
    let content = &text.content[..];
    for path in &server.listening.paths {
        // Configurations still use the older path (see `canonical`).
        let old_path = path.strip_prefix(b"/run/").map(|rest| [b"/var/run/", rest].concat());
        if holds_path(content, path) || old_path.is_some_and(|path| holds_path(content, &path)) {
            return Some(Connection::Unix(path.clone()));
        }
    }
    let hosts: Vec<&[u8]> =
        LOOPBACK.iter().map(|name| name.as_bytes()).chain(own.iter().map(Vec::as_slice)).collect();
    let client_ports = &client.listening.ports;
    for port in server.listening.ports.iter().filter(|port| port.protocol == Protocol::Tcp) {
        // A port that the client has too is probably its own.
        let is_client_port = client_ports.iter().any(|other| other.number == port.number);
        if !is_client_port && hosts.iter().any(|host| holds_address(content, host, port.number)) {
            return Some(Connection::Loopback);
        }
    }
    if text.is_local { mentioned_protocol(content, server, &hosts) } else { None }
}

/// Returns the loopback address if a text names this machine and the server's protocol, but no
/// port. Clients omit the usual port.
fn mentioned_protocol(text: &[u8], server: &PeerService<'_>, hosts: &[&[u8]]) -> Option<Connection> {
    let (_, words, port) = CLIENTS.iter().find(|(program, _, _)| program.as_bytes() == server.program)?;
    let lower = text.to_ascii_lowercase();
    let is_mentioned = server.listening.ports.iter().any(|own| own.number == *port)
        && words.iter().any(|word| memmem::find(&lower, word.as_bytes()).is_some())
        && hosts.iter().any(|host| holds_word(text, host));
    is_mentioned.then_some(Connection::Loopback)
}

/// Returns whether a text contains `host:port`, or host and port on one line (`host 127.0.0.1;
/// port 5432`).
fn holds_address(text: &[u8], host: &[u8], port: u16) -> bool {
    let address = [host, b":", port.to_string().as_bytes()].concat();
    let together = memmem::find_iter(text, &address).any(|at| {
        let after = text.get(at + address.len());
        let before = at.checked_sub(1).map(|at| text[at]);
        !after.is_some_and(u8::is_ascii_digit)
            && !before.is_some_and(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
    });
    together
        || text
            .split(|&byte| byte == b'\n')
            .any(|line| holds_word(line, host) && holds_word(line, port.to_string().as_bytes()))
}

/// Returns whether a text contains a path that is not part of a longer name.
pub(super) fn holds_path(text: &[u8], path: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
    memmem::find_iter(text, path).any(|at| {
        let after = text.get(at + path.len());
        let before = at.checked_sub(1).map(|at| text[at]);
        !after.is_some_and(is_part) && !before.is_some_and(|byte| is_part(&byte))
    })
}

/// Returns whether a text contains a word or an address that is not part of a longer one.
pub(super) fn holds_word(text: &[u8], word: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_".contains(byte);
    memmem::find_iter(text, word).any(|at| {
        let after = text.get(at + word.len());
        let before = at.checked_sub(1).map(|at| text[at]);
        // A dot can also end a sentence.
        let continues = after.is_some_and(|byte| is_part(byte) && *byte != b'.');
        !continues && !before.is_some_and(|byte| is_part(&byte))
    })
}

/// Removes lines that most configuration languages read as comments.
pub(super) fn without_comments(text: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(text.len());
    for line in text.split(|&byte| byte == b'\n') {
        let start = line.trim_ascii_start();
        let is_comment =
            [&b"#"[..], b";", b"//", b"--", b"*", b"/*"].iter().any(|mark| start.starts_with(mark));
        if !is_comment {
            kept.extend_from_slice(line);
            kept.push(b'\n');
        }
    }
    kept
}

/// Returns the address of an open connection between two processes of this machine.
pub(super) fn address_of(endpoint: &Endpoint) -> Option<Connection> {
    match endpoint {
        Endpoint::Inet(..) => Some(Connection::Loopback),
        Endpoint::Unix(UnixName::Path(path)) => {
            path.starts_with(b"/").then(|| Connection::Unix(canonical(path)))
        }
        // A network namespace also isolates abstract sockets (network_namespaces(7)).
        Endpoint::Unix(UnixName::Abstract(_)) => Some(Connection::Loopback),
    }
}

/// Returns groups of services that reach each other on loopback, directly or through others.
pub(super) fn groups(count: usize, needs: &BTreeSet<Need>) -> Vec<BTreeSet<usize>> {
    let mut group: Vec<usize> = (0..count).collect();
    for need in needs.iter().filter(|need| need.at == Connection::Loopback) {
        let (from, to) = (group[need.client], group[need.server]);
        group.iter_mut().filter(|member| **member == from.max(to)).for_each(|member| *member = from.min(to));
    }
    let mut members: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for (index, group) in group.into_iter().enumerate() {
        members.entry(group).or_default().insert(index);
    }
    members.into_values().filter(|members| members.len() > 1).collect()
}

/// Returns for each service the services to start first. Leaves out dependencies that would close
/// a cycle.
pub(super) fn order(count: usize, needs: impl Iterator<Item = (usize, usize)>) -> Vec<BTreeSet<usize>> {
    let mut after: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); count];
    for (client, server) in needs {
        if client != server && !reaches(&after, server, client) {
            after[client].insert(server);
        }
    }
    after
}

fn reaches(after: &[BTreeSet<usize>], from: usize, to: usize) -> bool {
    let (mut todo, mut seen) = (vec![from], BTreeSet::new());
    while let Some(at) = todo.pop() {
        if at == to {
            return true;
        }
        todo.extend(after[at].iter().copied().filter(|next| seen.insert(*next)));
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::model::Port;
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    fn listening(port: u16, paths: &[&str]) -> Listening {
        let addresses = BTreeSet::from([IpAddr::V4(Ipv4Addr::LOCALHOST)]);
        let port = Port { number: port, protocol: Protocol::Tcp, addresses, public: false };
        let paths = paths.iter().map(|path| path.as_bytes().to_vec()).collect();
        Listening { ports: BTreeSet::from([port]), paths, is_raw: false }
    }

    #[test]
    fn from_configuration_each_notation_finds_the_connection() {
        let server = listening(5432, &["/run/postgresql/.s.PGSQL.5432"]);
        let client = listening(8000, &[]);
        for (text, expected) in [
            ("proxy_pass http://127.0.0.1:5432/;", Some(Connection::Loopback)),
            ("upstream localhost:5432;", Some(Connection::Loopback)),
            ("host = 127.0.0.1, port = 5432", Some(Connection::Loopback)),
            ("dsn = 'host=localhost dbname=x'  # psycopg", Some(Connection::Loopback)),
            ("server [::1]:5432", Some(Connection::Loopback)),
            ("db.site:5432", None),
            ("own-name:5432", Some(Connection::Loopback)),
            ("# proxy_pass http://127.0.0.1:5432;", None),
            ("http://127.0.0.1:54321", None),
            ("http://10.127.0.0.1:5432", None),
            (
                "unix:/var/run/postgresql/.s.PGSQL.5432;",
                Some(Connection::Unix(b"/run/postgresql/.s.PGSQL.5432".to_vec())),
            ),
            ("/run/postgresql/.s.PGSQL.54321", None),
            ("unrelated text", None),
        ] {
            let content = without_comments(text.as_bytes());
            let texts = [Text { path: b"etc/x".to_vec(), content, is_local: true }];
            let services = [
                PeerService { program: b"app", listening: &client, texts: &texts },
                PeerService { program: b"postgres", listening: &server, texts: &[] },
            ];
            let needs = from_configuration(&services, &[b"own-name".to_vec()]);
            assert_eq!(needs.first().map(|need| need.at.clone()), expected, "{text}");
        }
    }

    #[test]
    fn groups_chain_of_connections_returns_one_group() {
        let need = |client, server, at| Need { client, server, at, evidence: String::new() };
        let needs = BTreeSet::from([
            need(0, 1, Connection::Loopback),
            need(2, 1, Connection::Loopback),
            need(3, 4, Connection::Unix(b"/run/x".to_vec())),
        ]);
        assert_eq!(groups(5, &needs), [BTreeSet::from([0, 1, 2])]);
    }

    #[test]
    fn order_cycle_leaves_out_the_closing_dependency() {
        let order = order(3, [(0, 1), (1, 2), (2, 0), (1, 1)].into_iter());
        assert_eq!(order, [BTreeSet::from([1]), BTreeSet::from([2]), BTreeSet::new()]);
    }
}
