//! `trace-audit`: checks that a run changes only its output, starts no program and makes only
//! expected system calls.

use crate::Result;
use crate::args::Args;
use crate::call::Call;
use crate::filter::Filter;
use crate::report::{self, Problems};
use crate::syscalls::{CHANGING, FORBIDDEN};
use crate::tracer::{End, Step};
use crate::trial::{self, Trial};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// `ioctl`s that only ask: terminal settings and sizes, bytes that wait.
const ASKING: &[u64] = &[libc::TCGETS, 0x802c_542a, libc::TIOCGWINSZ, libc::FIONREAD, libc::FIONBIO];

/// Rules that a run must follow.
struct Rules {
    out: PathBuf,
    partial: Vec<u8>,
    quiet: Vec<PathBuf>,
    expected: Option<BTreeSet<String>>,
}

/// `trace-audit [--quiet-root DIR]... [--syscalls FILE] [--exit CODE]... -- COMMAND...`.
pub fn run(words: &[String]) -> Result<bool> {
    let known = [trial::OPTIONS, &["quiet-root", "syscalls", "exit"]].concat();
    let args = Args::parse(words, &known, &["list"])?;
    let trial = Trial::new(&args)?;
    let expected = args.one("syscalls").map(std::fs::read_to_string).transpose()?;
    let expected = expected.map(|text| text.split_whitespace().map(str::to_owned).collect());
    let partial = trial.parent.join(trial::PARTIAL).into_os_string().into_encoded_bytes();
    let quiet =
        args.paths("quiet-root").iter().map(|root| root.canonicalize()).collect::<std::io::Result<_>>()?;
    let rules = Rules { out: trial.out.clone(), partial, quiet, expected };
    let mut used: BTreeMap<&'static str, usize> = BTreeMap::new();
    let mut problems = Problems::default();
    let end = trial.trace(&Filter::tracing_all(), |call| {
        *used.entry(call.name()).or_default() += 1;
        for problem in rules.broken_by(call) {
            problems.add(&format!("{}: {problem}", call.describe()), "");
        }
        Step::Go
    })?;
    let codes = args.all("exit");
    let is_wanted = |code: i32| codes.contains(&code.to_string()) || codes.is_empty() && code == 0;
    if !matches!(end, End::Exit(code) if is_wanted(code)) {
        problems.add(&format!("the run ended with {end:?}"), &trial.output()?);
    }
    for problem in trial.changed()? {
        problems.add(&problem, "");
    }
    if args.has("list") {
        used.iter().for_each(|(name, count)| println!("{count:8} {name}"));
    }
    let calls: usize = used.values().sum();
    println!("{} system calls, {} kinds", calls, used.len());
    report::end("trace-audit", calls, &format!("{} kinds of calls", used.len()), &problems)
}

impl Rules {
    fn broken_by(&self, call: &Call) -> Vec<String> {
        let name = call.name();
        let mut broken = Vec::new();
        if FORBIDDEN.contains(&name) {
            broken.push("no conversion has a reason for this call".to_owned());
        }
        if self.expected.as_ref().is_some_and(|expected| !expected.contains(name)) {
            broken.push("not in the list of expected calls".to_owned());
        }
        if CHANGING.contains(&name) && call.changes() {
            // Where the output gets its name, the directory is put on the disk, and nothing else
            // is done to it.
            let is_parent = |file: &Path| name == "fsync" && Some(file) == self.out.parent();
            let outside = call.files().into_iter().filter(|file| !self.allows(file) && !is_parent(file));
            broken.extend(outside.map(|file| format!("changes {}", file.display())));
        }
        broken.extend(self.by_arguments(call));
        broken
    }

