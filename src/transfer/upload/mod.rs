//! The finished context on a server, and proof that it is there.
//!
//! - [`payload`]: what is sent.
//! - [`stream`]: a context that is kept nowhere here.
//! - [`courier`]: the process that does it beside a conversion.
//! - `put`: an object by one request (WebDAV, S3 and its like, presigned addresses).
//! - `tus`: an object in parts, taken up where the server has it (<https://tus.io/protocols/resumable-upload>).
//! - `proof`: whether the server has what was sent.
//! - [`token`]: what the server is shown.

pub mod child;

mod payload;
mod proof;
mod put;
pub mod stream;
pub mod token;
mod tus;

use super::net::{self, Address, Client, Failure, Settings, Timeouts};
use crate::context::reader::{BINARY, COMPLETE, Context};
use crate::error::{Code, Error, Result};
use crate::model::document::Schema;
use crate::model::escape;
use crate::model::size::bytes;
use crate::system::console;
use payload::Payload;
use proof::Confirmation;
use serde::Serialize;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use token::Token;

/// How the context is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// As one archive.
    Tar,
    /// File by file: a server without resumption loses no more than one of them.
    Files,
}

impl Form {
    /// As the command line has it.
    pub fn name(self) -> &'static str {
        match self {
            Form::Tar => "tar",
            Form::Files => "files",
        }
    }
}

/// How long a server is borne with.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// Tries in a row that bring nothing on.
    pub tries: u32,
    /// Before the second of them; it doubles from one to the next.
    pub first: Duration,
    /// The longest pause, whatever the server asks for.
    pub longest: Duration,
    /// All tries together.
    pub deadline: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        RetryPolicy { tries: 7, first: seconds(1), longest: seconds(60), deadline: seconds(24 * 60 * 60) }
    }
}

/// What is to be sent, and to where.
#[derive(Clone, Debug)]
pub struct Options {
    /// The context.
    pub context: PathBuf,
    /// As one archive or file by file.
    pub form: Form,
    /// To where.
    pub server: Server,
    /// Where the token came from, for the line to try again.
    pub token_file: Option<PathBuf>,
}

/// Where things are sent to.
#[derive(Clone, Debug)]
pub struct Server {
    /// As it was typed.
    pub url: String,
    /// What the server is shown.
    pub token: Option<Token>,
    /// More certificate authorities that are trusted: PEM.
    pub ca_file: Option<PathBuf>,
    /// How long a server is borne with.
    pub patience: RetryPolicy,
    /// Do not tell that a server is waited for.
    pub quiet: bool,
}

/// What is on the server.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Receipt {
    /// Without query string.
    pub url: String,
    /// Objects there.
    pub objects: usize,
    /// Bytes there.
    pub bytes: u64,
    /// How the server has shown that it has them; the weakest of all objects.
    pub confirmation: Confirmation,
}

impl Schema for Receipt {
    const NAME: &'static str = "vm2docker-self/receipt";
    const VERSION: u32 = 1;
}

impl Receipt {
    /// For people.
    pub fn text(&self) -> String {
        let objects =
            if self.objects == 1 { "object".to_owned() } else { format!("{} objects", self.objects) };
        format!("sent to {}: {objects}, {}; {}\n", self.url, bytes(self.bytes), self.confirmation.text())
    }
}

/// What an address has to be.
const PROPER: &str =
    "give an https:// address; what the server is to be shown comes from --token-file or VM2DOCKER_TOKEN";

impl Server {
    /// Refuses (code 2) an address that nothing may be sent to in this form, and certificates that are none (1 if they cannot be
    /// read).
    pub fn check(&self, form: Form) -> Result<Address> {
        let address = Address::parse(&self.url)
            .map_err(|failure| Error::new(Code::Usage, failure.to_string()).hint(PROPER))?;
        if form == Form::Files && address.has_query() {
            let what = format!("{}: a signed address is good for one object only", address.shown());
            return Err(Error::new(Code::Usage, what)
                .hint("one archive can be sent there: --upload-as tar, of a context that --out keeps"));
        }
        self.ca_file.as_deref().map_or(Ok(()), net::check_ca_file)?;
        Ok(address)
    }
}

/// Sends a context and returns when the server has shown that it has it.
///
/// Code 2 for an address or a token that cannot be used, 1 or 5 for a context that is not whole, else 12.
pub fn upload(options: &Options) -> Result<Receipt> {
    let address = options.server.check(options.form)?;
    let context = Arc::new(Context::open(&options.context)?);
    let uploader = Uploader::new(&options.server)?;
    let delivered = match options.form {
        Form::Files => uploader.files(&context, &address),
        Form::Tar => uploader.archive(&context, &address, archive_name(&options.context)),
    };
    delivered.map_err(|undelivered| match undelivered {
        Undelivered::Here(error) => error,
        Undelivered::There(failure) => failed(options, &address, &failure),
    })
}

/// Why nothing is confirmed.
enum Undelivered {
    Here(Error),
    There(Failure),
}

impl From<Error> for Undelivered {
    fn from(error: Error) -> Self {
        Undelivered::Here(error)
    }
}

impl From<Failure> for Undelivered {
    fn from(failure: Failure) -> Self {
        Undelivered::There(failure)
    }
}

