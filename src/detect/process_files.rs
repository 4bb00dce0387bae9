//! The formats of the files in `/proc/PID`, as pure functions of their bytes (`proc_pid_stat(5)` and its siblings).

use super::process::{Capabilities, Credentials, Ids, Limit};
use std::collections::BTreeMap;
use std::str::FromStr;

/// Flag of a kernel thread (`PF_KTHREAD` in the kernel's `include/linux/sched.h`).
const KERNEL_THREAD: u64 = 0x0020_0000;

/// Rows of `/proc/PID/limits`, by the names that `ulimit` options of container engines have (`getrlimit(2)`).
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

/// What is wanted of `/proc/PID/stat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) comm: Box<[u8]>,
    pub(super) state: u8,
    pub(super) parent: u32,
    pub(super) is_kernel: bool,
    pub(super) nice: i32,
    pub(super) started: u64,
    /// Where the program's code, stack and arguments lie: other numbers after `execve(2)`.
    image: [u64; 3],
}

impl Stat {
    /// Whether both were read of the same process while it ran the same program.
    pub(super) fn is_same_program(&self, other: &Stat) -> bool {
        self.started == other.started && self.image == other.image
    }
}

/// `/proc/PID/stat`; the name may hold spaces, parentheses and newlines.
pub(super) fn stat(text: &[u8]) -> Option<Stat> {
    let open = text.iter().position(|&byte| byte == b'(')?;
    let close = text.iter().rposition(|&byte| byte == b')').filter(|close| *close > open)?;
    let fields: Vec<&[u8]> = words(&text[close + 1..]).collect();
    // The manual page counts from 1, and its third field is the first one here.
    let field = |number: usize| fields.get(number - 3).copied();
    // Kernels before 3.5 have no addresses of the arguments.
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

/// What is wanted of `/proc/PID/status`: credentials, and the mask for new files (since Linux 4.7).
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

/// `/proc/PID/limits`; rows that no `ulimit` has a name for are left out.
pub(super) fn limits(text: &[u8]) -> BTreeMap<&'static str, Limit> {
    let value = |word: &[u8]| match word {
        b"unlimited" => Some(None),
        _ => decimal(word).map(Some),
    };
    let row = |line: &[u8]| {
        let (name, rest) = LIMITS.iter().find_map(|(row, name)| Some((*name, line.strip_prefix(*row)?)))?;
        let mut words = words(rest);
        Some((name, Limit { soft: value(words.next()?)?, hard: value(words.next()?)? }))
    };
    text.split(|&byte| byte == b'\n').filter_map(row).collect()
}

/// `/proc/PID/maps`: the files that are mapped, and whether code of them is.
pub(super) fn maps(text: &[u8]) -> BTreeMap<Vec<u8>, bool> {
    let mut mapped = BTreeMap::new();
    for line in text.split(|&byte| byte == b'\n') {
        // Only the name may hold spaces, and the kernel pads before it.
        let Some((fields, rest)) = split_fields::<5>(line) else { continue };
        let name = rest.trim_ascii_start();
        if name.first() == Some(&b'/') {
            let name = unescape_newline(name);
            *mapped.entry(name).or_default() |= fields[1].get(2) == Some(&b'x');
        }
    }
    mapped
}

/// `/proc/PID/maps`: device, inode and path of the files that are mapped shared and writable.
pub(super) fn shared_and_writable(text: &[u8]) -> impl Iterator<Item = (u64, u64, Vec<u8>)> {
    text.split(|&byte| byte == b'\n').filter_map(|line| {
        let ([_, rights, _, device, inode], rest) = split_fields::<5>(line)?;
        let path = rest.trim_ascii_start();
        let is_wanted =
            rights.get(1) == Some(&b'w') && rights.get(3) == Some(&b's') && path.first() == Some(&b'/');
        let (major, minor) = std::str::from_utf8(device).ok().filter(|_| is_wanted)?.split_once(':')?;
        let number = |digits| u32::from_str_radix(digits, 16).ok();
        let device = rustix::fs::makedev(number(major)?, number(minor)?);
        Some((device, decimal(inode)?, unescape_newline(path)))
    })
}

/// `flags` of `/proc/PID/fdinfo/N` (`open(2)`).
pub(super) fn open_flags(text: &[u8]) -> Option<u32> {
    let line = text.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"flags:"))?;
    u32::from_str_radix(std::str::from_utf8(line.trim_ascii()).ok()?, 8).ok()
}

/// The number in a link such as `socket:[123]` or `net:[4026531840]`.
pub(super) fn bracketed(link: &[u8], kind: &[u8]) -> Option<u64> {
    decimal(link.strip_prefix(kind)?.strip_prefix(b":[")?.strip_suffix(b"]")?)
}

/// Words between spaces and tabs.
pub(super) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| b" \t\n".contains(byte)).filter(|word| !word.is_empty())
}

/// A number in decimal digits, if it has the range.
pub(super) fn decimal<T: FromStr>(word: &[u8]) -> Option<T> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// The first `N` words of a line, and all that follows them.
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

/// The table of maps writes a newline in a name as `\012`, and nothing else that way.
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
