//! DNS messages: builds queries and parses responses (RFC 1035, RFC 3596).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Maximum length of a chain of aliases (CNAME); real chains have two or three.
const MAX_ALIASES: usize = 16;
/// Length of the header in bytes (RFC 1035, section 4.1.1).
const HEADER: usize = 12;
const CNAME: u16 = 5;
const CLASS_IN: u16 = 1;

/// Type of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// IPv4 addresses.
    A = 1,
    /// IPv6 addresses (RFC 3596).
    Aaaa = 28,
}

/// Response of a DNS server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Addresses of the name; empty if it has none of this type.
    Addresses(Vec<IpAddr>),
    /// The name does not exist (NXDOMAIN).
    NoSuchName,
    /// Another response code (RCODE), such as 2 for a server failure.
    Failed(u8),
    /// The response did not fit into a datagram (TC bit); the addresses that did fit.
    Truncated(Vec<IpAddr>),
}

/// Returns a query message. `None` if the name is not valid in DNS.
pub fn question(id: u16, name: &str, kind: Kind) -> Option<Vec<u8>> {
    let mut message = Vec::with_capacity(64);
    message.extend(id.to_be_bytes());
    // Flags: standard query, recursion desired. Then the counts: one question, no records.
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    message.extend(encode(name)?);
    message.extend((kind as u16).to_be_bytes());
    message.extend(CLASS_IN.to_be_bytes());
    Some(message)
}

/// Parses the response to [`question`]. Returns `None` if the message is not valid or is for
/// another query.
pub fn reply(message: &[u8], id: u16, name: &str, kind: Kind) -> Option<Reply> {
    let flags = number(message, 2)?;
    let (is_answer, opcode, truncated, code) =
        (flags >> 15 == 1, flags >> 11 & 15, flags >> 9 & 1 == 1, (flags & 15) as u8);
    if number(message, 0)? != id || !is_answer || opcode != 0 || number(message, 4)? != 1 {
        return None;
    }
    let (queried, at) = name_at(message, HEADER)?;
    let wanted = encode(name)?.to_ascii_lowercase();
    if queried != wanted || number(message, at)? != kind as u16 || number(message, at + 2)? != CLASS_IN {
        return None;
    }
    match code {
        0 => {}
        3 => return Some(Reply::NoSuchName),
        code => return Some(Reply::Failed(code)),
    }
    // A truncated message can end in the middle of a record.
    let records = records(message, at + 4, number(message, 6)?);
    if records.is_none() && !truncated {
        return None;
    }
    let addresses = addresses(&records.unwrap_or_default(), wanted, kind);
    Some(if truncated { Reply::Truncated(addresses) } else { Reply::Addresses(addresses) })
}

/// Resource record (RFC 1035, section 4.1.3).
struct Record<'a> {
    owner: Vec<u8>,
    kind: u16,
    data: &'a [u8],
    /// Target of a CNAME record; empty for other types.
    alias: Vec<u8>,
}

/// Parses the answer section.
fn records(message: &[u8], mut at: usize, count: u16) -> Option<Vec<Record<'_>>> {
    let mut records = Vec::new();
    for _ in 0..count {
        let (owner, end) = name_at(message, at)?;
        let (kind, class) = (number(message, end)?, number(message, end + 2)?);
        let begin = end + 10;
        at = begin + usize::from(number(message, end + 8)?);
        let data = message.get(begin..at)?;
        let alias = if kind == CNAME { name_at(message, begin)?.0 } else { Vec::new() };
        if class == CLASS_IN {
            records.push(Record { owner, kind, data, alias });
        }
    }
    Some(records)
}

/// Returns the addresses of the name. Follows aliases.
fn addresses(records: &[Record<'_>], mut name: Vec<u8>, kind: Kind) -> Vec<IpAddr> {
    for _ in 0..MAX_ALIASES {
        let found: Vec<IpAddr> = records
            .iter()
            .filter(|record| record.owner == name && record.kind == kind as u16)
            .filter_map(|record| address(record.data, kind))
            .collect();
        let alias = records.iter().find(|record| record.owner == name && record.kind == CNAME);
        match alias {
            Some(alias) if found.is_empty() => name.clone_from(&alias.alias),
            _ => return found,
        }
    }
    Vec::new()
}

fn address(data: &[u8], kind: Kind) -> Option<IpAddr> {
    match kind {
        Kind::A => <[u8; 4]>::try_from(data).ok().map(|bytes| Ipv4Addr::from(bytes).into()),
        Kind::Aaaa => <[u8; 16]>::try_from(data).ok().map(|bytes| Ipv6Addr::from(bytes).into()),
    }
}

/// Encodes a name as labels, each after its length byte, with the empty root label at the end.
fn encode(name: &str) -> Option<Vec<u8>> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let mut wire = Vec::with_capacity(name.len() + 2);
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        wire.push(length);
        wire.extend(label.as_bytes());
    }
    wire.push(0);
    (wire.len() <= 255).then_some(wire)
}

