//! Runs a command with all its threads and children under ptrace and asks the caller what to do
//! at each selected call.

use crate::call::Call;
use crate::filter::Filter;
use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::HashSet;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// Action for a call that the process is about to make.
pub enum Step {
    /// It is made.
    Go,
    /// The whole process is killed instead.
    Kill,
    /// It is not made; the caller sees this error.
    Fail(Errno),
    /// It is made, and the caller sees this error all the same.
    FailAfter(Errno),
    /// The call is made with this number of bytes as its third argument.
    Shorten(u64),
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself.
    Exit(i32),
    /// By a signal.
    Signal(Signal),
    /// Killed by us because it took too long.
    TimedOut,
}

/// A command and where its output goes.
pub struct Launch<'a> {
    /// Program, by path, and arguments.
    pub command: &'a [String],
    /// Both outputs.
    pub output: &'a File,
    /// Longest time that it may take.
    pub limit: Duration,
}

/// Runs the command and passes the calls that `filter` selects to `decide`, except the `execve`
/// that starts the command.
pub fn trace(launch: &Launch<'_>, filter: &Filter, mut decide: impl FnMut(&Call) -> Step) -> io::Result<End> {
    let leader = start(launch, filter)?;
    let mut tracer = Tracer { known: HashSet::from([leader]), started: false, failing: Vec::new() };
    let began = Instant::now();
    // waitpid has no time limit: a signal every 100 ms lets it return.
    let _alarm = Alarm::every(Duration::from_millis(100));
    let mut timed_out = false;
    let mut end = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::__WALL)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == leader => end = Some(End::Exit(code)),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == leader => end = Some(End::Signal(signal)),
            Ok(status) => tracer.handle(status, leader, &mut decide)?,
            Err(Errno::EINTR) if began.elapsed() > launch.limit => timed_out = true,
            Err(Errno::EINTR) => {}
            Err(Errno::ECHILD) => break,
            Err(cause) => return Err(cause.into()),
        }
        if end.is_some() || timed_out {
            // Processes that the command left running are not part of it.
            for &pid in &tracer.known {
                let _ = kill(pid, Signal::SIGKILL);
            }
        }
    }
    match end {
        _ if timed_out => Ok(End::TimedOut),
        Some(end) => Ok(end),
        None => Err(io::Error::other("the traced command vanished")),
    }
}

struct Tracer {
    /// Threads that have had their first stop.
    known: HashSet<Pid>,
    /// Whether the command itself runs.
    started: bool,
    /// Threads whose present call is to end with this error.
    failing: Vec<(Pid, Errno)>,
}

impl Tracer {
    fn handle(
        &mut self,
        status: WaitStatus,
        leader: Pid,
        decide: &mut impl FnMut(&Call) -> Step,
    ) -> io::Result<()> {
        let resumed = match status {
            WaitStatus::PtraceEvent(pid, _, libc::PTRACE_EVENT_SECCOMP) => {
                let call = match Call::of(pid) {
                    // The process ended while this thread was stopped at a call.
                    Err(cause) if cause.raw_os_error() == Some(libc::ESRCH) => return Ok(()),
                    call => call?,
                };
                let is_start = !self.started && call.name() == "execve";
                self.started |= is_start;
                let step = if is_start { Step::Go } else { decide(&call) };
                self.carry_out(&call, leader, step)
            }
            WaitStatus::PtraceEvent(pid, ..) => ptrace::cont(pid, None),
            WaitStatus::PtraceSyscall(pid) => self.end_of_call(pid),
            WaitStatus::Stopped(pid, signal) => {
                let is_first = self.known.insert(pid) && signal == Signal::SIGSTOP;
                let is_trap = signal == Signal::SIGTRAP;
                ptrace::cont(pid, (!is_first && !is_trap).then_some(signal))
            }
            WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..) => {
                self.known.remove(&pid);
                Ok(())
            }
            _ => Ok(()),
        };
        match resumed {
            // Killed between the stop and the answer to it.
            Err(Errno::ESRCH) | Ok(()) => Ok(()),
            Err(cause) => Err(cause.into()),
        }
    }

    fn carry_out(&mut self, call: &Call, leader: Pid, step: Step) -> nix::Result<()> {
        match step {
            Step::Go => ptrace::cont(call.pid, None),
            Step::Kill => kill(leader, Signal::SIGKILL),
            Step::Fail(errno) => {
                let mut registers = ptrace::getregs(call.pid)?;
                registers.orig_rax = u64::MAX;
                registers.rax = -(errno as i64) as u64;
                ptrace::setregs(call.pid, registers)?;
                ptrace::cont(call.pid, None)
            }
            Step::Shorten(bytes) => {
                let mut registers = ptrace::getregs(call.pid)?;
                registers.rdx = bytes;
                ptrace::setregs(call.pid, registers)?;
                ptrace::cont(call.pid, None)
            }
            Step::FailAfter(errno) => {
                self.failing.push((call.pid, errno));
                ptrace::syscall(call.pid, None)
            }
        }
    }

    fn end_of_call(&mut self, pid: Pid) -> nix::Result<()> {
        if let Some(place) = self.failing.iter().position(|(thread, _)| *thread == pid) {
            let (_, errno) = self.failing.swap_remove(place);
            let mut registers = ptrace::getregs(pid)?;
            registers.rax = -(errno as i64) as u64;
            ptrace::setregs(pid, registers)?;
        }
        ptrace::cont(pid, None)
    }
}

/// Starts the command stopped, with the filter on it.
fn start(launch: &Launch<'_>, filter: &Filter) -> io::Result<Pid> {
    let arguments: Vec<CString> =
        launch.command.iter().map(|word| CString::new(word.as_str())).collect::<Result<_, _>>()?;
    let mut pointers: Vec<*const libc::c_char> = arguments.iter().map(|word| word.as_ptr()).collect();
    pointers.push(std::ptr::null());
    let output = launch.output.as_raw_fd();
    // SAFETY: the child makes only async-signal-safe calls (dup2, ptrace, raise, prctl, execvp on
    // memory that was allocated before, _exit), so locks that other threads held do not matter.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: as above; `pointers` ends in a null pointer and outlives the call.
        unsafe {
            libc::dup2(output, 1);
            libc::dup2(output, 2);
            libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0);
            libc::raise(libc::SIGSTOP);
            if filter.install().is_ok() {
                libc::execvp(pointers[0], pointers.as_ptr());
            }
            libc::_exit(127);
        }
    }
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    let leader = Pid::from_raw(pid);
    waitpid(leader, Some(WaitPidFlag::__WALL))?;
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_EXITKILL
        | Options::PTRACE_O_TRACESECCOMP;
    ptrace::setoptions(leader, options)?;
    ptrace::cont(leader, None)?;
    Ok(leader)
}

/// Interrupts blocking calls of this process now and then.
struct Alarm;

impl Alarm {
    fn every(interval: Duration) -> Self {
        extern "C" fn nothing(_: libc::c_int) {}
        // SAFETY: the handler does nothing; an all-zero sigaction is a valid one without
        // SA_RESTART.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = nothing as *const () as usize;
            libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut());
        }
        Self::set(interval);
        Alarm
    }

    fn set(interval: Duration) {
        let time = libc::timeval { tv_sec: 0, tv_usec: i64::from(interval.subsec_micros()) };
        let timer = libc::itimerval { it_interval: time, it_value: time };
        // SAFETY: `timer` lives until the call has returned.
        unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) };
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        Self::set(Duration::ZERO);
    }
}
