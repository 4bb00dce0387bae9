//! A second process of this very program. A run closes its own doors: when it is through, it can neither open a socket nor remove
//! a file nor begin a program. Who is to do such a thing at the end begins before, waits, and dies with it.

use crate::error::{Error, Result};
use rustix::process::{Signal, set_parent_process_death_signal};
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

/// The file that runs, whatever has become of its name.
const PROGRAM: &str = "/proc/self/exe";

/// A process that waits for its input.
#[derive(Debug)]
pub struct UnsandboxedChild(Child);

/// How it ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; nothing if a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to its standard output.
    pub output: String,
}

impl UnsandboxedChild {
    /// Begins it. `what` it is, for the message of the failure (code 1).
    #[expect(clippy::disallowed_methods, reason = "nothing of the machine: this very program")]
    pub fn spawn(what: &str, arguments: &[OsString]) -> Result<Self> {
        let mut command = Command::new(PROGRAM);
        let begun = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let failed = |cause| Error::io(format!("the process for {what} cannot be begun"), cause);
        begun.map(UnsandboxedChild).map_err(failed)
    }

    /// Where its input goes, for whoever has more to say than that it may go.
    pub fn take_input(&mut self) -> Option<ChildStdin> {
        self.0.stdin.take()
    }

    /// Whether its input is still to be told.
    pub fn waits(&self) -> bool {
        self.0.stdin.is_some()
    }

    /// Lets it go.
    pub fn start(&mut self) -> io::Result<()> {
        self.write(b"\n")
    }

    /// Gives it what it reads before.
    pub fn write(&mut self, text: &[u8]) -> io::Result<()> {
        self.0.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?.write_all(text)
    }

    /// Ends its input, and waits for it.
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
    /// A run that has failed has nothing for it: its end of the pipe is gone, and so the process.
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// In that process: dies with the run that began it.
pub fn exit_with_parent() {
    let _ = set_parent_process_death_signal(Some(Signal::TERM));
}

/// In that process: waits until it is told; false if it never will be.
pub fn wait_for_start() -> bool {
    exit_with_parent();
    let mut byte = [0];
    io::stdin().read_exact(&mut byte).is_ok()
}
