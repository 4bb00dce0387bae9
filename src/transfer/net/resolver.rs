//! Host name lookup without the C library.
//!
//! A statically linked glibc would load the machine's name service modules and can crash in them
//! (`docs/decisions/0005-static-binary-and-name-resolution.md`).
//!
//! The resolver uses hosts(5) and these options of resolv.conf(5): `nameserver`, `domain`,
//! `search`, `ndots`, `timeout` and `attempts`. It does not use the modules of nsswitch.conf(5).
//! If the system uses systemd-resolved, resolv.conf(5) names it as a server too.

use super::dns::{self, Kind, Reply};
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

const PORT: u16 = 53;
/// Limits of glibc (resolv.conf(5)).
const MAX_SERVERS: usize = 3;
const MAX_NDOTS: usize = 15;
const MAX_TIMEOUT: u64 = 30;
const MAX_ATTEMPTS: u32 = 5;
const MAX_SEARCH: usize = 6;
/// Maximum size of a file in bytes. An /etc/hosts with a block list has a few MiB.
const MAX_FILE: u64 = 16 << 20;
/// Maximum number of addresses to try.
const MAX_IPV4: usize = 4;
const MAX_IPV6: usize = 2;
/// Time to wait for the second response after the first one succeeded.
const GRACE: Duration = Duration::from_millis(300);
/// Maximum number of datagrams to read per server; others than responses are ignored.
const MAX_DATAGRAMS: usize = 64;

/// Settings of resolv.conf(5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Servers {
    addresses: Vec<SocketAddr>,
    search: Vec<String>,
    ndots: usize,
    timeout: Duration,
    attempts: u32,
}

impl Servers {
    /// Parses the file. Missing settings have the defaults of glibc.
    pub fn parse(text: &str) -> Self {
        let mut servers = Servers {
            addresses: Vec::new(),
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
        };
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") if servers.addresses.len() < MAX_SERVERS => {
                    servers.addresses.extend(words.next().and_then(server));
                }
                Some("search" | "domain") => {
                    servers.search = words.take(MAX_SEARCH).map(str::to_owned).collect();
                }
                Some("options") => words.for_each(|option| servers.set(option)),
                _ => {}
            }
        }
        if servers.addresses.is_empty() {
            servers.addresses.push((Ipv4Addr::LOCALHOST, PORT).into());
        }
        servers
    }

    fn set(&mut self, option: &str) {
        let Some((name, Ok(value))) =
            option.split_once(':').map(|(name, value)| (name, value.parse::<u32>()))
        else {
            return;
        };
        match name {
            "ndots" => self.ndots = (value as usize).min(MAX_NDOTS),
            "timeout" => self.timeout = Duration::from_secs(u64::from(value).clamp(1, MAX_TIMEOUT)),
            "attempts" => self.attempts = value.clamp(1, MAX_ATTEMPTS),
            _ => {}
        }
    }

    /// Returns the names to query, in this order (resolv.conf(5), `search` and `ndots`).
    fn candidates(&self, name: &str) -> Vec<String> {
        if name.ends_with('.') {
            return vec![name.to_owned()];
        }
        let searched = self.search.iter().map(|domain| format!("{name}.{}", domain.trim_start_matches('.')));
        let itself = std::iter::once(name.to_owned());
        let dots = name.bytes().filter(|&byte| byte == b'.').count();
        if dots >= self.ndots { itself.chain(searched).collect() } else { searched.chain(itself).collect() }
    }
}

/// Parses the address of a server. Link-local addresses have an interface: `fe80::1%eth0`.
fn server(text: &str) -> Option<SocketAddr> {
    let Some((address, interface)) = text.split_once('%') else {
        return text.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, PORT));
    };
    let is_plain =
        !interface.is_empty() && interface.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
    let index = Path::new("/sys/class/net").join(interface).join("ifindex");
    let scope = interface.parse().ok().or_else(|| {
        let number = is_plain.then(|| std::fs::read_to_string(index).ok()).flatten()?;
        number.trim().parse().ok()
    })?;
    Some(SocketAddrV6::new(address.parse().ok()?, PORT, 0, scope).into())
}

/// Returns the addresses of a name in hosts(5).
pub fn in_hosts(text: &str, name: &str) -> Vec<IpAddr> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let entries = lines.filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let address = words.next()?;
        words.any(|word| word.eq_ignore_ascii_case(name)).then(|| address.parse().ok())?
    });
    entries.collect()
}

/// Reason why a name was not resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// No DNS server responded.
    Silence,
    /// The name does not exist.
    NoSuchName,
    /// The name has no address.
    NoAddress,
    /// The DNS servers returned an error.
    Refused,
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unresolved::Silence => "no DNS server responds",
            Unresolved::NoSuchName => "host name not found",
            Unresolved::NoAddress => "the host name has no address",
            Unresolved::Refused => "the DNS server returned an error",
        })
    }
}

