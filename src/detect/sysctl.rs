//! Reads kernel parameters that the machine's files set (`sysctl.d(5)`), and their current
//! values.

use crate::glob::{self, Dialect, Glob};
use crate::model::escape::escape;
use crate::model::findings::{self, Findings};
use crate::model::tree;
use crate::system::root::Root;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::io::ErrorKind;

/// Directories of settings. If a file name occurs in several directories, the first one applies.
const DIRECTORIES: &[&str] =
    &["etc/sysctl.d", "run/sysctl.d", "usr/local/lib/sysctl.d", "usr/lib/sysctl.d", "lib/sysctl.d"];

/// Prefixes of parameters that a container can set: those of IPC and network namespaces
/// (`namespaces(7)`).
const NAMESPACED: &[&str] = &["fs/mqueue/", "kernel/msg", "kernel/sem", "kernel/shm", "net/"];

/// Exceptions from [`NAMESPACED`]: prefixes of parameters that apply to the complete machine.
///
/// They were found by comparing a new network namespace of Linux 6.18 with the initial one. The
/// list also contains parameters that are missing or read-only in namespaces of older kernels.
const GLOBAL: &[&str] = &[
    "kernel/sem_next_id",
    "kernel/msg_next_id",
    "kernel/shm_next_id",
    "net/bridge/",
    "net/core/",
    "net/ipv4/cipso_",
    "net/ipv4/fib_sync_mem",
    "net/ipv4/inet_peer_",
    "net/ipv4/ipfrag_secret_interval",
    "net/ipv4/route/",
    "net/ipv4/tcp_available_ulp",
    "net/ipv4/tcp_low_latency",
    "net/ipv4/tcp_max_orphans",
    "net/ipv4/tcp_mem",
    "net/ipv4/udp_mem",
    "net/ipv6/calipso_",
    "net/ipv6/ip6frag_secret_interval",
    "net/ipv6/mld_",
    "net/netfilter/",
    "net/nf_conntrack_max",
];

/// Exceptions from [`GLOBAL`].
const OWN: &[&str] = &["net/core/somaxconn", "net/core/xfrm_"];

/// Parameters whose values are keys. They are never included.
const SECRET: &[&[u8]] = &[b"tcp_fastopen_key", b"stable_secret"];

/// Parameter that a file of the machine sets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Sysctl {
    /// Path below `/proc/sys`.
    #[serde(serialize_with = "escaped")]
    #[cfg_attr(test, schemars(with = "String"))]
    pub path: Vec<u8>,
    /// Value in the file.
    #[serde(serialize_with = "escaped")]
    #[cfg_attr(test, schemars(with = "String"))]
    pub configured: Vec<u8>,
    /// Current value; `None` if the kernel does not have the parameter.
    #[serde(serialize_with = "escaped_if_any")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub current: Option<Vec<u8>>,
    /// File that sets the parameter, relative to the root.
    #[serde(serialize_with = "escaped")]
    #[cfg_attr(test, schemars(with = "String"))]
    pub file: Vec<u8>,
    /// Whether a container can set the parameter in its namespaces.
    pub is_namespaced: bool,
}

/// Line of a file of settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Path or pattern of a parameter, and its value.
    Set(Vec<u8>, Vec<u8>),
    /// Path or pattern that earlier patterns do not apply to.
    Except(Vec<u8>),
}

impl Sysctl {
    /// Returns the name that container engines and `sysctl(8)` use: dots for slashes, and slashes
    /// for dots.
    pub fn name(&self) -> Vec<u8> {
        swap_separators(&self.path)
    }
}

/// Returns the parameters that the machine sets, by path. A full name takes precedence over
/// patterns.
pub fn load(root: &Root, findings: &mut Findings) -> Vec<Sysctl> {
    let mut exact: BTreeMap<Vec<u8>, (Vec<u8>, Vec<u8>)> = BTreeMap::new();
    let mut patterns = Vec::new();
    for file in files(root, findings) {
        let text = match root.read(&file) {
            Ok(text) => text,
            Err(cause) => {
                findings.note(findings::Kind::Sysctl, &file, cause.to_string());
                continue;
            }
        };
        for setting in parse(&text) {
            match setting {
                Setting::Set(path, value) if !glob::is_literal(&path) => {
                    patterns.push((path, Some(value), file.clone()))
                }
                Setting::Set(path, value) => {
                    exact.insert(path, (value, file.clone()));
                }
                Setting::Except(path) => patterns.push((path, None, file.clone())),
            }
        }
    }
    let mut expanded: BTreeMap<Vec<u8>, (Vec<u8>, Vec<u8>)> = BTreeMap::new();
    for (pattern, value, file) in patterns {
        for path in expand(root, &pattern) {
            match &value {
                Some(value) => expanded.insert(path, (value.clone(), file.clone())),
                None => expanded.remove(&path),
            };
        }
    }
    expanded.extend(exact);
    expanded.retain(|path, (_, file)| {
        let is_secret = SECRET.contains(&tree::file_name(path));
        if is_secret {
            let name = escape(&swap_separators(path));
            findings.note(
                findings::Kind::Withheld,
                file,
                format!("the kernel parameter {name} holds a key and was left out"),
            );
        }
        !is_secret
    });
    let mut sysctls = Vec::new();
    for (path, (configured, file)) in expanded {
        let now = root.read(&tree::join(b"proc/sys", &path)).ok();
        let current = now.map(|text| text.trim_ascii().to_vec());
        sysctls.push(Sysctl { is_namespaced: is_namespaced(&path), path, configured, current, file });
    }
    sysctls
}

