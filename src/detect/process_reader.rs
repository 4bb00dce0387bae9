//! Reads processes from a procfs, one at a time.

use super::process::{FileRef, Mapped, Namespaces, OpenFile, Process, Target, Words};
use super::{cgroup, process_files as parse};
use crate::model::findings::{self, Findings};
use crate::model::tree;
use crate::system::mounts::{self, Class, Mounts};
use crate::system::root::{self, Root};
use rustix::fs::{self, AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

/// Maximum size in bytes of the arguments or environment of a process. Larger ones require a
/// raised stack limit (`execve(2)`).
const MAX_WORDS: u64 = 2 << 20;
/// Maximum total size in bytes of all arguments and environments, to limit memory. Machines
/// usually have much less.
const MAX_WORDS_IN_ALL: u64 = 128 << 20;
/// Maximum total number of open files of all processes.
const MAX_FILES_IN_ALL: usize = 1 << 20;
/// Maximum size in bytes of a status file or `maps`. A process can have 65,530 mappings of 100
/// bytes and a path each.
const MAX_TEXT: u64 = 64 << 20;
/// Maximum number of reads of a process that calls `execve(2)` during each of them.
const ATTEMPTS: usize = 3;

/// Reads processes and collects the errors.
pub(super) struct Reader<'a> {
    proc: &'a Root,
    /// Mounts by mount namespace, as the first process in it sees them.
    mounts: BTreeMap<Option<u64>, Rc<Mounts>>,
    words_left: u64,
    files_left: usize,
    /// Number of errors and PID of the first process, by file and cause.
    failures: BTreeMap<(&'static str, String), (usize, u32)>,
}

/// Directory of a process. Its descriptor never refers to another process.
struct Folder {
    directory: OwnedFd,
    pid: u32,
    namespaces: Namespaces,
}

impl<'a> Reader<'a> {
    pub(super) fn new(proc: &'a Root) -> Self {
        Reader {
            proc,
            mounts: BTreeMap::new(),
            words_left: MAX_WORDS_IN_ALL,
            files_left: MAX_FILES_IN_ALL,
            failures: BTreeMap::new(),
        }
    }

    pub(super) fn own_namespaces(&mut self) -> Namespaces {
        let own = self.proc.read_link(b"self").ok();
        let folder = own.and_then(|pid| self.open(parse::decimal(&pid)?));
        folder.map_or_else(Namespaces::default, |folder| folder.namespaces)
    }

    fn open(&mut self, pid: u32) -> Option<Folder> {
        let directory = self.proc.open_directory_exactly(pid.to_string().as_bytes());
        let directory = self.kept(pid, "", directory)?;
        let mut inode = |name: &str| {
            let link = fs::readlinkat(&directory, format!("ns/{name}"), Vec::new());
            let link = self.kept(pid, "ns", link.map_err(io::Error::from))?;
            parse::bracketed(link.as_bytes(), name.as_bytes())
        };
        let namespaces =
            Namespaces { pid: inode("pid"), net: inode("net"), mnt: inode("mnt"), user: inode("user") };
        Some(Folder { directory, pid, namespaces })
    }

    /// Returns the mounts that a process sees.
    fn mounts(&mut self, folder: &Folder) -> Rc<Mounts> {
        if let Some(mounts) = self.mounts.get(&folder.namespaces.mnt) {
            return mounts.clone();
        }
        let table = self.text(folder, "mountinfo").unwrap_or_default();
        let mounts = Rc::new(mounts::parse(&table, b"/"));
        // The table of a process that has just ended is empty. It is not valid for others.
        if !table.is_empty() {
            self.mounts.insert(folder.namespaces.mnt, mounts.clone());
        }
        mounts
    }

    pub(super) fn process(&mut self, pid: u32) -> Option<Process> {
        let folder = self.open(pid)?;
        for _ in 0..ATTEMPTS {
            let before = self.stat(&folder)?;
            let (words, files) = (self.words_left, self.files_left);
            let process = self.read(&folder, &before);
            if self.stat(&folder)?.is_same_program(&before) {
                return Some(process);
            }
            (self.words_left, self.files_left) = (words, files);
        }
        self.fail(pid, "stat", "it ran another program each time that it was read");
        None
    }

    fn stat(&mut self, folder: &Folder) -> Option<parse::Stat> {
        let text = self.text(folder, "stat")?;
        let stat = parse::stat(&text);
        if stat.is_none() {
            self.fail(folder.pid, "stat", "not understood");
        }
        stat
    }

    fn read(&mut self, folder: &Folder, stat: &parse::Stat) -> Process {
        let status = self.text(folder, "status").and_then(|text| {
            let status = parse::status(&text);
            if status.is_none() {
                self.fail(folder.pid, "status", "not understood");
            }
            status
        });
        let (credentials, umask) = status.unwrap_or_default();
        let cgroups = self.text(folder, "cgroup").unwrap_or_default();
        let mut process = Process {
            pid: folder.pid,
            started: stat.started,
            parent: stat.parent,
            state: char::from(stat.state),
            comm: stat.comm.clone(),
            is_kernel: stat.is_kernel,
            argv: Words::default(),
            environ: Words::default(),
            exe: None,
            cwd: None,
            root: None,
            credentials,
            limits: self.text(folder, "limits").map(|text| parse::limits(&text)).unwrap_or_default(),
            cgroup: cgroup::path_of(&cgroups).into(),
            contained: cgroup::container_of(&cgroups),
            oom_score_adj: self.number(folder, "oom_score_adj").unwrap_or_default(),
            nice: stat.nice,
            umask,
            namespaces: folder.namespaces,
            files: Vec::new(),
            mapped: Vec::new(),
        };
        if !process.is_kernel {
            self.read_program(folder, &mut process);
        }
        process
    }

    fn read_program(&mut self, folder: &Folder, process: &mut Process) {
        process.argv = self.words(folder, "cmdline");
        process.environ = self.words(folder, "environ");
        process.exe = self.link(folder, "exe").map(|path| self.file_ref(folder, "exe", &path));
        process.cwd = self.link(folder, "cwd").map(Into::into);
        process.root = self.link(folder, "root").map(Into::into);
        process.files = self.open_files(folder);
        let maps = self.text(folder, "maps").map(|text| parse::maps(&text)).unwrap_or_default();
        process.mapped = mapped(maps);
    }

    fn open_files(&mut self, folder: &Folder) -> Vec<OpenFile> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = fs::openat(&folder.directory, "fd", flags, Mode::empty());
        let list = opened.map_err(io::Error::from).and_then(|fd| root::list_directory(fd.as_fd()));
        let names = self.kept(folder.pid, "fd", list).unwrap_or_default();
        let descriptors: BTreeSet<u32> = names.iter().filter_map(|name| parse::decimal(name)).collect();
        if descriptors.len() > self.files_left {
            self.fail(folder.pid, "fd", "too many open files, not all are looked at");
        }
        let looked_at = descriptors.into_iter().take(self.files_left);
        let files: Vec<OpenFile> = looked_at.filter_map(|number| self.open_file(folder, number)).collect();
        self.files_left -= files.len();
        files
    }

    fn open_file(&mut self, folder: &Folder, descriptor: u32) -> Option<OpenFile> {
        let name = format!("fd/{descriptor}");
        let link = fs::readlinkat(&folder.directory, &name, Vec::new()).map(|link| link.into_bytes());
        let link = self.kept(folder.pid, "fd", link.map_err(io::Error::from))?;
        let target = match () {
            _ if !link.starts_with(b"/") || link.starts_with(b"/memfd:") => {
                let socket = parse::bracketed(&link, b"socket").map(Target::Socket);
                let pipe = || parse::bracketed(&link, b"pipe").map(Target::Pipe);
                socket.or_else(pipe).unwrap_or_else(|| Target::Other(link.as_slice().into()))
            }
            _ => Target::File(self.file_ref(folder, &name, &link)),
        };
        let flags = match target {
            Target::File(_) => self.text_at(folder, "fdinfo", &format!("fdinfo/{descriptor}")),
            _ => None,
        };
        let flags = flags.and_then(|text| parse::open_flags(&text));
        let flags = OFlags::from_bits_retain(flags.unwrap_or_default());
        let is_writable = flags.intersects(OFlags::WRONLY | OFlags::RDWR);
        Some(OpenFile { descriptor, target, is_writable, appends: flags.contains(OFlags::APPEND) })
    }

    /// Returns the file that a link in procfs refers to.
    ///
    /// Calls `stat(2)` only on local file systems, because the server of another one may not
    /// respond.
    fn file_ref(&mut self, folder: &Folder, name: &str, link: &[u8]) -> FileRef {
        let (path, is_deleted) = split_deleted(link);
        let is_safe = mount_class(&self.mounts(folder), path)
            .is_some_and(|class| !matches!(class, Class::Remote | Class::Unknown));
        let stat = is_safe.then(|| fs::statat(&folder.directory, name, AtFlags::NO_AUTOMOUNT).ok()).flatten();
        FileRef { path: path.into(), is_deleted, identity: stat.map(|stat| (stat.st_dev, stat.st_ino)) }
    }

    fn words(&mut self, folder: &Folder, name: &'static str) -> Words {
        let limit = MAX_WORDS.min(self.words_left);
        let read = folder.read(name, limit);
        let (raw, is_cut) = self.kept(folder.pid, name, read).unwrap_or_default();
        if is_cut {
            self.fail(folder.pid, name, "longer than what is kept of it");
        }
        self.words_left -= raw.len() as u64;
        Words { raw: raw.into(), is_cut }
    }

    fn link(&mut self, folder: &Folder, name: &'static str) -> Option<Vec<u8>> {
        let link = fs::readlinkat(&folder.directory, name, Vec::new()).map(|link| link.into_bytes());
        self.kept(folder.pid, name, link.map_err(io::Error::from))
    }

    fn number(&mut self, folder: &Folder, name: &'static str) -> Option<i32> {
        parse::decimal(self.text(folder, name)?.trim_ascii())
    }

    fn text(&mut self, folder: &Folder, name: &'static str) -> Option<Vec<u8>> {
        self.text_at(folder, name, name)
    }

    fn text_at(&mut self, folder: &Folder, kind: &'static str, name: &str) -> Option<Vec<u8>> {
        let (text, is_cut) = self.kept(folder.pid, kind, folder.read(name, MAX_TEXT))?;
        if is_cut {
            self.fail(folder.pid, kind, "longer than what is read of it");
        }
        Some(text)
    }

    /// Returns the value, or records the error. `ENOENT` and `ESRCH` are not recorded, because a
    /// process can end and old kernels lack some files.
    fn kept<T>(&mut self, pid: u32, name: &'static str, result: io::Result<T>) -> Option<T> {
        result
            .inspect_err(|cause| match Errno::from_io_error(cause) {
                Some(Errno::NOENT | Errno::SRCH) => {}
                _ => self.fail(pid, name, &cause.to_string()),
            })
            .ok()
    }

    fn fail(&mut self, pid: u32, name: &'static str, cause: &str) {
        let (count, _) = self.failures.entry((name, cause.to_owned())).or_insert((0, pid));
        *count += 1;
    }

    pub(super) fn report(self, findings: &mut Findings) {
        for ((name, cause), (count, first)) in self.failures {
            let path = tree::join(format!("proc/{first}").as_bytes(), name.as_bytes());
            let others = if count > 1 { format!(" (and {} more times)", count - 1) } else { String::new() };
            findings.loss(findings::Kind::Processes, &path, format!("{cause}{others}"));
        }
    }
}

