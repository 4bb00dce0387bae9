//! The process that delivers what a conversion makes ([`UnsandboxedChild`]): when it is finished, or while it is made.

use super::Server;
use super::token::Token;
use crate::context::output::sent::Stream;
use crate::error::{Code, Error, Result};
use crate::system::child::UnsandboxedChild;
use serde_json::Value;
use std::ffi::OsString;
use std::path::Path;

/// The subcommand of the process that sends a context that is made.
pub const DELIVER: &str = "deliver";
/// The subcommand of the process that sends while a context is made.
pub const SEND: &str = "send";

/// A process that waits for a context.
#[derive(Debug)]
pub struct UploadChild(UnsandboxedChild);

/// What came of it.
#[derive(Debug)]
pub struct UploadOutcome {
    /// Whether the server has shown that it has everything.
    pub done: bool,
    /// What is on the server, where it was asked for.
    pub receipt: Option<Value>,
    code: Option<i32>,
}

impl UploadOutcome {
    /// How the run ends where it is not.
    pub fn code(&self) -> Code {
        if self.code == Some(Code::NotEqual as i32) { Code::NotEqual } else { Code::NotDelivered }
    }
}

/// What the server is to be shown, and its address, which may be signed, go in as the first lines: everybody sees arguments, and a
/// descriptor that a token came by can be read only once.
fn begin(arguments: &[OsString], server: &Server) -> Result<UnsandboxedChild> {
    let mut child = UnsandboxedChild::spawn("--upload", arguments)?;
    let token = server.token.as_ref().map_or("", Token::header);
    let failed = |cause| Error::io("the process for --upload", cause);
    child.write(format!("{token}\n{}\n", server.url).as_bytes()).map_err(failed)?;
    Ok(child)
}

/// In that process: what the server is to be shown, and its address.
pub fn read_request() -> Result<(Option<Token>, String)> {
    let token = Token::told()?;
    let mut url = String::new();
    std::io::stdin().read_line(&mut url).map_err(|cause| Error::io("the address", cause))?;
    Ok((token, url.trim_end_matches('\n').to_owned()))
}

impl UploadChild {
    /// Begins it. `flags` are those of `upload`. Code 1 where no process can be begun.
    pub fn spawn(context: &Path, server: &Server, flags: &[OsString]) -> Result<Self> {
        let mut arguments: Vec<OsString> = vec![DELIVER.into()];
        arguments.extend_from_slice(flags);
        arguments.extend(["--".into(), context.into()]);
        begin(&arguments, server).map(UploadChild)
    }

    /// Begins one that sends a context while it is made. `flags` are those of `send`.
    pub fn spawn_stream(server: &Server, flags: &[OsString]) -> Result<(Self, Stream)> {
        let mut arguments: Vec<OsString> = vec![SEND.into()];
        arguments.extend_from_slice(flags);
        let mut child = begin(&arguments, server)?;
        let input = child.take_input();
        let input =
            input.ok_or_else(|| Error::new(Code::Failed, "the process for --upload takes no input"))?;
        Ok((UploadChild(child), Box::new(input)))
    }

    /// Ends it; whether it had ended already, because the server would not have what it brought.
    pub fn has_failed(self) -> bool {
        self.0.wait().is_ok_and(|ended| ended.code == Some(Code::NotDelivered as i32))
    }

    /// Lets it go, if it waits for that, and waits for it. Code 12 if it is gone.
    pub fn finish(mut self) -> Result<UploadOutcome> {
        let lost = |cause| {
            Error::new(Code::NotDelivered, format!("the process for --upload: {cause}"))
                .hint("a context that --out has kept is sent with: vm2docker-self upload CONTEXT URL")
        };
        if self.0.waits() {
            self.0.start().map_err(lost)?;
        }
        let ended = self.0.wait().map_err(lost)?;
        let receipt = serde_json::from_str(&ended.output).ok();
        Ok(UploadOutcome { done: ended.code == Some(Code::Done as i32), receipt, code: ended.code })
    }
}