    /// Calls that are harmless or not by what they are called with.
    fn by_arguments(&self, call: &Call) -> Option<String> {
        let [first, second, third, fourth, fifth, _] = call.arguments;
        let file = |fd: u64| call.descriptor(fd as i32);
        match call.name() {
            "execve" | "execveat" => Some("starts a program".to_owned()),
            "clone" if first & libc::CLONE_THREAD as u64 == 0 => Some("starts a process".to_owned()),
            "clone3" if call.number_at(first) & libc::CLONE_THREAD as u64 == 0 => {
                Some("starts a process".to_owned())
            }
            "mmap" => {
                let (protection, flags) = (third as i32, fourth as i32);
                let is_shared = flags & libc::MAP_SHARED != 0 && flags & libc::MAP_ANONYMOUS == 0;
                let writes = is_shared && protection & libc::PROT_WRITE != 0;
                (writes && !self.allows(&file(fifth))).then(|| "maps a file for writing".to_owned())
            }
            // A netlink socket reaches only the kernel.
            "socket" => (first as i32 != libc::AF_NETLINK).then(|| "opens a socket".to_owned()),
            // The run remounts file systems read-only in a mount namespace of its own. The
            // comparison of the mount table afterwards shows whether anything changed outside.
            "unshare" => (first != libc::CLONE_NEWNS as u64).then(|| format!("unshare {first:#x}")),
            "mount" => (!is_restriction(fourth)).then(|| format!("mount with flags {fourth:#x}")),
            "ioctl" => (!ASKING.contains(&second)).then(|| format!("ioctl {second:#x}")),
            "fcntl" => {
                let acts = matches!(
                    second as i32,
                    libc::F_SETLK
                        | libc::F_SETLKW
                        | libc::F_OFD_SETLK
                        | libc::F_OFD_SETLKW
                        | libc::F_SETLEASE
                        | libc::F_NOTIFY
                );
                (acts && !self.allows(&file(first))).then(|| "locks a file".to_owned())
            }
            "kill" | "tgkill" => (!is_own(call, first)).then(|| format!("signals process {first}")),
            "tkill" => (!is_own_thread(call, first)).then(|| format!("signals thread {first}")),
            "read" | "pread64" | "readv" | "getdents64" => self.leaves_access_time(call),
            _ => None,
        }
    }

    /// Reports a read through a descriptor without `O_NOATIME`, which changes the access time.
    fn leaves_access_time(&self, call: &Call) -> Option<String> {
        let fd = call.arguments[0] as i32;
        let file = call.descriptor(fd);
        let is_inside = self.quiet.iter().any(|root| file.starts_with(root));
        let leaves = is_inside && call.descriptor_flags(fd) & libc::O_NOATIME == 0;
        leaves.then(|| "leaves an access time".to_owned())
    }

    fn allows(&self, file: &Path) -> bool {
        let bytes = file.as_os_str().as_bytes();
        let is_partial = bytes.starts_with(&self.partial);
        file.starts_with(&self.out)
            || is_partial
            || bytes == b"/dev/null"
            || is_own_score(bytes)
            // Pipes, sockets and memory are not visible to other processes as files.
            || !bytes.starts_with(b"/")
            || bytes.starts_with(b"/memfd:")
    }
}

/// Whether the file is the `oom_score_adj` of a process, which makes the OOM killer select it
/// first.
fn is_own_score(file: &[u8]) -> bool {
    file.starts_with(b"/proc/") && file.ends_with(b"/oom_score_adj")
}

/// Whether the flags of `mount(2)` only make a mount read-only or only stop the propagation to
/// other namespaces.
fn is_restriction(flags: u64) -> bool {
    let read_only = libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY;
    flags & read_only == read_only || flags & !libc::MS_REC == libc::MS_SLAVE
}

fn is_own(call: &Call, process: u64) -> bool {
    let group = |of: String| {
        let status = std::fs::read_to_string(format!("/proc/{of}/status")).ok()?;
        status.lines().find_map(|line| line.strip_prefix("Tgid:")).map(|text| text.trim().to_owned())
    };
    group(call.pid.to_string()).is_some_and(|own| own == process.to_string())
}

fn is_own_thread(call: &Call, thread: u64) -> bool {
    std::path::Path::new(&format!("/proc/{}/task/{thread}", call.pid)).exists()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syscalls;

    #[test]
    fn every_name_in_the_lists_is_a_call() {
        for name in CHANGING.iter().chain(FORBIDDEN) {
            assert_eq!(syscalls::numbers(&[name]).len(), 1, "{name}");
        }
    }
}
