//! Resolver with DNS servers that respond late, incorrectly or not at all.

use crate::transfer::net::resolver::dns::tests::answer;
use crate::transfer::net::resolver::*;
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};

const OK: u16 = 0x8180;
const TRUNCATED: u16 = 0x8380;
const NAME: &[u8] = b"\xc0\x0c";

/// Binds a free port for both protocols.
///
/// The kernel picks a port that is free for one protocol only, so this repeats until both are
/// free.
fn same_udp_and_tcp_port() -> (UdpSocket, TcpListener) {
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        match UdpSocket::bind(listener.local_addr().unwrap()) {
            Ok(socket) => return (socket, listener),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Starts a DNS server (UDP and TCP) that sends the messages that `reply` returns for a query.
fn name_server(reply: impl Fn(&[u8], bool) -> Vec<Vec<u8>> + Send + Sync + 'static) -> SocketAddr {
    let (socket, listener) = same_udp_and_tcp_port();
    let address = socket.local_addr().unwrap();
    let reply = std::sync::Arc::new(reply);
    let for_streams = std::sync::Arc::clone(&reply);
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((got, from)) = socket.recv_from(&mut buffer) {
            for message in reply(&buffer[..got], false) {
                let _ = socket.send_to(&message, from);
            }
        }
    });
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut question).unwrap();
            for message in for_streams(&question, true) {
                stream.write_all(&(message.len() as u16).to_be_bytes()).unwrap();
                stream.write_all(&message).unwrap();
            }
        }
    });
    address
}

fn is_a(question: &[u8]) -> bool {
    question[question.len() - 3] == 1
}

fn is_for(question: &[u8], name: &str) -> bool {
    dns::question(0, name, Kind::A)
        .is_some_and(|other| question[12..question.len() - 4] == other[12..other.len() - 4])
}

/// Returns a response with the address 192.0.2.N or 2001:db8::, depending on the query.
fn both(question: &[u8], last: u8) -> Vec<u8> {
    let mut ipv6 = [0; 16];
    ipv6[..4].copy_from_slice(&[0x20, 1, 0x0d, 0xb8]);
    let data = if is_a(question) { &[192, 0, 2, last][..] } else { &ipv6 };
    let kind = if is_a(question) { Kind::A } else { Kind::Aaaa };
    answer(question, OK, &[(NAME, kind as u16, data)])
}

fn resolver(addresses: &[SocketAddr]) -> SystemResolver {
    let timeout = Duration::from_millis(200);
    let servers = Servers { addresses: addresses.to_vec(), timeout, ..Servers::parse("search corp.example") };
    SystemResolver::new("192.0.2.77 Near near.example # far\n::1 near\nbad far".to_owned(), servers, true)
}

fn look_up(server: SocketAddr, name: &str) -> Result<String, Unresolved> {
    let found = resolver(&[server]).look_up(name, Duration::from_secs(5))?;
    Ok(found.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" "))
}

#[test]
fn servers_parse_file_returns_glibc_settings() {
    let text = "# x\nnameserver 192.0.2.1\nnameserver 2001:db8::1\nnameserver bad\n nameserver fe80::1%2\nnameserver 192.0.2.4\n\
                domain old.example\nsearch a.example b.example\noptions ndots:99 timeout:2 attempts:0 rotate ndots:x\n";
    let servers = Servers::parse(text);
    let shown: Vec<String> = servers.addresses.iter().map(SocketAddr::to_string).collect();
    assert_eq!(shown, ["192.0.2.1:53", "[2001:db8::1]:53", "[fe80::1%2]:53"]);
    assert_eq!(servers.search, ["a.example", "b.example"]);
    assert_eq!((servers.ndots, servers.timeout.as_secs(), servers.attempts), (15, 2, 1));
    assert_eq!(Servers::parse("").addresses, [SocketAddr::from(([127, 0, 0, 1], 53))]);
}

#[test]
fn servers_candidates_few_dots_try_search_list_first() {
    let servers = Servers::parse("search a.example\noptions ndots:2");
    assert_eq!(servers.candidates("x"), ["x.a.example", "x"]);
    assert_eq!(servers.candidates("x.y.z"), ["x.y.z", "x.y.z.a.example"]);
    assert_eq!(servers.candidates("x."), ["x."]);
}

