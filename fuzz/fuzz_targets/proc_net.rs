//! Parses any bytes as a line of the kernel's socket tables and as the path of a control group.
//!
//! The inode number of a parsed socket and the name of a parsed unit must occur in the bytes.
#![no_main]

use vm2docker_self::detect::cgroup::{self, CgroupLocation};
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
    if let CgroupLocation::Unit(unit) = cgroup::place_of(path) {
        assert!(path.windows(unit.len()).any(|window| window == &*unit));
    }
    let _ = cgroup::container_of(bytes);
});
