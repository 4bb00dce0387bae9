//! Kernel parameters that the machine's own files set (`sysctl.d(5)`), and what they are now.

use crate::glob::{self, Dialect, Glob};
use crate::model::escape::escape;
use crate::model::findings::{self, Findings};
use crate::model::tree;
use crate::system::root::Root;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::io::ErrorKind;

/// Directories of settings; of two files with one name that of the first directory counts.
const DIRECTORIES: &[&str] =
    &["etc/sysctl.d", "run/sysctl.d", "usr/local/lib/sysctl.d", "usr/lib/sysctl.d", "lib/sysctl.d"];

/// Beginnings of parameters that a container can have of its own: those of `namespaces(7)` for IPC and networks.
const NAMESPACED: &[&str] = &["fs/mqueue/", "kernel/msg", "kernel/sem", "kernel/shm", "net/"];

/// Beginnings of parameters under `net` that belong to the whole machine, by comparing a new network namespace of
/// Linux 6.18 with the first one; and of those that older kernels do not have in one, or only for reading.
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

/// Parameters whose values are keys: the list never has them.
const SECRET: &[&[u8]] = &[b"tcp_fastopen_key", b"stable_secret"];

/// A parameter that a file of the machine sets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Sysctl {
    /// Its path below `/proc/sys`.
    #[serde(serialize_with = "escaped")]
    #[cfg_attr(test, schemars(with = "String"))]
    pub path: Vec<u8>,
    /// The value in the file.
    #[serde(serialize_with = "escaped")]
    #[cfg_attr(test, schemars(with = "String"))]
    pub configured: Vec<u8>,
    /// The value now; `None` if the kernel does not have it.
    #[serde(serialize_with = "escaped_if_any")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub current: Option<Vec<u8>>,
    /// The file that sets it, relative to the root.
    #[serde(serialize_with = "escaped")]
    #[cfg_attr(test, schemars(with = "String"))]
    pub file: Vec<u8>,
    /// A container can set it for itself.
    pub is_namespaced: bool,
}

/// A line of a file of settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Parameter, by its path or a pattern of paths, and value.
    Set(Vec<u8>, Vec<u8>),
    /// Patterns do not mean this path.
    Except(Vec<u8>),
}

impl Sysctl {
    /// The name that container engines and `sysctl(8)` use: dots for slashes, and the other way round.
    pub fn name(&self) -> Vec<u8> {
        swap_separators(&self.path)
    }
}

/// The parameters that the machine sets, by path. A parameter named in full counts before patterns that mean it.
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
    let sysctl = |(path, (configured, file)): (Vec<u8>, (Vec<u8>, Vec<u8>))| {
        let now = root.read(&tree::join(b"proc/sys", &path)).ok();
        let current = now.map(|text| text.trim_ascii().to_vec());
        Sysctl { is_namespaced: is_namespaced(&path), path, configured, current, file }
    };
    expanded.into_iter().map(sysctl).collect()
}

/// Settings of a file in order; lines that are none are left out, as systemd does.
pub fn parse(text: &[u8]) -> Vec<Setting> {
    let setting = |line: &[u8]| {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") || line.starts_with(b";") {
            return None;
        }
        // The dash before a setting only says that failures do not matter.
        let bare = line.strip_prefix(b"-").unwrap_or(line);
        match bare.iter().position(|&byte| byte == b'=') {
            Some(equals) => {
                let path = normalized(bare[..equals].trim_ascii())?;
                Some(Setting::Set(path, bare[equals + 1..].trim_ascii().to_vec()))
            }
            None if bare.len() < line.len() => Some(Setting::Except(normalized(bare.trim_ascii())?)),
            None => None,
        }
    };
    text.split(|&byte| byte == b'\n').filter_map(setting).collect()
}

/// Whether a container can set it for itself without changing the machine.
pub fn is_namespaced(path: &[u8]) -> bool {
    let begins = |list: &[&str]| list.iter().any(|prefix| path.starts_with(prefix.as_bytes()));
    begins(NAMESPACED) && (!begins(GLOBAL) || begins(OWN)) && !is_of_interface(path)
}

/// Whether it is of a network interface, which a container has not: `net/ipv4/conf/eth0/...`, `net/ipv6/neigh/...`.
fn is_of_interface(path: &[u8]) -> bool {
    let mut parts = path.split(|&byte| byte == b'/').skip(2);
    match (parts.next(), parts.next()) {
        (Some(b"conf"), Some(name)) => ![&b"all"[..], b"default", b"lo"].contains(&name),
        (Some(b"neigh"), _) => true,
        _ => false,
    }
}

/// The path that a name means: the separator that comes first is the one that it uses.
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

/// The files of settings in the order in which they count.
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
    // sysctl(8) reads it last; systemd only through this link, which Debian has up to 12.
    let main = b"etc/sysctl.conf".to_vec();
    let is_linked = root.read_link(b"etc/sysctl.d/99-sysctl.conf").is_ok();
    if !is_linked && root.open_file(&main).is_ok() {
        files.push(main);
    }
    files
}

/// The parameters that a pattern matches, component by component as `glob(3)` does; the pattern
/// itself if it has no wildcards.
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
