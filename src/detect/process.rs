//! Types of the process table (`proc(5)`), and lookups in it.

use crate::model::escape::escape;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;

/// The process table, sorted by PID.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Processes(pub(super) Vec<Process>);

/// Properties of a process that the kernel reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Process {
    /// PID.
    pub pid: u32,
    /// Start time in clock ticks since boot.
    pub started: u64,
    /// PID of the parent; 0 if there is none in this PID namespace.
    pub parent: u32,
    /// State of the process: `R`, `S`, `Z` and so on.
    pub state: char,
    /// Name of the main thread, at most 15 bytes.
    #[serde(serialize_with = "escaped")]
    pub comm: Box<[u8]>,
    /// Whether it is a kernel thread, which has no executable, files or arguments.
    pub is_kernel: bool,
    /// Arguments in the memory of the process, which can overwrite them: see
    /// [`Process::is_rewritten`].
    #[serde(skip)]
    pub argv: Words,
    /// Environment at the start of the process.
    #[serde(skip)]
    pub environ: Words,
    /// Executable file.
    pub exe: Option<FileRef>,
    /// Working directory.
    #[serde(serialize_with = "escaped_if_any")]
    pub cwd: Option<Box<[u8]>>,
    /// Root directory.
    #[serde(serialize_with = "escaped_if_any")]
    pub root: Option<Box<[u8]>>,
    /// Users, groups and capabilities.
    pub credentials: Credentials,
    /// Resource limits by the names of `ulimit` options: `nofile`, `nproc`, `core`, ...
    pub limits: BTreeMap<&'static str, Limit>,
    /// Absolute path of the control group that systemd manages; empty if there is none.
    #[serde(serialize_with = "escaped")]
    pub cgroup: Box<[u8]>,
    /// Container of the machine to which the process belongs; `None` for the machine's services.
    pub contained: Option<Container>,
    /// OOM score adjustment, from -1000 (never killed if memory runs out) to 1000.
    pub oom_score_adj: i32,
    /// Nice value, from -20 to 19.
    pub nice: i32,
    /// File mode creation mask; unknown before Linux 4.7.
    pub umask: Option<u32>,
    /// Namespaces of the process.
    pub namespaces: Namespaces,
    /// Open files, by file descriptor.
    #[serde(skip)]
    pub files: Vec<OpenFile>,
    /// Files mapped into memory, by path: libraries, locales, databases.
    #[serde(skip)]
    pub mapped: Vec<Mapped>,
}

/// Software that runs a process in a container on the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Container {
    /// Docker Engine.
    Docker,
    /// containerd, with or without its Kubernetes interface (CRI).
    Containerd,
    /// Podman and other users of libpod.
    Podman,
    /// CRI-O.
    Crio,
    /// Kubernetes pod whose control group does not name an engine.
    Kubernetes,
    /// LXC, LXD, Incus.
    Lxc,
    /// systemd-nspawn and other software that registers with systemd-machined.
    Machine,
}

/// Arguments or environment variables, each terminated by a zero byte. They can contain secrets,
/// so `Debug` shows no content.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Words {
    /// Bytes from the kernel.
    pub raw: Box<[u8]>,
    /// Whether the content is truncated.
    pub is_cut: bool,
}

/// Real, effective and saved ID (`credentials(7)`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the names are those of credentials(7)")]
pub struct Ids {
    pub real: u32,
    pub effective: u32,
    pub saved: u32,
}

/// Users, groups and capabilities of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Credentials {
    /// UIDs.
    pub user: Ids,
    /// GIDs.
    pub group: Ids,
    /// Supplementary GIDs.
    pub groups: Vec<u32>,
    /// Capability sets.
    pub capabilities: Capabilities,
    /// Whether `no_new_privs` is set, so that `execve(2)` cannot grant privileges.
    pub no_new_privileges: bool,
}

/// Capability sets as bit masks, by capability number (`capabilities(7)`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the names are those of capabilities(7)")]
pub struct Capabilities {
    pub effective: u64,
    pub bounding: u64,
    pub ambient: u64,
}

/// Resource limit in the unit of `getrlimit(2)`; `None` means unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the names are those of getrlimit(2)")]
pub struct Limit {
    pub soft: Option<u64>,
    pub hard: Option<u64>,
}

/// Inode numbers of namespaces (`namespaces(7)`); `None` if they cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the names are those of namespaces(7)")]
pub struct Namespaces {
    pub pid: Option<u64>,
    pub net: Option<u64>,
    pub mnt: Option<u64>,
    pub user: Option<u64>,
}

/// File, with the path at which it was opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileRef {
    /// Absolute path, without the kernel's suffix for removed files.
    #[serde(serialize_with = "escaped")]
    pub path: Box<[u8]>,
    /// Whether the kernel reports that the file is no longer at this path.
    pub is_deleted: bool,
    /// Device and inode number; `None` if `stat(2)` fails, or on network file systems, where it
    /// can block.
    pub identity: Option<(u64, u64)>,
}