impl std::error::Error for Unresolved {}

/// Resolver with a cache for the run.
#[derive(Debug)]
pub struct SystemResolver {
    hosts: String,
    servers: Servers,
    known: Mutex<HashMap<String, Result<Vec<IpAddr>, Unresolved>>>,
    /// Whether failures are cached too.
    keeps_failures: bool,
}

impl SystemResolver {
    /// Reads the files of the running system, not those of the converted root.
    pub fn of_this_system(keeps_failures: bool) -> Self {
        Self::new(read("/etc/hosts"), Servers::parse(&read("/etc/resolv.conf")), keeps_failures)
    }

    fn new(hosts: String, servers: Servers, keeps_failures: bool) -> Self {
        SystemResolver { hosts, servers, known: Mutex::default(), keeps_failures }
    }

    /// Returns the addresses of a host, IPv4 first. If only one of them works, it is usually
    /// IPv4.
    pub fn look_up(&self, host: &str, timeout: Duration) -> Result<Vec<IpAddr>, Unresolved> {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = bare.parse() {
            return Ok(vec![address]);
        }
        let name = host.to_ascii_lowercase();
        let found = in_hosts(&self.hosts, name.trim_end_matches('.'));
        if !found.is_empty() {
            return Ok(sorted(found));
        }
        // RFC 6761, section 6.3: `localhost` is always a loopback address and must not be
        // queried.
        if matches!(name.trim_end_matches('.').rsplit('.').next(), Some("localhost")) {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        if let Some(known) = self.cached(&name) {
            return known;
        }
        let result = self.query_candidates(&name, Instant::now() + timeout);
        if result.is_ok() || self.keeps_failures {
            self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(name, result.clone());
        }
        result
    }

    /// Returns the cached result. If no server responded for one name, that is the result for
    /// all.
    fn cached(&self, name: &str) -> Option<Result<Vec<IpAddr>, Unresolved>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let silence = || known.values().find(|result| **result == Err(Unresolved::Silence));
        known.get(name).or_else(silence).cloned()
    }

    /// Queries the name with each suffix of the search list.
    fn query_candidates(&self, name: &str, deadline: Instant) -> Result<Vec<IpAddr>, Unresolved> {
        let mut outcome = Unresolved::NoSuchName;
        for candidate in self.servers.candidates(name) {
            match self.query(&candidate, deadline) {
                Ok(addresses) => return Ok(sorted(addresses)),
                Err(Unresolved::NoSuchName) => {}
                Err(Unresolved::NoAddress) => outcome = Unresolved::NoAddress,
                Err(failure) => return Err(failure),
            }
        }
        Err(outcome)
    }

    /// Queries one name at all servers in turn.
    fn query(&self, name: &str, deadline: Instant) -> Result<Vec<IpAddr>, Unresolved> {
        let mut outcome = Unresolved::Silence;
        for _ in 0..self.servers.attempts {
            for server in &self.servers.addresses {
                let until = deadline.min(Instant::now() + self.servers.timeout);
                match Query::new(*server, name, until).ok_or(Unresolved::NoSuchName)?.run() {
                    Ok(Reply::Addresses(addresses)) if addresses.is_empty() => {
                        return Err(Unresolved::NoAddress);
                    }
                    Ok(Reply::Addresses(addresses) | Reply::Truncated(addresses)) => return Ok(addresses),
                    Ok(Reply::NoSuchName) => return Err(Unresolved::NoSuchName),
                    Ok(Reply::Failed(_)) => outcome = Unresolved::Refused,
                    Err(_) => {}
                }
            }
        }
        Err(outcome)
    }
}

impl Resolver for SystemResolver {
    fn resolve(
        &self,
        uri: &Uri,
        _: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().ok_or(ureq::Error::HostNotFound)?;
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let timeout = (*timeout.after).min(Duration::from_secs(60));
        let found = self.look_up(host, timeout).map_err(|error| ureq::Error::Other(Box::new(error)))?;
        let mut addresses = self.empty();
        found.into_iter().for_each(|address| addresses.push(SocketAddr::new(address, port)));
        Ok(addresses)
    }
}

fn read(path: &str) -> String {
    let mut content = Vec::new();
    // A missing file has the meaning of an empty one (hosts(5), resolv.conf(5)).
    let _ = std::fs::File::open(path).and_then(|file| file.take(MAX_FILE).read_to_end(&mut content));
    String::from_utf8_lossy(&content).into_owned()
}

