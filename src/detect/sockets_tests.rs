//! Tests with socket tables of real machines, with invalid tables, and with sockets of this
//! process.

use crate::detect::fixtures::{data, unpack};
use crate::detect::peers::{Endpoint, Holders, Peer, peers};
use crate::detect::process::Processes;
use crate::detect::sockets::*;
use crate::model::findings::Findings;
use crate::system::root::Root;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::io::Write;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

#[test]
fn is_server_real_machines_match_other_tools() {
    for machine in ["kubernetes", "rabbitmq", "vault"] {
        let (_directory, proc) = unpack(&format!("{machine}.tar.xz"));
        let mut findings = Findings::default();
        let sockets = Sockets::load(&proc, b"1/net", &mut findings);
        assert_eq!(findings, Findings::default(), "{machine}");
        let rows = sockets.inet.iter().filter(|socket| socket.is_server()).map(|socket| {
            let name = match (socket.protocol, socket.local.is_ipv4()) {
                (Protocol::Tcp, true) => "tcp",
                (Protocol::Tcp, false) => "tcp6",
                (_, true) => "udp",
                (_, false) => "udp6",
            };
            let (ip, port) = (socket.local.ip(), socket.local.port());
            format!("{name}\t{ip}\t{port}\t{}\t{}", socket.uid, socket.inode)
        });
        let mut rows: Vec<String> = rows.collect();
        let expected = std::fs::read_to_string(data(&format!("{machine}.expected.tsv"))).unwrap();
        let mut expected: Vec<&str> = expected.lines().filter(|line| !line.starts_with('#')).collect();
        rows.sort();
        expected.sort_unstable();
        assert_eq!(rows, expected, "{machine}");
        assert!(sockets.unix.iter().any(|socket| socket.listens), "{machine}");
    }
}

#[test]
fn parse_unix_name_keeps_its_bytes() {
    let stream =
        |name: &[u8]| parse_unix(&[b"0000000000000000: 00000002 00000000 00010000 0001 01 ", name].concat());
    let path = |bytes: &[u8]| Some(UnixName::Path(bytes.into()));
    for (text, name, inode) in [
        (&b"   17 /run/my socket"[..], path(b"/run/my socket"), 17),
        (b"20000  /two\xff ", path(b" /two\xff "), 20000),
        (b"20000 @a@b", Some(UnixName::Abstract(b"a@b"[..].into())), 20000),
        (b"5", None, 5),
        (b"5 ", None, 5),
    ] {
        let socket = stream(text).unwrap();
        assert_eq!((socket.name, socket.inode, socket.listens), (name, inode, true));
    }
    let accepted = parse_unix(b"0: 00000003 00000000 00000000 0005 03 9 /run/x").unwrap();
    assert_eq!((accepted.kind, accepted.listens, accepted.is_connected), (UnixKind::SeqPacket, false, true));
}

#[test]
fn load_invalid_lines_are_counted() {
    let (_directory, root) = unpack("prometheus.tar.xz");
    let mut findings = Findings::default();
    let sockets = Sockets::load(&root, b"proc/net", &mut findings);
    // In this snapshot, `udp` contains lines of `tcp` with a state that UDP sockets do not have.
    assert_eq!(
        findings.sorted().iter().map(|finding| &*finding.path).collect::<Vec<_>>(),
        [b"proc/proc/net/udp"]
    );
    assert!(!sockets.inet.is_empty() && !sockets.unix.is_empty());
    for (name, is_unix) in [("udp_broken", false), ("unix_without_inode", true)] {
        let text = root.read(format!("proc/net/{name}").as_bytes()).unwrap();
        for line in text.split(|&byte| byte == b'\n').skip(1).filter(|line| !line.is_empty()) {
            let is_understood =
                if is_unix { parse_unix(line).is_some() } else { parse_inet(line, Protocol::Udp).is_some() };
            assert!(!is_understood, "{}", String::from_utf8_lossy(line));
        }
    }
    let good = "0: 0100007F:0016 00000000:0000 0A 0:0 0:0 0 7 0 99 1";
    assert!(parse_inet(good.as_bytes(), Protocol::Tcp).is_some());
    for (from, to) in [
        ("0100007F", "+100007F"),
        ("0100007F", "010007F"),
        ("0100007F:0016", "0100007F"),
        (":0016", ":00016"),
        (":0016", ":-016"),
        (" 0A ", " 0F "),
        (" 7 ", " -7 "),
        (" 99 ", " 99999999999999999999 "),
        ("00000000:0000", "00000000000000000000000000000000:0000"),
        (" 99 1", ""),
    ] {
        let bad = good.replacen(from, to, 1);
        assert!(bad != good && parse_inet(bad.as_bytes(), Protocol::Tcp).is_none(), "{bad}");
    }
}

