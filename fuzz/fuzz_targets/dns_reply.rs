//! Any reply of a DNS server: no panic, no endless loop, and no more addresses than the bytes
//! allow.
//! A reply to one query is not accepted for another one, nor is a truncated reply accepted as
//! complete.
#![no_main]

use vm2docker_self::transfer::net::dns::{Kind, Reply, question, reply};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for kind in [Kind::A, Kind::Aaaa] {
        let asked = question(7, "a.example", kind).expect("a name");
        // The fuzzer generates the bytes after the question section.
        let message = [
            &[0, 7],
            &bytes[..bytes.len().min(2)],
            &[0, 1],
            bytes.get(2..8).unwrap_or(&[0; 6]),
            &asked[12..],
            bytes.get(8..).unwrap_or_default(),
        ]
        .concat();
        for message in [&message, bytes] {
            if let Some(Reply::Addresses(found) | Reply::Truncated(found)) =
                reply(message, 7, "a.example", kind)
            {
                let size = if kind == Kind::A { 4 } else { 16 };
                assert!(found.len() * size <= message.len());
                assert_eq!(reply(message, 7, "b.example", kind), None);
                assert_eq!(reply(message, 8, "a.example", kind), None);
            }
        }
    }
});