/// Sorts IPv4 before IPv6 addresses and limits their number.
fn sorted(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let (ipv4, ipv6): (Vec<IpAddr>, Vec<IpAddr>) = addresses.into_iter().partition(IpAddr::is_ipv4);
    ipv4.into_iter().take(MAX_IPV4).chain(ipv6.into_iter().take(MAX_IPV6)).collect()
}

/// Query of one server for the IPv4 and IPv6 addresses of a name.
struct Query<'a> {
    server: SocketAddr,
    name: &'a str,
    deadline: Instant,
    questions: [(Kind, u16, Vec<u8>); 2],
}

impl<'a> Query<'a> {
    fn new(server: SocketAddr, name: &'a str, deadline: Instant) -> Option<Self> {
        // Unpredictable IDs make forged responses harder (RFC 5452). RandomState is seeded by the
        // operating system.
        let random = RandomState::new().build_hasher().finish();
        let (first, second) = (random as u16, (random >> 16) as u16);
        let question = |kind, id| Some((kind, id, dns::question(id, name, kind)?));
        let questions = [question(Kind::A, first)?, question(Kind::Aaaa, second)?];
        Some(Query { server, name, deadline, questions })
    }

    /// Sends both queries and combines the responses.
    fn run(&self) -> io::Result<Reply> {
        let mut addresses = Vec::new();
        let mut replies = Vec::new();
        for (question, reply) in self.questions.iter().zip(self.by_udp()?) {
            let reply = match reply {
                // If a firewall blocks TCP, the addresses in the truncated response are used.
                Some(Reply::Truncated(some)) => Some(self.by_tcp(question).unwrap_or(Reply::Addresses(some))),
                reply => reply,
            };
            match reply {
                Some(Reply::Addresses(some)) => {
                    addresses.extend(some);
                    replies.push(Reply::Addresses(Vec::new()));
                }
                other => replies.extend(other),
            }
        }
        if !addresses.is_empty() {
            return Ok(Reply::Addresses(addresses));
        }
        let is_failure = |reply: &Reply| matches!(reply, Reply::Failed(_));
        let best = replies.iter().find(|reply| !is_failure(reply)).or(replies.first());
        best.cloned().ok_or_else(|| io::ErrorKind::TimedOut.into())
    }

    /// Queries by UDP. Returns the responses in the order of the questions.
    ///
    /// The socket is connected, so it receives datagrams of this server only (udp(7)).
    fn by_udp(&self) -> io::Result<[Option<Reply>; 2]> {
        let any: IpAddr =
            if self.server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
        socket.connect(self.server)?;
        for (_, _, question) in &self.questions {
            socket.send(question)?;
        }
        let mut replies = [None, None];
        let mut deadline = self.deadline;
        let mut buffer = [0; 4096];
        for _ in 0..MAX_DATAGRAMS {
            socket.set_read_timeout(Some(left(deadline)?))?;
            let got = match socket.recv(&mut buffer) {
                Ok(got) => got,
                Err(_) if replies.iter().any(Option::is_some) => break,
                Err(error) => return Err(error),
            };
            for ((kind, id, _), reply) in self.questions.iter().zip(&mut replies) {
                if let Some(received) = dns::reply(&buffer[..got], *id, self.name, *kind) {
                    if !matches!(received, Reply::Failed(_)) {
                        deadline = deadline.min(Instant::now() + GRACE);
                    }
                    *reply = Some(received);
                }
            }
            let is_over = replies.iter().all(Option::is_some) || replies.contains(&Some(Reply::NoSuchName));
            if is_over {
                break;
            }
        }
        Ok(replies)
    }

    /// Queries by TCP: each message follows its length in two bytes (RFC 7766, section 8).
    fn by_tcp(&self, (kind, id, question): &(Kind, u16, Vec<u8>)) -> io::Result<Reply> {
        let mut stream = TcpStream::connect_timeout(&self.server, left(self.deadline)?)?;
        stream.set_write_timeout(Some(left(self.deadline)?))?;
        let length = (question.len() as u16).to_be_bytes();
        stream.write_all(&[&length, &question[..]].concat())?;
        let mut receive = |buffer: &mut [u8]| -> io::Result<()> {
            let mut filled = 0;
            while filled < buffer.len() {
                stream.set_read_timeout(Some(left(self.deadline)?))?;
                match stream.read(&mut buffer[filled..])? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    got => filled += got,
                }
            }
            Ok(())
        };
        let mut length = [0; 2];
        receive(&mut length)?;
        let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
        receive(&mut message)?;
        match dns::reply(&message, *id, self.name, *kind) {
            Some(Reply::Truncated(addresses)) => Ok(Reply::Addresses(addresses)),
            Some(reply) => Ok(reply),
            None => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Returns the time until the deadline. Fails with `TimedOut` if it has passed.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

#[cfg(test)]
#[path = "resolver_tests.rs"]
mod tests;