/// Object that an open file descriptor refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// File, directory or device.
    File(FileRef),
    /// Socket, by inode number.
    Socket(u64),
    /// Pipe, by inode number.
    Pipe(u64),
    /// Object without a path: event queue, timer, shared memory.
    Other(Box<[u8]>),
}

/// Open file descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenFile {
    /// File descriptor number.
    pub descriptor: u32,
    /// Object that the descriptor refers to.
    pub target: Target,
    /// Whether it is open for writing. Known only for files.
    pub is_writable: bool,
    /// Whether every write appends (`O_APPEND`), as to a log.
    pub appends: bool,
}

/// A file mapped into memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// Absolute path, without the kernel's suffix for removed files.
    pub path: Box<[u8]>,
    /// Whether the file was replaced or removed after it was mapped.
    pub is_deleted: bool,
    /// Whether the mapping is executable: the executable or a library.
    pub is_code: bool,
}

impl Words {
    /// Returns the words in order, including empty ones.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let text = self.raw.strip_suffix(b"\0").unwrap_or(&self.raw);
        text.split(|&byte| byte == 0).skip(usize::from(self.raw.is_empty()))
    }

    /// Returns name and value of each word of the form `NAME=value`.
    pub fn variables(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.iter().filter_map(|word| {
            let end = word.iter().position(|&byte| byte == b'=').filter(|end| *end > 0)?;
            Some((&word[..end], &word[end + 1..]))
        })
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "Words({} words, {} bytes, cut: {})",
            self.iter().count(),
            self.raw.len(),
            self.is_cut
        )
    }
}

impl Process {
    /// Whether the process has overwritten its arguments with a title, as nginx, PostgreSQL and
    /// sshd do. Then the command line at its start is unknown.
    pub fn is_rewritten(&self) -> bool {
        let mut words = self.argv.iter();
        let Some(title) = words.next() else { return false };
        let is_alone = words.all(<[u8]>::is_empty);
        let exe = self.exe.as_ref().map_or(&b""[..], |exe| &exe.path);
        if names(title, exe) {
            return false;
        }
        let is_sentence = is_alone && title.contains(&b' ');
        let has_colon = title.ends_with(b":") || title.windows(2).any(|pair| pair == b": ");
        // `(sd-pam)`, and the title that systemd sets between fork and exec.
        let is_bracketed = title.starts_with(b"(") && title.ends_with(b")");
        is_sentence || has_colon || is_bracketed
    }

    /// Returns the inode numbers of the sockets that the process holds.
    pub fn sockets(&self) -> impl Iterator<Item = u64> {
        self.files.iter().filter_map(|file| match file.target {
            Target::Socket(inode) => Some(inode),
            _ => None,
        })
    }
}

impl Processes {
    /// Returns the process with this PID.
    pub fn get(&self, pid: u32) -> Option<&Process> {
        self.0.binary_search_by_key(&pid, |process| process.pid).ok().map(|at| &self.0[at])
    }

    /// Returns all processes, sorted by PID.
    pub fn iter(&self) -> impl Iterator<Item = &Process> {
        self.0.iter()
    }

    /// Returns the parent, its parent, and so on. Ends before a process that is younger than its
    /// child, because the kernel has reused the PID of the parent.
    pub fn ancestors(&self, pid: u32) -> impl Iterator<Item = &Process> {
        let parent_of = |process: &&Process| {
            let parent = self.get(process.parent)?;
            let is_older = (parent.started, parent.pid) < (process.started, process.pid);
            (is_older || parent.pid == 1).then_some(parent).filter(|_| process.pid != 1)
        };
        std::iter::successors(self.get(pid), parent_of).skip(1)
    }
}

impl FromIterator<Process> for Processes {
    fn from_iter<I: IntoIterator<Item = Process>>(processes: I) -> Self {
        let mut list: Vec<Process> = processes.into_iter().collect();
        list.sort_by_key(|process| process.pid);
        list.dedup_by_key(|process| process.pid);
        Processes(list)
    }
}

/// Whether a first argument is the path of the executable or its last components.
fn names(title: &[u8], exe: &[u8]) -> bool {
    let title = title.strip_prefix(b"./").unwrap_or(title);
    let above = exe.strip_suffix(title);
    !title.is_empty()
        && above.is_some_and(|above| above.is_empty() || above.ends_with(b"/") || title[0] == b'/')
}

fn escaped<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&escape(bytes))
}

fn escaped_if_any<S: Serializer>(bytes: &Option<Box<[u8]>>, serializer: S) -> Result<S::Ok, S::Error> {
    bytes.as_deref().map(escape).serialize(serializer)
}