/// Parses the settings of a file in order. Skips malformed lines, as systemd does.
pub fn parse(text: &[u8]) -> Vec<Setting> {
    text.split(|&byte| byte == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<Setting> {
    let line = line.trim_ascii();
    if line.is_empty() || line.starts_with(b"#") || line.starts_with(b";") {
        return None;
    }
    // A dash before a setting means that errors are ignored (sysctl.d(5)).
    let bare = line.strip_prefix(b"-").unwrap_or(line);
    match bare.iter().position(|&byte| byte == b'=') {
        Some(equals) => {
            let path = normalized(bare[..equals].trim_ascii())?;
            Some(Setting::Set(path, bare[equals + 1..].trim_ascii().to_vec()))
        }
        None if bare.len() < line.len() => Some(Setting::Except(normalized(bare.trim_ascii())?)),
        None => None,
    }
}

/// Whether a container can set the parameter without changing the machine.
pub fn is_namespaced(path: &[u8]) -> bool {
    let begins = |list: &[&str]| list.iter().any(|prefix| path.starts_with(prefix.as_bytes()));
    begins(NAMESPACED) && (!begins(GLOBAL) || begins(OWN)) && !is_of_interface(path)
}

/// Whether the parameter belongs to a network interface that a container does not have:
/// `net/ipv4/conf/eth0/...`, `net/ipv6/neigh/...`.
fn is_of_interface(path: &[u8]) -> bool {
    let mut parts = path.split(|&byte| byte == b'/').skip(2);
    match (parts.next(), parts.next()) {
        (Some(b"conf"), Some(name)) => ![&b"all"[..], b"default", b"lo"].contains(&name),
        (Some(b"neigh"), _) => true,
        _ => false,
    }
}

/// Returns the path of a parameter name. The first `.` or `/` in the name is its separator.
fn normalized(name: &[u8]) -> Option<Vec<u8>> {
    let first = name.iter().find(|byte| b"./".contains(byte));
    let path = if first == Some(&b'.') { swap_separators(name) } else { name.to_vec() };
    let is_plain = !path.is_empty()
        && path.split(|&byte| byte == b'/').all(|part| !part.is_empty() && part != b"." && part != b"..");
    is_plain.then_some(path)
}

fn swap_separators(name: &[u8]) -> Vec<u8> {
    let swapped = |&byte: &u8| match byte {
        b'.' => b'/',
        b'/' => b'.',
        other => other,
    };
    name.iter().map(swapped).collect()
}

/// Returns the files of settings in the order in which they apply.
fn files(root: &Root, findings: &mut Findings) -> Vec<Vec<u8>> {
    let mut by_name: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for directory in DIRECTORIES {
        let names = root.list(directory.as_bytes()).unwrap_or_else(|cause| {
            if cause.kind() != ErrorKind::NotFound {
                findings.note(findings::Kind::Sysctl, directory.as_bytes(), cause.to_string());
            }
            Vec::new()
        });
        for name in names.into_iter().filter(|name| name.ends_with(b".conf")) {
            let path = tree::join(directory.as_bytes(), &name);
            by_name.entry(name).or_insert(path);
        }
    }
    let is_masked = |path: &[u8]| root.read_link(path).is_ok_and(|target| target == b"/dev/null");
    let mut files: Vec<Vec<u8>> = by_name.into_values().filter(|path| !is_masked(path)).collect();
    // sysctl(8) reads this file last. systemd reads it only through this link, which Debian has
    // until release 12.
    let main = b"etc/sysctl.conf".to_vec();
    let is_linked = root.read_link(b"etc/sysctl.d/99-sysctl.conf").is_ok();
    if !is_linked && root.open_file(&main).is_ok() {
        files.push(main);
    }
    files
}

/// Returns the parameters that a pattern matches, component by component as `glob(3)` does.
/// Returns the pattern itself if it has no wildcards.
fn expand(root: &Root, pattern: &[u8]) -> Vec<Vec<u8>> {
    let mut found: Vec<Vec<u8>> = vec![Vec::new()];
    for part in pattern.split(|&byte| byte == b'/') {
        let mut next = Vec::new();
        for above in found {
            if glob::is_literal(part) {
                next.push(tree::join(&above, part));
                continue;
            }
            let names = root.list(&tree::join(b"proc/sys", &above)).unwrap_or_default();
            let pattern = Glob::new(part, Dialect::Path);
            next.extend(
                names.iter().filter(|name| pattern.matches(name)).map(|name| tree::join(&above, name)),
            );
        }
        found = next;
    }
    found
}

fn escaped<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&escape(bytes))
}

fn escaped_if_any<S: Serializer>(bytes: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
    bytes.as_deref().map(escape).serialize(serializer)
}
