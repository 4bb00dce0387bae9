//! Any account files: the second field of each output line is empty, or consists of `x`, `!` and
//! `*`.
//! Lines and all other fields are unchanged, and a second rewrite changes nothing.
//! A package database loses only complete stanzas of dropped packages. A machine ID is always
//! removed.
#![no_main]

use vm2docker_self::pkg::dpkg::rewrite::rewrite as rewrite_database;
use vm2docker_self::rewrite::rewrite;

libfuzzer_sys::fuzz_target!(|content: &[u8]| {
    for path in [b"etc/shadow".as_slice(), b"etc/gshadow", b"etc/passwd"] {
        let output = rewrite(path, content).expect("a rule");
        let (lines, before) = (split(&output, b'\n'), split(content, b'\n'));
        assert_eq!(lines.len(), before.len());
        for (line, before) in lines.into_iter().zip(before) {
            let (fields, old) = (split(line, b':'), split(before, b':'));
            assert_eq!(fields.len(), old.len());
            assert!(fields.iter().zip(&old).enumerate().all(|(at, (a, b))| at == 1 || a == b));
            let second = fields.get(1).copied().unwrap_or_default();
            assert!(second == b"x" || second.iter().all(|byte| b"!*".contains(byte)));
        }
        assert_eq!(rewrite(path, &output).as_deref(), Some(&*output));
    }
    let status = b"var/lib/dpkg/status";
    assert_eq!(rewrite_database(status, content, &|_, _| false).as_deref(), Some(content));
    assert_eq!(rewrite_database(status, content, &|_, _| true), Some(Vec::new()));
    let output = rewrite_database(status, content, &|name, _| name == b"gone").expect("a rule");
    let mut rest = output.iter();
    let mut next = rest.next();
    for byte in content {
        if next == Some(byte) {
            next = rest.next();
        }
    }
    assert!(next.is_none(), "the output is not part of the input");
    assert_eq!(rewrite_database(status, &output, &|name, _| name == b"gone"), Some(output));
    assert_eq!(rewrite(b"etc/machine-id", content), Some(Vec::new()));
});

fn split(bytes: &[u8], at: u8) -> Vec<&[u8]> {
    bytes.split(|&byte| byte == at).collect()
}
