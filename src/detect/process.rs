//! Types of the process table (`proc(5)`), and lookups in it.

use crate::model::escape::escape;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;

/// The process table, by process number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Processes(pub(super) Vec<Process>);

/// What the kernel tells about one process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Process {
    /// Number of the process.
    pub pid: u32,
    /// When it began, in clock ticks after boot.
    pub started: u64,
    /// Number of the parent; 0 if there is none in this process namespace.
    pub parent: u32,
    /// `R`, `S`, `Z` and so on.
    pub state: char,
    /// The name of its main thread, at most 15 bytes.
    #[serde(serialize_with = "escaped")]
    pub comm: Box<[u8]>,
    /// A thread of the kernel: it has no program, files or arguments.
    pub is_kernel: bool,
    /// Arguments as they stood in its memory, which it may have written over: see [`Process::is_rewritten`].
    #[serde(skip)]
    pub argv: Words,
    /// The environment that it was started with.
    #[serde(skip)]
    pub environ: Words,
    /// The program file.
    pub exe: Option<FileRef>,
    /// The working directory.
    #[serde(serialize_with = "escaped_if_any")]
    pub cwd: Option<Box<[u8]>>,
    /// The root directory.
    #[serde(serialize_with = "escaped_if_any")]
    pub root: Option<Box<[u8]>>,
    /// Users, groups and capabilities.
    pub credentials: Credentials,
    /// Resource limits by the names of `ulimit` options: `nofile`, `nproc`, `core`, ...
    pub limits: BTreeMap<&'static str, Limit>,
    /// The control group that systemd manages, absolute; empty without control groups.
    #[serde(serialize_with = "escaped")]
    pub cgroup: Box<[u8]>,
    /// The process belongs to a container of the machine, not to the machine's own services.
    pub contained: Option<Container>,
    /// From -1000 (never killed for want of memory) to 1000.
    pub oom_score_adj: i32,
    /// From -20 to 19.
    pub nice: i32,
    /// The mask for the mode of new files; not known before Linux 4.7.
    pub umask: Option<u32>,
    /// Where it sees other processes, networks, mounts and users.
    pub namespaces: Namespaces,
    /// Its open files, by descriptor.
    #[serde(skip)]
    pub files: Vec<OpenFile>,
    /// Files mapped into its memory, by path: libraries, locales, databases.
    #[serde(skip)]
    pub mapped: Vec<Mapped>,
}

/// What put a process into a container of its own on the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Container {
    /// Docker Engine.
    Docker,
    /// containerd, with or without its interface for Kubernetes.
    Containerd,
    /// Podman and what else uses libpod.
    Podman,
    /// CRI-O.
    Crio,
    /// A pod of Kubernetes whose engine does not name itself.
    Kubernetes,
    /// LXC, LXD, Incus.
    Lxc,
    /// systemd-nspawn and others that register with systemd-machined.
    Machine,
}

/// Arguments or variables, each ended by a zero byte. They may hold secrets, so that `Debug` shows no content.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Words {
    /// As the kernel gave them.
    pub raw: Box<[u8]>,
    /// There was more than is kept.
    pub is_cut: bool,
}

/// Real, effective and saved number (`credentials(7)`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the names are those of credentials(7)")]
pub struct Ids {
    pub real: u32,
    pub effective: u32,
    pub saved: u32,
}

/// On whose behalf a process acts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Credentials {
    /// Users.
    pub user: Ids,
    /// Main groups.
    pub group: Ids,
    /// Further groups.
    pub groups: Vec<u32>,
    /// What it may do beyond its user's rights.
    pub capabilities: Capabilities,
    /// No program that it starts gets more rights.
    pub no_new_privileges: bool,
}

/// Sets of capabilities, a bit each by number (`capabilities(7)`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the names are those of capabilities(7)")]
pub struct Capabilities {
    pub effective: u64,
    pub bounding: u64,
    pub ambient: u64,
}

/// A resource limit in the unit of `getrlimit(2)`; `None` is unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the names are those of getrlimit(2)")]
pub struct Limit {
    pub soft: Option<u64>,
    pub hard: Option<u64>,
}

/// Inode numbers of namespaces (`namespaces(7)`); `None` where they cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs, reason = "the names are those of namespaces(7)")]
pub struct Namespaces {
    pub pid: Option<u64>,
    pub net: Option<u64>,
    pub mnt: Option<u64>,
    pub user: Option<u64>,
}

/// A file by the path at which it was opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileRef {
    /// Absolute, without the kernel's mark of a removed file.
    #[serde(serialize_with = "escaped")]
    pub path: Box<[u8]>,
    /// The kernel says that the file is no longer at this path.
    pub is_deleted: bool,
    /// Device and inode number; `None` where asking could hang (network file systems) or is refused.
    pub identity: Option<(u64, u64)>,
}

/// What an open descriptor leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A file, directory or device.
    File(FileRef),
    /// A socket by inode number.
    Socket(u64),
    /// A pipe by inode number.
    Pipe(u64),
    /// Something that no path leads to: an event queue, a timer, shared memory.
    Other(Box<[u8]>),
}

/// An open descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenFile {
    /// Number of the descriptor.
    pub descriptor: u32,
    /// What it leads to.
    pub target: Target,
    /// Opened for writing. Known of files only.
    pub is_writable: bool,
    /// Every write goes to the end, as to a log.
    pub appends: bool,
}

/// A file mapped into memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// Absolute, without the kernel's mark of a removed file.
    pub path: Box<[u8]>,
    /// The file was replaced or removed since.
    pub is_deleted: bool,
    /// Code in it can be run: the program or a library.
    pub is_code: bool,
}

impl Words {
    /// The words in order; empty ones are words too.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let text = self.raw.strip_suffix(b"\0").unwrap_or(&self.raw);
        text.split(|&byte| byte == 0).skip(usize::from(self.raw.is_empty()))
    }

    /// Name and value of each word that has both, as an environment's have.
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
    /// Whether the process has written a title over its arguments, as nginx, PostgreSQL and sshd do:
    /// then they say nothing about how it was started.
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
        // `(sd-pam)`, and what systemd shows between fork and exec.
        let is_bracketed = title.starts_with(b"(") && title.ends_with(b")");
        is_sentence || has_colon || is_bracketed
    }

    /// The sockets that it holds, by inode number.
    pub fn sockets(&self) -> impl Iterator<Item = u64> {
        self.files.iter().filter_map(|file| match file.target {
            Target::Socket(inode) => Some(inode),
            _ => None,
        })
    }
}

impl Processes {
    /// The process with this number.
    pub fn get(&self, pid: u32) -> Option<&Process> {
        self.0.binary_search_by_key(&pid, |process| process.pid).ok().map(|at| &self.0[at])
    }

    /// All processes, by number.
    pub fn iter(&self) -> impl Iterator<Item = &Process> {
        self.0.iter()
    }

    /// The parent, its parent and so on. Ends at one that is younger than its child: a number that was given anew.
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

/// Whether a first argument is the program's name or the end of its path.
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
