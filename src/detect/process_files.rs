//! Parses the files in `/proc/PID` (`proc_pid_stat(5)` and related pages). All functions are
//! pure.

use super::process::{Capabilities, Credentials, Ids, Limit};
use std::collections::BTreeMap;
use std::str::FromStr;

/// Flag of kernel threads (`PF_KTHREAD` in the kernel's `include/linux/sched.h`).
const KERNEL_THREAD: u64 = 0x0020_0000;

/// Rows of `/proc/PID/limits`, with the names that container engines use for `ulimit` options
/// (`getrlimit(2)`).
const LIMITS: &[(&[u8], &str)] = &[
    (b"Max address space", "as"),
    (b"Max core file size", "core"),
    (b"Max cpu time", "cpu"),
    (b"Max data size", "data"),
    (b"Max file size", "fsize"),
    (b"Max file locks", "locks"),
    (b"Max locked memory", "memlock"),
    (b"Max msgqueue size", "msgqueue"),
    (b"Max nice priority", "nice"),
    (b"Max open files", "nofile"),
    (b"Max processes", "nproc"),
    (b"Max resident set", "rss"),
    (b"Max realtime priority", "rtprio"),
    (b"Max realtime timeout", "rttime"),
    (b"Max pending signals", "sigpending"),
    (b"Max stack size", "stack"),
];

/// Fields of `/proc/PID/stat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) comm: Box<[u8]>,
    pub(super) state: u8,
    pub(super) parent: u32,
    pub(super) is_kernel: bool,
    pub(super) nice: i32,
    pub(super) started: u64,
    /// Addresses of code, stack and arguments. They change with `execve(2)`.
    image: [u64; 3],
}

impl Stat {
    /// Whether both are from the same process without an `execve(2)` in between.
    pub(super) fn is_same_program(&self, other: &Stat) -> bool {
        self.started == other.started && self.image == other.image
    }
}

/// Parses `/proc/PID/stat`. The name can contain spaces, parentheses and newlines.
pub(super) fn stat(text: &[u8]) -> Option<Stat> {
    let open = text.iter().position(|&byte| byte == b'(')?;
    let close = text.iter().rposition(|&byte| byte == b')').filter(|close| *close > open)?;
    let fields: Vec<&[u8]> = words(&text[close + 1..]).collect();
    // The manual page numbers fields from 1, and field 3 is the first after the name.
    let field = |number: usize| fields.get(number - 3).copied();
    // Linux before 3.5 does not report the address of the arguments.
    let address = |number: usize| field(number).and_then(decimal).unwrap_or_default();
    Some(Stat {
        comm: text[open + 1..close].into(),
        state: *field(3)?.first()?,
        parent: decimal(field(4)?)?,
        is_kernel: decimal::<u64>(field(9)?)? & KERNEL_THREAD != 0,
        nice: decimal(field(19)?)?,
        started: decimal(field(22)?)?,
        image: [address(26), address(28), address(48)],
    })
}

/// Returns credentials and umask (since Linux 4.7) from `/proc/PID/status`.
pub(super) fn status(text: &[u8]) -> Option<(Credentials, Option<u32>)> {
    let fields: BTreeMap<&[u8], &[u8]> = text
        .split(|&byte| byte == b'\n')
        .filter_map(|line| {
            let colon = line.iter().position(|&byte| byte == b':')?;
            Some((&line[..colon], &line[colon + 1..]))
        })
        .collect();
    let ids = |name: &[u8]| {
        let mut ids = words(fields.get(name)?).map(decimal);
        Some(Ids { real: ids.next()??, effective: ids.next()??, saved: ids.next()?? })
    };
    let number = |name: &[u8], radix| {
        let text = std::str::from_utf8(fields.get(name)?.trim_ascii()).ok()?;
        u64::from_str_radix(text, radix).ok()
    };
    let capabilities = Capabilities {
        effective: number(b"CapEff", 16)?,
        bounding: number(b"CapBnd", 16)?,
        ambient: number(b"CapAmb", 16).unwrap_or_default(),
    };
    let credentials = Credentials {
        user: ids(b"Uid")?,
        group: ids(b"Gid")?,
        groups: fields
            .get(&b"Groups"[..])
            .map_or_else(Vec::new, |ids| words(ids).filter_map(decimal).collect()),
        capabilities,
        no_new_privileges: number(b"NoNewPrivs", 10) == Some(1),
    };
    let umask = number(b"Umask", 8).and_then(|mask| u32::try_from(mask).ok());
    Some((credentials, umask))
}