impl Folder {
    /// Returns the content, and whether it is truncated to `limit` bytes.
    fn read(&self, name: &str, limit: u64) -> io::Result<(Vec<u8>, bool)> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(fs::openat(&self.directory, name, flags, Mode::empty())?);
        let mut content = Vec::new();
        file.take(limit + 1).read_to_end(&mut content)?;
        let is_cut = content.len() as u64 > limit;
        content.truncate(limit as usize);
        Ok((content, is_cut))
    }
}

/// Splits the suffix from a path that the kernel adds if the file was removed. A file name with
/// the same suffix is indistinguishable.
fn split_deleted(link: &[u8]) -> (&[u8], bool) {
    link.strip_suffix(b" (deleted)").map_or((link, false), |path| (path, true))
}

/// Returns the class of the mount that contains an absolute path.
fn mount_class(mounts: &Mounts, path: &[u8]) -> Option<Class> {
    let mut path = path.strip_prefix(b"/").unwrap_or(path);
    loop {
        if let Some(mount) = mounts.at(path) {
            return Some(mount.class);
        }
        if path.is_empty() {
            return None;
        }
        path = tree::parent(path);
    }
}

/// Returns the mapped files without memory that has no file: memfd_create(2) and shmget(2).
fn mapped(maps: BTreeMap<Vec<u8>, bool>) -> Vec<Mapped> {
    let mut files = Vec::new();
    for (link, is_code) in maps {
        if !link.starts_with(b"/memfd:") && !link.starts_with(b"/SYSV") {
            let (path, is_deleted) = split_deleted(&link);
            files.push(Mapped { path: path.into(), is_deleted, is_code });
        }
    }
    files
}