/// Decodes the name at an offset, in lower case and in the format of [`encode`]. Also returns the
/// offset after the name.
///
/// A compression pointer (RFC 1035, section 4.1.4) must point before all parts of the name that
/// were read so far. So pointers cannot form a cycle.
fn name_at(message: &[u8], start: usize) -> Option<(Vec<u8>, usize)> {
    let (mut at, mut bound, mut end) = (start, start, None);
    let mut name = Vec::new();
    loop {
        let length = usize::from(*message.get(at)?);
        match length {
            0..=63 => {
                name.extend(message.get(at..=at + length)?.to_ascii_lowercase());
                at += 1 + length;
                if name.len() > 255 {
                    return None;
                }
                if length == 0 {
                    return Some((name, end.unwrap_or(at)));
                }
            }
            0xc0.. => {
                let target = usize::from(number(message, at)? & 0x3fff);
                end.get_or_insert(at + 2);
                if target >= bound {
                    return None;
                }
                (at, bound) = (target, target);
            }
            _ => return None,
        }
    }
}

fn number(message: &[u8], at: usize) -> Option<u16> {
    message.get(at..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Returns a response to `question` with these flags and records (owner, type, data).
    pub(in super::super) fn answer(question: &[u8], flags: u16, records: &[(&[u8], u16, &[u8])]) -> Vec<u8> {
        let mut message = question.to_vec();
        message[2..4].copy_from_slice(&flags.to_be_bytes());
        message[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
        for (owner, kind, data) in records {
            message.extend(*owner);
            message.extend(kind.to_be_bytes());
            message.extend([0, 1, 0, 0, 0, 9]);
            message.extend((data.len() as u16).to_be_bytes());
            message.extend(*data);
        }
        message
    }

    const OK: u16 = 0x8180;
    const QUESTION: &[u8] = b"\xc0\x0c";

    #[test]
    fn reply_alias_returns_addresses_of_target() {
        let asked = question(7, "Deb.example.org", Kind::A).unwrap();
        let alias = b"\x03cdn\x07example\0";
        let message = answer(
            &asked,
            OK,
            &[
                (b"\x03CDN\x07example\0", 1, &[192, 0, 2, 1]),
                (QUESTION, CNAME, alias),
                (b"\x01x\0", 1, &[6; 4]),
            ],
        );
        let expected = Reply::Addresses(vec![[192, 0, 2, 1].into()]);
        assert_eq!(reply(&message, 7, "deb.EXAMPLE.org.", Kind::A), Some(expected));
    }

    #[test]
    fn reply_other_message_returns_none() {
        let asked = question(7, "a.example", Kind::A).unwrap();
        let message = answer(&asked, OK, &[(QUESTION, 1, &[192, 0, 2, 1])]);
        assert!(reply(&message, 7, "a.example", Kind::A).is_some());
        assert_eq!(reply(&message, 8, "a.example", Kind::A), None);
        assert_eq!(reply(&message, 7, "b.example", Kind::A), None);
        assert_eq!(reply(&message, 7, "a.example", Kind::Aaaa), None);
        assert_eq!(reply(&asked, 7, "a.example", Kind::A), None);
        assert_eq!(reply(&message[..message.len() - 1], 7, "a.example", Kind::A), None);
    }

    #[test]
    fn reply_code_and_truncation_are_returned() {
        let asked = question(7, "a.example", Kind::Aaaa).unwrap();
        for (flags, expected) in [
            (OK, Reply::Addresses(Vec::new())),
            (OK | 3, Reply::NoSuchName),
            (OK | 2, Reply::Failed(2)),
            (OK | 0x200, Reply::Truncated(Vec::new())),
        ] {
            assert_eq!(reply(&answer(&asked, flags, &[]), 7, "a.example", Kind::Aaaa), Some(expected));
        }
    }

    #[test]
    fn reply_pointer_cycle_ends() {
        let asked = question(7, "a.example", Kind::A).unwrap();
        let here = u16::try_from(asked.len()).unwrap() | 0xc000;
        for owner in [&here.to_be_bytes()[..], &(here + 1).to_be_bytes(), b"\xff\xff", b"\x40a", b"\xc0"] {
            assert_eq!(reply(&answer(&asked, OK, &[(owner, 1, &[0; 4])]), 7, "a.example", Kind::A), None);
        }
        let itself = [(QUESTION, CNAME, QUESTION)];
        assert_eq!(
            reply(&answer(&asked, OK, &itself), 7, "a.example", Kind::A),
            Some(Reply::Addresses(Vec::new()))
        );
    }

    #[test]
    fn question_invalid_name_returns_none() {
        let long = "a".repeat(64);
        let many = "a.".repeat(127);
        for (name, good) in
            [("a", true), ("a.b.", true), ("", false), ("a..b", false), (&long, false), (&many, true)]
        {
            assert_eq!(question(1, name, Kind::A).is_some(), good, "{name}");
        }
        assert_eq!(question(1, &"a.".repeat(128), Kind::A), None);
    }

    proptest! {
        #[test]
        fn reply_any_bytes_never_panics(message in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = reply(&message, 0, "a.example", Kind::A);
        }

        #[test]
        fn reply_changed_bytes_never_panic(at in 0usize..60, byte: u8, second: u8) {
            let asked = question(7, "a.example", Kind::A).unwrap();
            let mut message = answer(&asked, OK, &[(QUESTION, CNAME, b"\x01b\xc0\x0e"), (b"\x01b\xc0\x0e", 1, &[1; 4])]);
            let length = message.len();
            message[at % length] = byte;
            message[(at + 1) % length] = second;
            let _ = reply(&message, 7, "a.example", Kind::A);
        }
    }
}
