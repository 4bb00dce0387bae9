//! The process that delivers what a conversion makes ([`Companion`]): when it is finished, or while it is made.

use super::Server;
use super::token::Token;
use crate::context::output::sent::Stream;
use crate::error::{Code, Error, Result};
use crate::system::child::Companion;
use serde_json::Value;
use std::ffi::OsString;
use std::path::Path;

/// The subcommand of the process that sends a context that is made.
pub const DELIVER: &str = "deliver";
/// The subcommand of the process that sends while a context is made.
pub const SEND: &str = "send";

/// A process that waits for a context.
#[derive(Debug)]
pub struct Courier(Companion);

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

/// What the server is to be shown, and its address, which may be signed, go in as the first lines: everybody sees arguments, and a
/// descriptor that a token came by can be read only once.
fn begin(arguments: &[OsString], server: &Server) -> Result<Companion> {
    let mut companion = Companion::begin("--upload", arguments)?;
    let token = server.token.as_ref().map_or("", Token::header);
    let failed = |cause| Error::io("the process for --upload", cause);
    companion.say(format!("{token}\n{}\n", server.url).as_bytes()).map_err(failed)?;
    Ok(companion)
}

/// In that process: what the server is to be shown, and its address.
pub fn told() -> Result<(Option<Token>, String)> {
    let token = Token::told()?;
    let mut url = String::new();
    std::io::stdin().read_line(&mut url).map_err(|cause| Error::io("the address", cause))?;
    Ok((token, url.trim_end_matches('\n').to_owned()))
}

impl Courier {
    /// Begins it. `flags` are those of `upload`. Code 1 where no process can be begun.
    pub fn call(context: &Path, server: &Server, flags: &[OsString]) -> Result<Self> {
        let mut arguments: Vec<OsString> = vec![DELIVER.into()];
        arguments.extend_from_slice(flags);
        arguments.extend(["--".into(), context.into()]);
        begin(&arguments, server).map(Courier)
    }

    /// Begins one that sends a context while it is made. `flags` are those of `send`.
    pub fn call_for_stream(server: &Server, flags: &[OsString]) -> Result<(Self, Stream)> {
        let mut arguments: Vec<OsString> = vec![SEND.into()];
        arguments.extend_from_slice(flags);
        let mut companion = begin(&arguments, server)?;
        let input = companion.take_input();
        let input =
            input.ok_or_else(|| Error::new(Code::Failed, "the process for --upload takes no input"))?;
        Ok((Courier(companion), Box::new(input)))
    }

    /// Ends it; whether it had ended already, because the server would not have what it brought.
    pub fn has_failed(self) -> bool {
        self.0.wait().is_ok_and(|ended| ended.code == Some(Code::NotDelivered as i32))
    }

    /// Lets it go, if it waits for that, and waits for it. Code 12 if it is gone.
    pub fn deliver(mut self) -> Result<Delivered> {
        let lost = |cause| {
            Error::new(Code::NotDelivered, format!("the process for --upload: {cause}"))
                .hint("a context that --out has kept is sent with: vm2docker-self upload CONTEXT URL")
        };
        if self.0.waits() {
            self.0.tell().map_err(lost)?;
        }
        let ended = self.0.wait().map_err(lost)?;
        let receipt = serde_json::from_str(&ended.output).ok();
        Ok(Delivered { done: ended.code == Some(Code::Done as i32), receipt, code: ended.code })
    }
}