#[test]
fn load_invalid_table_adds_loss_with_path() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(directory.path().join("1/net")).unwrap();
    let table = "heading\n0: 0100007F:0016 00000000:0000 0A 0:0 0:0 0 7 0 99 1\n0: garbage\n\nmore\n";
    std::fs::write(directory.path().join("1/net/tcp"), table).unwrap();
    let mut findings = Findings::default();
    let sockets = Sockets::load(&Root::open(directory.path()).unwrap(), b"1/net", &mut findings);
    assert_eq!((sockets.inet.len(), findings.losses()), (1, 1));
    assert_eq!(
        (&*findings.sorted()[0].path, &*findings.sorted()[0].text),
        (&b"proc/1/net/tcp"[..], "2 lines are not understood")
    );
}

#[test]
#[expect(clippy::disallowed_methods, reason = "an address, no name")]
fn load_own_sockets_are_found_with_holder() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("so cket");
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp6 = TcpListener::bind("[::1]:0").ok();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let _unix = UnixListener::bind(&path).unwrap();
    let _stream = UnixStream::connect(&path).unwrap();
    let _client = TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
    let (mut accepted, _) = tcp.accept().unwrap();
    accepted.write_all(b"x").unwrap();

    let proc = Root::open(Path::new("/proc")).unwrap();
    let mut findings = Findings::default();
    let sockets = Sockets::load(&proc, b"self/net", &mut findings);
    let processes = Processes::load(&proc, &mut findings);
    let holders = Holders::of(&processes);
    let servers: Vec<_> = sockets
        .inet
        .iter()
        .filter(|socket| socket.is_server() && holders.all(socket.inode).contains(&std::process::id()))
        .map(|socket| (socket.protocol, socket.local))
        .collect();
    assert!(servers.contains(&(Protocol::Tcp, tcp.local_addr().unwrap())));
    assert!(servers.contains(&(Protocol::Udp, udp.local_addr().unwrap())));
    if let Some(tcp6) = tcp6 {
        assert!(servers.contains(&(Protocol::Tcp, tcp6.local_addr().unwrap())));
    }
    let name = Some(UnixName::Path(path.as_os_str().as_encoded_bytes().into()));
    let listening = sockets.unix.iter().find(|socket| socket.name == name && socket.listens).unwrap();
    assert!(holders.all(listening.inode).contains(&std::process::id()));
    let client = sockets.inet.iter().find(|socket| socket.remote == tcp.local_addr().unwrap()).unwrap();
    assert_eq!(client.state, State::Established);
}

/// Returns a process table. Its processes started in this order and hold the listed sockets.
fn table(holdings: &[(u32, u32, &[u64])]) -> (tempfile::TempDir, Root) {
    let directory = tempfile::tempdir().unwrap();
    for (order, (pid, parent, inodes)) in holdings.iter().enumerate() {
        let folder = directory.path().join(pid.to_string());
        std::fs::create_dir_all(folder.join("fd")).unwrap();
        let stat = format!("{pid} (x) S {parent} {}{order} 0\n", "0 ".repeat(17));
        std::fs::write(folder.join("stat"), stat).unwrap();
        for (number, inode) in inodes.iter().enumerate() {
            let link = folder.join("fd").join(number.to_string());
            std::os::unix::fs::symlink(format!("socket:[{inode}]"), link).unwrap();
        }
    }
    let root = Root::open(directory.path()).unwrap();
    (directory, root)
}