#[test]
fn look_up_address_or_hosts_entry_sends_no_query() {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
    for (name, expected) in [
        ("192.0.2.5", "192.0.2.5"),
        ("[2001:db8::5]", "2001:db8::5"),
        ("NEAR", "192.0.2.77 ::1"),
        ("near.example", "192.0.2.77"),
        ("localhost", "127.0.0.1 ::1"),
        ("x.localhost.", "127.0.0.1 ::1"),
    ] {
        assert_eq!(look_up(nowhere, name).as_deref(), Ok(expected), "{name}");
    }
    assert_eq!(look_up(nowhere, "far"), Err(Unresolved::Silence));
    assert_eq!(look_up(nowhere, "a..b"), Err(Unresolved::NoSuchName));
}

#[test]
fn look_up_both_types_returns_ipv4_first() {
    let server = name_server(|question, _| vec![both(question, 1)]);
    assert_eq!(look_up(server, "a.example").as_deref(), Ok("192.0.2.1 2001:db8::"));
    let only_ipv4 = name_server(|question, _| if is_a(question) { vec![both(question, 1)] } else { vec![] });
    assert_eq!(look_up(only_ipv4, "a.example").as_deref(), Ok("192.0.2.1"));
    let only_ipv6 = name_server(|question, _| {
        vec![if is_a(question) { answer(question, OK, &[]) } else { both(question, 1) }]
    });
    assert_eq!(look_up(only_ipv6, "a.example").as_deref(), Ok("2001:db8::"));
}

#[test]
fn look_up_truncated_response_uses_tcp() {
    let server = name_server(|question, by_stream| {
        vec![if by_stream { both(question, 2) } else { answer(question, TRUNCATED, &[]) }]
    });
    assert_eq!(look_up(server, "a.example").as_deref(), Ok("192.0.2.2 2001:db8::"));
}

#[test]
fn look_up_forged_response_is_ignored() {
    let server = name_server(|question, _| {
        let mut forged = both(question, 66);
        forged[0] ^= 1;
        vec![forged, b"no message".to_vec(), both(question, 3)]
    });
    assert_eq!(look_up(server, "a.example").as_deref(), Ok("192.0.2.3 2001:db8::"));
}

#[test]
fn look_up_failed_server_uses_next() {
    let server = name_server(|question, _| {
        let known = is_for(question, "host.corp.example");
        vec![if known { both(question, 4) } else { answer(question, OK | 3, &[]) }]
    });
    assert!(look_up(server, "host").is_ok());
    assert_eq!(look_up(server, "other"), Err(Unresolved::NoSuchName));
    let broken = name_server(|question, _| vec![answer(question, OK | 2, &[])]);
    assert_eq!(look_up(broken, "host"), Err(Unresolved::Refused));
    let silent = name_server(|_, _| vec![]);
    let found = resolver(&[silent, broken, server]).look_up("host", Duration::from_secs(5));
    assert!(found.is_ok());
}

#[test]
fn look_up_without_cached_failures_queries_again() {
    let asked = AtomicUsize::new(0);
    // No response, then an error, then addresses. A lookup sends two queries in two attempts.
    let server = name_server(move |question, _| match asked.fetch_add(1, Ordering::Relaxed) / 2 {
        0 | 1 => vec![],
        2 | 3 => vec![answer(question, OK | 2, &[])],
        _ => vec![both(question, 5)],
    });
    let mut resolver = resolver(&[server]);
    resolver.servers.search.clear();
    resolver.keeps_failures = false;
    let look_up = || resolver.look_up("a.b.example", Duration::from_secs(5));
    assert_eq!(look_up(), Err(Unresolved::Silence));
    assert_eq!(look_up(), Err(Unresolved::Refused));
    assert!(look_up().is_ok());
}

#[test]
fn look_up_unresponsive_server_waits_once() {
    let silent = name_server(|_, _| vec![]);
    let resolver = resolver(&[silent]);
    let began = Instant::now();
    assert_eq!(resolver.look_up("a.example", Duration::from_millis(300)), Err(Unresolved::Silence));
    let first = began.elapsed();
    assert!(first < Duration::from_secs(1));
    for name in ["a.example", "b.example", "c.example"] {
        assert_eq!(resolver.look_up(name, Duration::from_secs(5)), Err(Unresolved::Silence));
    }
    assert!(began.elapsed() < first + Duration::from_millis(100));
}