/// Parses `/proc/PID/limits`. Skips rows without a `ulimit` name.
pub(super) fn limits(text: &[u8]) -> BTreeMap<&'static str, Limit> {
    text.split(|&byte| byte == b'\n').filter_map(limit).collect()
}

/// Parses a row of `/proc/PID/limits`.
fn limit(line: &[u8]) -> Option<(&'static str, Limit)> {
    let value = |word: &[u8]| match word {
        b"unlimited" => Some(None),
        _ => decimal(word).map(Some),
    };
    let (name, rest) = LIMITS.iter().find_map(|(row, name)| Some((*name, line.strip_prefix(*row)?)))?;
    let mut words = words(rest);
    Some((name, Limit { soft: value(words.next()?)?, hard: value(words.next()?)? }))
}

/// Returns the mapped files in `/proc/PID/maps`, and whether a mapping of each is executable.
pub(super) fn maps(text: &[u8]) -> BTreeMap<Vec<u8>, bool> {
    let mut mapped = BTreeMap::new();
    for line in text.split(|&byte| byte == b'\n') {
        // Only the name can contain spaces, and the kernel pads it on the left.
        let Some((fields, rest)) = split_fields::<5>(line) else { continue };
        let name = rest.trim_ascii_start();
        if name.first() == Some(&b'/') {
            let name = unescape_newline(name);
            *mapped.entry(name).or_default() |= fields[1].get(2) == Some(&b'x');
        }
    }
    mapped
}

/// Returns device, inode number and path of the files in `/proc/PID/maps` that are mapped shared
/// and writable.
pub(super) fn shared_and_writable(text: &[u8]) -> impl Iterator<Item = (u64, u64, Vec<u8>)> {
    text.split(|&byte| byte == b'\n').filter_map(|line| {
        let ([_, permissions, _, device, inode], rest) = split_fields::<5>(line)?;
        let path = rest.trim_ascii_start();
        let is_wanted = permissions.get(1) == Some(&b'w')
            && permissions.get(3) == Some(&b's')
            && path.first() == Some(&b'/');
        let (major, minor) = std::str::from_utf8(device).ok().filter(|_| is_wanted)?.split_once(':')?;
        let number = |digits| u32::from_str_radix(digits, 16).ok();
        let device = rustix::fs::makedev(number(major)?, number(minor)?);
        Some((device, decimal(inode)?, unescape_newline(path)))
    })
}

/// Returns `flags` of `/proc/PID/fdinfo/N` (`open(2)`).
pub(super) fn open_flags(text: &[u8]) -> Option<u32> {
    let line = text.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"flags:"))?;
    u32::from_str_radix(std::str::from_utf8(line.trim_ascii()).ok()?, 8).ok()
}

/// Returns the number in a link such as `socket:[123]` or `net:[4026531840]`.
pub(super) fn bracketed(link: &[u8], kind: &[u8]) -> Option<u64> {
    decimal(link.strip_prefix(kind)?.strip_prefix(b":[")?.strip_suffix(b"]")?)
}

/// Splits a line at spaces and tabs.
pub(super) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| b" \t\n".contains(byte)).filter(|word| !word.is_empty())
}

/// Parses a decimal number; `None` if it is out of range.
pub(super) fn decimal<T: FromStr>(word: &[u8]) -> Option<T> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// Returns the first `N` words of a line, and the rest of the line.
pub(super) fn split_fields<const N: usize>(line: &[u8]) -> Option<([&[u8]; N], &[u8])> {
    let mut fields: [&[u8]; N] = [b""; N];
    let mut rest = line;
    for field in &mut fields {
        rest = rest.trim_ascii_start();
        let end = rest.iter().position(|&byte| byte == b' ').unwrap_or(rest.len());
        (*field, rest) = rest.split_at(end);
        if field.is_empty() {
            return None;
        }
    }
    Some((fields, rest))
}

/// Decodes `\012` as a newline. The kernel escapes no other character in `maps`.
fn unescape_newline(name: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&first, tail)) = rest.split_first() {
        rest = match rest.strip_prefix(b"\\012") {
            Some(after) => {
                bytes.push(b'\n');
                after
            }
            None => {
                bytes.push(first);
                tail
            }
        };
    }
    bytes
}