fn inet(protocol: Protocol, local: &str, remote: &str, state: State, inode: u64) -> InetSocket {
    let (local, remote) = (local.parse().unwrap(), remote.parse().unwrap());
    InetSocket { protocol, local, remote, state, uid: 0, inode }
}

#[test]
fn peers_connection_with_both_ends_is_returned_once() {
    use Protocol::{Tcp, Udp};
    use State::{Established, Listening, Unconnected};
    // 10: server with two workers, activated by process 1; 20: its client; 30: client of 10 and
    // server of 20.
    let (_directory, root) = table(&[
        (1, 0, &[100]),
        (10, 1, &[100, 200]),
        (11, 10, &[100, 101, 102]),
        (12, 10, &[100]),
        (20, 1, &[300, 301, 302, 303]),
        (30, 1, &[400, 401, 402]),
    ]);
    let mut findings = Findings::default();
    let processes = Processes::load(&root, &mut findings);
    assert_eq!((processes.iter().count(), findings.losses()), (6, 0), "{findings:?}");
    let holders = Holders::of(&processes);
    assert_eq!((holders.owner(100), holders.all(100)), (Some(10), &[10, 11, 12, 1][..]));
    let any = "0.0.0.0:0";
    let mut sockets = Sockets {
        inet: vec![
            inet(Tcp, "[::]:5432", "[::]:0", Listening, 100),
            inet(Tcp, "[::ffff:127.0.0.1]:5432", "[::ffff:127.0.0.1]:40000", Established, 101),
            inet(Tcp, "127.0.0.1:40000", "127.0.0.1:5432", Established, 300),
            inet(Tcp, "[::ffff:127.0.0.1]:5432", "[::ffff:127.0.0.1]:40002", Established, 102),
            inet(Tcp, "127.0.0.1:40002", "127.0.0.1:5432", Established, 301),
            // One peer is on another machine, and no process holds the other connection.
            inet(Tcp, "10.0.0.1:40004", "10.0.0.9:5432", Established, 302),
            inet(Tcp, "127.0.0.1:40006", "127.0.0.1:5432", Established, 0),
            // The listening socket is closed.
            inet(Tcp, "127.0.0.1:8000", "127.0.0.1:40008", Established, 400),
            inet(Tcp, "127.0.0.1:40008", "127.0.0.1:8000", Established, 303),
            inet(Udp, "127.0.0.1:8125", any, Unconnected, 200),
            inet(Udp, "127.0.0.1:50000", "127.0.0.1:8125", Established, 401),
            inet(Udp, "10.0.0.1:50001", "10.0.0.9:8125", Established, 402),
        ],
        unix: Vec::new(),
    };
    let unix = |name: Option<&str>, inode| UnixSocket {
        name: name.map(|name| UnixName::Path(name.as_bytes().into())),
        kind: UnixKind::Stream,
        listens: false,
        is_connected: true,
        inode,
    };
    sockets.unix = vec![unix(Some("/run/x"), 200), unix(None, 402), unix(None, 303)];
    let pairs = BTreeMap::from([(200, 402), (402, 200), (303, 7)]);
    let peer = |client, server, endpoint| Peer { client, server, endpoint };
    let at = |protocol, address: &str| Endpoint::Inet(protocol, address.parse().unwrap());
    assert_eq!(
        peers(&sockets, &holders, &pairs),
        [
            peer(20, 11, at(Tcp, "127.0.0.1:5432")),
            peer(20, 30, at(Tcp, "127.0.0.1:8000")),
            peer(30, 10, at(Udp, "127.0.0.1:8125")),
            peer(30, 10, Endpoint::Unix(UnixName::Path(b"/run/x"[..].into()))),
        ]
    );
}

proptest! {
    #[test]
    fn parsers_any_line_never_panic(line in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = (parse_unix(&line), parse_inet(&line, Protocol::Tcp), parse_inet(&line, Protocol::Raw));
    }

    #[test]
    fn parsers_nearly_valid_line_never_panic(line in "[0-9A-F: +@/-]{0,120}") {
        let _ = (parse_unix(line.as_bytes()), parse_inet(line.as_bytes(), Protocol::Udp));
    }
}
