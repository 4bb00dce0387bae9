//! Queries the kernel for the peers of Unix sockets (`sock_diag(7)`).
//!
//! `/proc/net/unix` does not contain them. For a query without the module `unix_diag`, the kernel
//! would execute `modprobe` of the machine. So this module queries only if `unix_diag` is
//! present.

use super::process_files::words;
use crate::model::findings::{self, Findings};
use crate::system::root::Root;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, sockopt};
use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

/// Timeout of a response. The kernel responds immediately, but a lost response must not block the
/// run.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Size of the receive buffer in bytes. The kernel sends at most 32 KiB at once.
const BUFFER: usize = 64 << 10;
/// Message type `SOCK_DIAG_BY_FAMILY` of `linux/sock_diag.h`.
const BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST | NLM_F_DUMP` of `linux/netlink.h`.
const DUMP: u16 = 0x301;
/// `NLMSG_ERROR` of `linux/netlink.h`.
const ERROR: u16 = 2;
/// `NLMSG_DONE` of `linux/netlink.h`.
const DONE: u16 = 3;
/// `UDIAG_SHOW_PEER` of `linux/unix_diag.h`.
const SHOW_PEER: u32 = 4;
/// `UNIX_DIAG_PEER` of `linux/unix_diag.h`.
const PEER: u16 = 2;

/// Returns the inode numbers of connected Unix sockets in this network namespace, with those of
/// their peers.
///
/// `root` is the root of the running machine. If the kernel cannot be queried, returns nothing
/// and adds a note.
pub(super) fn unix_peers(root: &Root, findings: &mut Findings) -> BTreeMap<u64, u64> {
    let peers = match is_loaded(root) {
        true => ask().map_err(|cause| cause.to_string()),
        false => Err("the kernel's module unix_diag is not loaded".to_owned()),
    };
    peers.unwrap_or_else(|cause| {
        findings.note(
            findings::Kind::Sockets,
            b"",
            format!("who talks to whom over unix sockets is not known: {cause}"),
        );
        BTreeMap::new()
    })
}

/// Whether the module `unix_diag` is loaded or built in, so that a query does not load it.
fn is_loaded(root: &Root) -> bool {
    let modules = root.read(b"proc/modules").unwrap_or_default();
    let mut names = modules.split(|&byte| byte == b'\n').filter_map(|line| words(line).next());
    if names.any(|name| name == b"unix_diag") {
        return true;
    }
    let release = root.read(b"proc/sys/kernel/osrelease").unwrap_or_default();
    let path = [b"lib/modules/", release.trim_ascii(), b"/modules.builtin"].concat();
    let list = root.read(&path).unwrap_or_default();
    memchr::memmem::find(&list, b"/unix_diag.ko").is_some()
}

/// Queries the kernel for all Unix sockets.
pub(super) fn ask() -> io::Result<BTreeMap<u64, u64>> {
    let family = AddressFamily::NETLINK;
    let socket = net::socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, Some(netlink::SOCK_DIAG))?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(TIMEOUT))?;
    net::send(&socket, &request(), SendFlags::empty())?;
    let mut buffer = vec![0; BUFFER];
    let mut peers = BTreeMap::new();
    loop {
        let (_, size) = net::recv(&socket, &mut buffer, RecvFlags::TRUNC)?;
        let datagram = buffer.get(..size).ok_or(io::ErrorKind::InvalidData)?;
        if parse(datagram, &mut peers)? {
            return Ok(peers);
        }
    }
}

/// Encodes the query: `struct nlmsghdr` and `struct unix_diag_req`.
fn request() -> Vec<u8> {
    let mut request = Vec::with_capacity(40);
    request.extend(40u32.to_ne_bytes());
    request.extend(BY_FAMILY.to_ne_bytes());
    request.extend(DUMP.to_ne_bytes());
    request.extend([0; 8]); // sequence number and port ID
    request.extend([AddressFamily::UNIX.as_raw() as u8, 0, 0, 0]);
    request.extend(u32::MAX.to_ne_bytes()); // all states
    request.extend(0u32.to_ne_bytes()); // all inodes
    request.extend(SHOW_PEER.to_ne_bytes());
    request.extend([0; 8]); // cookie
    request
}

/// Adds the pairs of a datagram. Returns whether it is the last one.
pub(super) fn parse(datagram: &[u8], peers: &mut BTreeMap<u64, u64>) -> io::Result<bool> {
    let mut rest = datagram;
    while !rest.is_empty() {
        let (kind, body, after) = message(rest).ok_or(io::ErrorKind::InvalidData)?;
        match kind {
            DONE => return Ok(true),
            ERROR => {
                let number = number(body, 0).ok_or(io::ErrorKind::InvalidData)? as i32;
                return Err(io::Error::from_raw_os_error(number.saturating_neg()));
            }
            BY_FAMILY => peers.extend(pair(body)),
            _ => {}
        }
        rest = after;
    }
    Ok(false)
}

/// Returns type and body of the first message, and the bytes after it.
fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = number(bytes, 0)? as usize;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let body = bytes.get(16..length)?;
    Some((kind, body, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// Parses `struct unix_diag_msg` with its attributes. Returns the inode numbers of a socket and
/// its peer.
fn pair(body: &[u8]) -> Option<(u64, u64)> {
    let own = number(body, 4)?;
    let mut attributes = body.get(16..)?;
    while let Some(head) = attributes.get(..4) {
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let kind = u16::from_ne_bytes([head[2], head[3]]);
        let value = attributes.get(4..length)?;
        if kind == PEER {
            return Some((own.into(), number(value, 0)?.into())).filter(|(_, peer)| *peer != 0);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
    None
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn ask_socket_pair_returns_both_peers() {
        let (one, other) = UnixStream::pair().unwrap();
        let inode = |end: &UnixStream| rustix::fs::fstat(end.as_fd()).unwrap().st_ino;
        // Nothing to test if the kernel lacks the module or a seccomp filter denies the query.
        let Ok(peers) = ask() else { return };
        assert_eq!(peers.get(&inode(&one)), Some(&inode(&other)));
        assert_eq!(peers.get(&inode(&other)), Some(&inode(&one)));
    }

    fn answer(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = (16 + body.len() as u32).to_ne_bytes();
        [&length[..], &kind.to_ne_bytes(), &[0; 10], body].concat()
    }

    #[test]
    fn parse_datagram_returns_all_pairs() {
        let own = [&[1, 1, 3, 0][..], &7u32.to_ne_bytes(), &[0; 8]].concat();
        let name = [&7u16.to_ne_bytes()[..], &0u16.to_ne_bytes(), b"/ab\0"].concat();
        let peer = [&8u16.to_ne_bytes()[..], &PEER.to_ne_bytes(), &9u32.to_ne_bytes()].concat();
        let mut peers = BTreeMap::new();
        let datagram = answer(BY_FAMILY, &[own.clone(), name.clone(), peer].concat());
        assert!(!parse(&[datagram.clone(), answer(BY_FAMILY, &own)].concat(), &mut peers).unwrap());
        assert_eq!(peers, BTreeMap::from([(7, 9)]));
        assert!(parse(&[datagram.clone(), answer(DONE, &[0; 4])].concat(), &mut peers).unwrap());
        let refused = parse(&answer(ERROR, &(-2i32).to_ne_bytes()), &mut peers).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(2));
        for bad in [&datagram[..20], &[0; 16], b"x", &[255; 40]] {
            assert!(parse(bad, &mut peers).is_err());
        }
    }

    proptest! {
        #[test]
        fn parse_any_datagram_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = parse(&bytes, &mut BTreeMap::new());
            let _ = pair(&bytes);
            let _ = parse(&answer(BY_FAMILY, &bytes), &mut BTreeMap::new());
        }
    }
}
