//! The process that delivers what a conversion makes. The conversion closes its own doors: when it is through, it can neither
//! open a socket nor begin a program. So this begins before, waits, and dies with it.

use crate::error::{Code, Error, Result};
use rustix::process::{Signal, set_parent_process_death_signal};
use serde_json::Value;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// This very program, by the file that runs and not by its name.
const PROGRAM: &str = "/proc/self/exe";

/// A process that waits for a context.
#[derive(Debug)]
pub struct Courier(Child);

/// What came of it.
#[derive(Debug)]
pub struct Delivered {
    /// Whether the server has shown that it has everything.
    pub done: bool,
    /// What is on the server, where it was asked for.
    pub receipt: Option<Value>,
    code: Option<i32>,
}

impl Delivered {
    /// How the run ends where it is not.
    pub fn code(&self) -> Code {
        if self.code == Some(Code::Differs as i32) { Code::Differs } else { Code::NotDelivered }
    }
}

impl Courier {
    /// Begins it. `flags` are those of `upload`. Code 1 where no process can be begun.
    #[expect(clippy::disallowed_methods, reason = "nothing of the machine: this very program")]
    pub fn call(context: &Path, url: &str, flags: &[OsString]) -> Result<Self> {
        let mut command = Command::new(PROGRAM);
        command.args(["upload", "--when-told"]).args(flags).arg("--").arg(context).arg(url);
        let begun = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        begun.map(Courier).map_err(|cause| Error::io("the process for --upload cannot be begun", cause))
    }

    /// Lets it go, and waits for it. Code 12 if it is gone.
    pub fn deliver(mut self) -> Result<Delivered> {
        let lost = |cause| {
            Error::new(Code::NotDelivered, format!("the process for --upload: {cause}"))
                .hint("the context is complete; send it with: vm2docker-self upload CONTEXT URL")
        };
        if let Some(mut stdin) = self.0.stdin.take() {
            stdin.write_all(b"\n").map_err(lost)?;
        }
        let mut text = String::new();
        if let Some(mut stdout) = self.0.stdout.take() {
            stdout.read_to_string(&mut text).map_err(lost)?;
        }
        let status = self.0.wait().map_err(lost)?;
        Ok(Delivered {
            done: status.success(),
            receipt: serde_json::from_str(&text).ok(),
            code: status.code(),
        })
    }
}

impl Drop for Courier {
    /// A conversion that has failed has nothing to deliver: its end of the pipe is gone, and so the process.
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Waits, in that process, until it is told; false if it never will be.
pub fn is_told() -> bool {
    let _ = set_parent_process_death_signal(Some(Signal::TERM));
    let mut byte = [0];
    std::io::stdin().read_exact(&mut byte).is_ok()
}
