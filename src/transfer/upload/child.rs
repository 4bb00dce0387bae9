//! Child process that uploads the context of a conversion ([`UnsandboxedChild`]).
//!
//! The sandbox of the main process forbids network access, so the child starts before it. It
//! sends the context after it is complete (`deliver`) or while it is written (`send`).

use super::Server;
use super::token::Token;
use crate::context::output::sent::Stream;
use crate::error::{Code, Error, Result};
use crate::system::child::UnsandboxedChild;
use serde_json::Value;
use std::ffi::OsString;
use std::path::Path;

/// Hidden subcommand of the child that sends a complete context.
pub const DELIVER: &str = "deliver";
/// Hidden subcommand of the child that sends a context while it is written.
pub const SEND: &str = "send";

/// Child process that waits for a context.
#[derive(Debug)]
pub struct UploadChild(UnsandboxedChild);

/// Result of an upload by the child.
#[derive(Debug)]
pub struct UploadOutcome {
    /// Whether the server confirmed all objects.
    pub done: bool,
    /// Receipt as JSON, if the child printed one (`--json`).
    pub receipt: Option<Value>,
    code: Option<i32>,
}

impl UploadOutcome {
    /// Returns the exit code of the run if the upload failed.
    pub fn code(&self) -> Code {
        if self.code == Some(Code::NotEqual as i32) { Code::NotEqual } else { Code::UploadFailed }
    }
}

/// Starts the child and writes token and URL to its standard input, one per line.
fn start(arguments: &[OsString], server: &Server) -> Result<UnsandboxedChild> {
    let mut child = UnsandboxedChild::spawn("--upload", arguments)?;
    // Not as arguments because other users can read them in /proc/PID/cmdline (proc(5)), and the
    // URL can be presigned. The child cannot open --token-file again if it is a pipe.
    let token = server.token.as_ref().map_or("", Token::header);
    child
        .write(format!("{token}\n{}\n", server.url).as_bytes())
        .map_err(|cause| Error::io("cannot write to the --upload process", cause))?;
    Ok(child)
}

/// Reads token and URL from standard input. Called in the child.
pub fn read_request() -> Result<(Option<Token>, String)> {
    let token = Token::from_stdin()?;
    let mut url = String::new();
    std::io::stdin()
        .read_line(&mut url)
        .map_err(|cause| Error::io("cannot read the URL from standard input", cause))?;
    Ok((token, url.trim_end_matches('\n').to_owned()))
}

impl UploadChild {
    /// Starts a child that sends `context` after [`Self::finish`] is called.
    ///
    /// `flags` are options of the `upload` command. Fails with exit code 1 if no process can be
    /// started.
    pub fn spawn(context: &Path, server: &Server, flags: &[OsString]) -> Result<Self> {
        let mut arguments: Vec<OsString> = vec![DELIVER.into()];
        arguments.extend_from_slice(flags);
        arguments.extend(["--".into(), context.into()]);
        start(&arguments, server).map(UploadChild)
    }

    /// Starts a child that sends a context while it is written to the returned stream.
    ///
    /// `flags` are options of the `send` command.
    pub fn spawn_stream(server: &Server, flags: &[OsString]) -> Result<(Self, Stream)> {
        let mut arguments: Vec<OsString> = vec![SEND.into()];
        arguments.extend_from_slice(flags);
        let mut child = start(&arguments, server)?;
        let input = child
            .take_input()
            .ok_or_else(|| Error::new(Code::Failed, "the --upload process has no standard input"))?;
        Ok((UploadChild(child), Box::new(input)))
    }

    /// Waits for the child. Returns whether it ended because the upload failed (exit code 12).
    pub fn has_failed(self) -> bool {
        self.0.wait().is_ok_and(|ended| ended.code == Some(Code::UploadFailed as i32))
    }

    /// Lets the child start if it still waits, and waits until it ends.
    ///
    /// Fails with exit code 12 if the child died.
    pub fn finish(mut self) -> Result<UploadOutcome> {
        let lost = |cause| {
            Error::new(Code::UploadFailed, format!("upload failed: the --upload process ended: {cause}"))
                .hint("if --out was set, send the context with: vm2docker-self upload CONTEXT URL")
        };
        if self.0.waits() {
            self.0.start().map_err(lost)?;
        }
        let ended = self.0.wait().map_err(lost)?;
        let receipt = serde_json::from_str(&ended.output).ok();
        Ok(UploadOutcome { done: ended.code == Some(Code::Done as i32), receipt, code: ended.code })
    }
}
