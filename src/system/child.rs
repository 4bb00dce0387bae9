//! Child process that runs the same executable and starts before the sandbox.
//!
//! After the sandbox restricts the run, it can neither open sockets nor remove files nor start
//! processes. A child that has to do this at the end starts first, waits for a byte on its
//! standard input, and ends with its parent.

use crate::error::{Error, Result};
use rustix::process::{Signal, set_parent_process_death_signal};
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

/// Executable of this process. The link works even if the file was renamed or removed (proc(5)).
const EXECUTABLE: &str = "/proc/self/exe";

/// Child process that waits for its standard input.
#[derive(Debug)]
pub struct UnsandboxedChild(Child);

/// Result of a child process.
#[derive(Debug)]
pub struct Ended {
    /// Exit code; `None` if a signal killed the process.
    pub code: Option<i32>,
    /// Standard output of the process.
    pub output: String,
}

impl UnsandboxedChild {
    /// Starts the child. Fails with exit code 1; `what` names the child in the message.
    #[expect(clippy::disallowed_methods, reason = "runs no executable of the machine, only its own")]
    pub fn spawn(what: &str, arguments: &[OsString]) -> Result<Self> {
        Command::new(EXECUTABLE)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map(UnsandboxedChild)
            .map_err(|cause| Error::io(format!("cannot start the {what} process"), cause))
    }

    /// Takes the pipe to the child's standard input, for callers that write more than the start
    /// byte.
    pub fn take_input(&mut self) -> Option<ChildStdin> {
        self.0.stdin.take()
    }

    /// Whether the pipe to the child's standard input is still open here.
    pub fn waits(&self) -> bool {
        self.0.stdin.is_some()
    }

    /// Sends the byte that [`wait_for_start`] waits for.
    pub fn start(&mut self) -> io::Result<()> {
        self.write(b"\n")
    }

    /// Writes to the child's standard input.
    pub fn write(&mut self, text: &[u8]) -> io::Result<()> {
        self.0.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?.write_all(text)
    }

    /// Closes the child's standard input and waits until the child ends.
    pub fn wait(mut self) -> io::Result<Ended> {
        drop(self.0.stdin.take());
        let mut output = String::new();
        if let Some(mut stdout) = self.0.stdout.take() {
            stdout.read_to_string(&mut output)?;
        }
        Ok(Ended { code: self.0.wait()?.code(), output })
    }
}

impl Drop for UnsandboxedChild {
    /// Closes the pipe and waits. A child that was not started sees the end of its input and
    /// exits.
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Makes the kernel send SIGTERM to this process when its parent dies (`PR_SET_PDEATHSIG`,
/// prctl(2)). Called in the child.
pub fn exit_with_parent() {
    let _ = set_parent_process_death_signal(Some(Signal::TERM));
}

/// Waits for the start byte. Returns false if the parent closed the pipe without it. Called in
/// the child.
pub fn wait_for_start() -> bool {
    exit_with_parent();
    let mut byte = [0];
    io::stdin().read_exact(&mut byte).is_ok()
}
