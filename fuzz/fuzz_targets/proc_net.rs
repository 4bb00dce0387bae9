//! Any line of the kernel's socket tables: a parsed socket has numbers that are in the line.
//! The same bytes as a path of a control group return a unit that is in them, or none.
#![no_main]

use vm2docker_self::detect::cgroup;
use vm2docker_self::detect::cgroup::Place;
use vm2docker_self::detect::sockets::{Protocol, parse_inet, parse_unix};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some(socket) = parse_inet(bytes, Protocol::Tcp) {
        let inode = socket.inode.to_string();
        assert!(bytes.windows(inode.len()).any(|window| window == inode.as_bytes()) || bytes.contains(&b'0'));
        assert!(socket.local.is_ipv4() == socket.remote.is_ipv4());
    }
    let _ = parse_unix(bytes);
    let path = cgroup::path_of(bytes);
    assert!(path.is_empty() || bytes.windows(path.len()).any(|window| window == path));
    if let Place::Unit(unit) = cgroup::place_of(path) {
        assert!(path.windows(unit.len()).any(|window| window == &*unit));
    }
    let _ = cgroup::container_of(bytes);
});