fn failed(options: &Options, address: &Address, failure: &Failure) -> Error {
    let error = Error::new(Code::NotDelivered, format!("not delivered: {failure}"));
    if matches!(failure, Failure::Source { .. }) {
        return error.hint("something has changed the context, or its disk fails: make it anew");
    }
    let mut hint =
        format!("the context is whole; to try again:\n  {}", again(options, &address.without_query()));
    if address.has_query() {
        hint += "\n  with a signed address again: they expire";
    }
    if matches!(failure, Failure::Status { status: 413, .. }) {
        hint = format!("it takes nothing as large: --upload-as files sends smaller objects; {hint}");
    }
    error.hint(hint)
}

/// The line to type, from wherever. The program is the context's: the one that runs may be gone by then.
fn again(options: &Options, url: &str) -> String {
    let word = |path: &Path| {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        escape::shell_word(path.as_os_str().as_bytes())
    };
    let mut line = word(&options.context.join(BINARY));
    line += " upload";
    if options.form == Form::Files {
        line += " --upload-as files";
    }
    // What a descriptor gave is gone.
    let token_file = options.token_file.as_ref().filter(|file| !file.starts_with("/dev"));
    for (flag, file) in [("--ca-file", options.server.ca_file.as_ref()), ("--token-file", token_file)] {
        if let Some(file) = file {
            line += &format!(" {flag} {}", word(file));
        }
    }
    line += &format!(" {} {}", word(&options.context), escape::shell_word(url.as_bytes()));
    match options.server.token.is_some() && token_file.is_none() {
        true => line + "\n  with the token again (VM2DOCKER_TOKEN, or --token-file)",
        false => line,
    }
}

/// The archive's name where the address is that of a directory.
fn archive_name(context: &Path) -> String {
    let absolute = std::fs::canonicalize(context).unwrap_or_else(|_| context.to_owned());
    let name = absolute.file_name().map(|name| name.to_string_lossy().into_owned());
    format!("{}.tar", name.unwrap_or_else(|| "context".to_owned()))
}

/// One server that things are sent to.
struct Uploader<'a> {
    client: Client,
    server: &'a Server,
    begun: Instant,
}

impl<'a> Uploader<'a> {
    fn new(server: &'a Server) -> Result<Self> {
        let seconds = Duration::from_secs;
        let deadline = server.patience.deadline;
        let times = Timeouts {
            connect: seconds(15),
            headers: seconds(60),
            stall: seconds(60),
            request: deadline,
            ..Timeouts::default()
        };
        let settings = Settings {
            ca_file: server.ca_file.clone(),
            budget: deadline,
            times,
            asks_again: true,
            ..Settings::default()
        };
        Ok(Uploader { client: Client::new(settings)?, server, begun: Instant::now() })
    }

    fn authorization(&self) -> Option<&str> {
        self.server.token.as_ref().map(Token::header)
    }

    fn archive(
        &self,
        context: &Arc<Context>,
        address: &Address,
        name: String,
    ) -> std::result::Result<Receipt, Undelivered> {
        // A context that is damaged is nobody's business.
        let payload = Payload::archive(context, name)?;
        if let Some(offer) = tus::offer(self, address)? {
            let proof = tus::send(self, address, &offer, &payload)?;
            return Ok(Receipt {
                url: address.shown(),
                objects: 1,
                bytes: payload.length,
                confirmation: proof,
            });
        }
        let target = if address.is_directory() { address.child(&payload.name)? } else { address.clone() };
        let proof = put::put(self, &target, &payload)?;
        Ok(Receipt { url: target.shown(), objects: 1, bytes: payload.length, confirmation: proof })
    }

    fn files(&self, context: &Arc<Context>, address: &Address) -> std::result::Result<Receipt, Undelivered> {
        let mut receipt =
            Receipt { url: address.shown(), objects: 0, bytes: 0, confirmation: Confirmation::ReadBack };
        // What is not complete on the server has no COMPLETE there.
        let names = context.names().chain([COMPLETE]);
        let payloads: Vec<Payload> = names.map(|name| Payload::file(context, name)).collect::<Result<_>>()?;
        for payload in &payloads {
            let proof = put::put(self, &address.child(&payload.name)?, payload)?;
            receipt.objects += 1;
            receipt.bytes += payload.length;
            receipt.confirmation = receipt.confirmation.max(proof);
        }
        Ok(receipt)
    }

    /// Tries until it succeeds, or fails for good.
    fn persist<T>(
        &self,
        mut attempt: impl FnMut() -> std::result::Result<T, Failure>,
    ) -> std::result::Result<T, Failure> {
        let mut tried = 0;
        loop {
            tried += 1;
            match attempt() {
                Ok(done) => return Ok(done),
                Err(failure) => self.pause(failure, tried)?,
            }
        }
    }

    /// Waits before the next try; what has failed comes back when there is none any more. `tried` counts those in a row
    /// that brought nothing on.
    fn pause(&self, failure: Failure, tried: u32) -> std::result::Result<(), Failure> {
        let patience = &self.server.patience;
        let usual =
            (patience.first * 2u32.saturating_pow(tried.min(16).saturating_sub(1))).min(patience.longest);
        // Half of it by chance: a thousand machines that were refused together do not come back together.
        let nanos =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.subsec_nanos());
        let usual = usual / 2 + usual / 2 * (nanos % 1000) / 1000;
        let pause = failure.pause(usual, patience.longest);
        if tried >= patience.tries || self.begun.elapsed() + pause >= patience.deadline || !failure.may_pass()
        {
            return Err(failure);
        }
        if !self.server.quiet {
            let (what, seconds) = (failure.what(), pause.as_secs_f64().ceil());
            console::tell(&format!(
                "{what}; trying again in {seconds} s ({} of {})",
                tried + 1,
                patience.tries
            ));
        }
        std::thread::sleep(pause);
        Ok(())
    }
}
