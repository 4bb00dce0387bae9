//! Which services talk to each other, and what they have to share for it. Pure but for the files it is handed.

use super::listening::{Listening, canonical};
use super::model::Protocol;
use crate::detect::peers::Endpoint;
use crate::detect::sockets::UnixName;
use memchr::memmem;
use std::collections::{BTreeMap, BTreeSet};

/// Words that tell which server a client means where it names no port: program, words, its usual port.
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
/// How configurations write "this machine".
const HERE: &[&str] = &["127.0.0.1", "localhost", "[::1]", "::1"];

/// A service as far as others see it.
pub(super) struct PeerService<'a> {
    /// File name of its program.
    pub(super) program: &'a [u8],
    /// Where it listens.
    pub(super) listening: &'a Listening,
    /// Its configuration, without comments.
    pub(super) texts: &'a [Text],
}

/// A text of a service's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text {
    /// Relative to the root.
    pub(super) path: Vec<u8>,
    /// Its content, without comments.
    pub(super) content: Vec<u8>,
    /// The administrator wrote it. What a package brings speaks of many servers that nobody uses.
    pub(super) is_own: bool,
}

/// One service needs another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Need {
    /// Index of the one that asks.
    pub(super) client: usize,
    /// Index of the one that answers.
    pub(super) server: usize,
    /// Where.
    pub(super) at: Connection,
    /// How it is known, for people.
    pub(super) evidence: String,
}

/// Where two services meet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Connection {
    /// At an address that means the machine itself.
    Loopback,
    /// At a socket in the file system, absolute.
    Unix(Vec<u8>),
}

/// What the configurations say; `own` are other names and addresses of the machine.
pub(super) fn from_configuration(parties: &[PeerService<'_>], own: &[Vec<u8>]) -> BTreeSet<Need> {
    let mut needs = BTreeSet::new();
    for (client, party) in parties.iter().enumerate() {
        for text in party.texts {
            for (server, other) in parties.iter().enumerate().filter(|(server, _)| *server != client) {
                if let Some(at) = mentioned(text, other, party, own) {
                    let evidence = format!("{} names it", crate::model::escape::display(&text.path));
                    needs.insert(Need { client, server, at, evidence });
                }
            }
        }
    }
    // One reason is enough.
    let mut seen = BTreeSet::new();
    needs.into_iter().filter(|need| seen.insert((need.client, need.server, need.at.clone()))).collect()
}

/// How a text leads to a server.
fn mentioned(
    text: &Text,
    server: &PeerService<'_>,
    client: &PeerService<'_>,
    own: &[Vec<u8>],
) -> Option<Connection> {
    let (text, is_own_text) = (&text.content[..], text.is_own);
    let socket = server.listening.paths.iter().find(|path| {
        let old = path.strip_prefix(b"/run/").map(|rest| [b"/var/run/", rest].concat());
        holds_path(text, path) || old.is_some_and(|old| holds_path(text, &old))
    });
    if let Some(path) = socket {
        return Some(Connection::Unix(path.clone()));
    }
    let is_own = |port: u16| client.listening.ports.iter().any(|own| own.number == port);
    let ports = || {
        server
            .listening
            .ports
            .iter()
            .filter(|port| port.protocol == Protocol::Tcp && !is_own(port.number))
            .map(|port| port.number)
    };
    let here = || HERE.iter().map(|name| name.as_bytes()).chain(own.iter().map(Vec::as_slice));
    let named = ports().any(|port| here().any(|host| holds_address(text, host, port)));
    named.then_some(Connection::Loopback).or_else(|| by_words(text, server, here()).filter(|_| is_own_text))
}

/// A text that speaks of this machine and of a server's protocol, without its port because it is the usual one.
fn by_words<'h>(
    text: &[u8],
    server: &PeerService<'_>,
    mut here: impl Iterator<Item = &'h [u8]>,
) -> Option<Connection> {
    let (_, words, port) = CLIENTS.iter().find(|(program, _, _)| program.as_bytes() == server.program)?;
    let listens = server.listening.ports.iter().any(|own| own.number == *port);
    let lower = text.to_ascii_lowercase();
    let speaks = listens && words.iter().any(|word| memmem::find(&lower, word.as_bytes()).is_some());
    (speaks && here.any(|host| holds_word(text, host))).then_some(Connection::Loopback)
}

/// Whether `host:port` stands in a text, as an address or with the two apart (`host 127.0.0.1; port 5432`, on one line).
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

pub(super) fn holds_path(text: &[u8], path: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
    memmem::find_iter(text, path).any(|at| {
        let after = text.get(at + path.len());
        let before = at.checked_sub(1).map(|at| text[at]);
        !after.is_some_and(is_part) && !before.is_some_and(|byte| is_part(&byte))
    })
}

fn holds_word(text: &[u8], word: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_".contains(byte);
    memmem::find_iter(text, word).any(|at| {
        let after = text.get(at + word.len());
        let before = at.checked_sub(1).map(|at| text[at]);
        // A dot ends a sentence as well.
        let goes_on = after.is_some_and(|byte| is_part(byte) && *byte != b'.');
        !goes_on && !before.is_some_and(|byte| is_part(&byte))
    })
}

/// The lines that say something in most languages of configuration.
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

/// Where two processes of this machine were seen to meet.
pub(super) fn meeting(endpoint: &Endpoint) -> Option<Connection> {
    match endpoint {
        Endpoint::Inet(..) => Some(Connection::Loopback),
        Endpoint::Unix(UnixName::Path(path)) => {
            path.starts_with(b"/").then(|| Connection::Unix(canonical(path)))
        }
        Endpoint::Unix(UnixName::Abstract(_)) => Some(Connection::Loopback),
    }
}

/// Whether an address stands in a text by itself.
pub(super) fn holds_address_alone(text: &[u8], address: &[u8]) -> bool {
    holds_word(text, address)
}

/// Services that need one another at addresses of the machine itself, transitively: each group by its members.
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

/// Who has to be there before whom, without circles: what would close one is left out.
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
    fn configurations_name_who_is_needed() {
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
            ("nothing at all", None),
        ] {
            let content = without_comments(text.as_bytes());
            let texts = [Text { path: b"etc/x".to_vec(), content, is_own: true }];
            let parties = [
                PeerService { program: b"app", listening: &client, texts: &texts },
                PeerService { program: b"postgres", listening: &server, texts: &[] },
            ];
            let needs = from_configuration(&parties, &[b"own-name".to_vec()]);
            assert_eq!(needs.first().map(|need| need.at.clone()), expected, "{text}");
        }
    }

    #[test]
    fn groups_are_transitive_and_orders_have_no_circles() {
        let need = |client, server, at| Need { client, server, at, evidence: String::new() };
        let needs = BTreeSet::from([
            need(0, 1, Connection::Loopback),
            need(2, 1, Connection::Loopback),
            need(3, 4, Connection::Unix(b"/run/x".to_vec())),
        ]);
        assert_eq!(groups(5, &needs), [BTreeSet::from([0, 1, 2])]);
        let order = order(3, [(0, 1), (1, 2), (2, 0), (1, 1)].into_iter());
        assert_eq!(order, [BTreeSet::from([1]), BTreeSet::from([2]), BTreeSet::new()]);
    }
}
