//! Uploads a context to a server and verifies that the server has stored it.
//!
//! - [`payload`]: the objects to send.
//! - [`stream`]: sends a context while it is written, without a copy on this machine.
//! - [`child`]: the child process that uploads during a conversion.
//! - `put`: sends an object in one PUT request (WebDAV, S3-compatible storage, presigned URLs).
//! - `tus`: sends an object in parts and resumes (<https://tus.io/protocols/resumable-upload>).
//! - `proof`: checks that the server has stored an object.
//! - [`token`]: the token for the `Authorization` header.

pub mod child;

mod payload;
mod proof;
mod put;
pub mod stream;
pub mod token;
mod tus;

use super::net::{self, Address, Client, Failure, Method, Sending, Settings, Timeouts};
use crate::context::reader::{self, BINARY, COMPLETE, Context};
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

/// Form in which the context is sent (`--upload-as`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// One tar archive.
    Tar,
    /// One object per file: if the server cannot resume, at most one file is sent again.
    Files,
}

impl Form {
    /// Returns the value of `--upload-as`.
    pub fn name(self) -> &'static str {
        match self {
            Form::Tar => "tar",
            Form::Files => "files",
        }
    }
}

/// Number of attempts and the pauses between them.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// Maximum number of successive attempts without progress.
    pub tries: u32,
    /// Pause before the first retry; it doubles with each retry.
    pub first: Duration,
    /// Maximum pause, also if `Retry-After` asks for more.
    pub longest: Duration,
    /// Time limit for all attempts together.
    pub deadline: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        RetryPolicy { tries: 7, first: seconds(1), longest: seconds(60), deadline: seconds(24 * 60 * 60) }
    }
}

/// Context to upload, and the server.
#[derive(Clone, Debug)]
pub struct Options {
    /// Directory of the context.
    pub context: PathBuf,
    /// One archive or one object per file.
    pub form: Form,
    /// Server to upload to.
    pub server: Server,
    /// `--token-file`, for the command in the hint of a failed upload.
    pub token_file: Option<PathBuf>,
}

/// Server to upload to, and how to connect to it.
#[derive(Clone, Debug)]
pub struct Server {
    /// URL as the user typed it.
    pub url: String,
    /// Token for the `Authorization` header.
    pub token: Option<Token>,
    /// PEM file with additional CA certificates.
    pub ca_file: Option<PathBuf>,
    /// Number of attempts and the pauses between them.
    pub patience: RetryPolicy,
    /// Whether to print no messages about retries.
    pub quiet: bool,
}

/// Summary of a confirmed upload.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Receipt {
    /// URL without query string.
    pub url: String,
    /// Number of objects.
    pub objects: usize,
    /// Size of all objects in bytes.
    pub bytes: u64,
    /// How the server confirmed the objects; the weakest confirmation of all objects.
    pub confirmation: Confirmation,
}

impl Schema for Receipt {
    const NAME: &'static str = "vm2docker-self/receipt";
    const VERSION: u32 = 1;
}

impl Receipt {
    /// Returns the summary as one line of text.
    pub fn text(&self) -> String {
        let objects =
            if self.objects == 1 { "1 object".to_owned() } else { format!("{} objects", self.objects) };
        format!("sent to {}: {objects}, {}; {}\n", self.url, bytes(self.bytes), self.confirmation.text())
    }
}

/// Hint for an unusable URL.
const URL_HINT: &str = "use an https:// URL; pass the token or password with --token-file or VM2DOCKER_TOKEN";

impl Server {
    /// Parses the URL and reads the CA file.
    ///
    /// Fails with exit code 2 if the URL cannot be used for this form of upload or if the CA file
    /// has no certificate, and with 1 if the CA file cannot be read.
    pub fn check(&self, form: Form) -> Result<Address> {
        let address = Address::parse(&self.url)
            .map_err(|failure| Error::new(Code::Usage, failure.to_string()).hint(URL_HINT))?;
        if form == Form::Files && address.has_query() {
            let what = format!("{}: a presigned URL accepts one object only", address.shown());
            return Err(Error::new(Code::Usage, what)
                .hint("use --upload-as tar; in a conversion also set --out, to keep the context"));
        }
        self.ca_file.as_deref().map_or(Ok(()), net::check_ca_file)?;
        Ok(address)
    }
}

/// Connects to the server once, before a conversion reads the machine.
///
/// Fails with exit code 20 if the server cannot be reached, if its certificate is not accepted or
/// if it rejects the credentials.
pub fn reach(server: &Server, address: &Address) -> Result<()> {
    let refused = |failure: Failure| {
        let error = Error::new(Code::NotStarted, format!("--upload: {}", failure.what()));
        let hint = "correct the address, or convert with --out and without --upload";
        error.hint(if failure.advice().is_empty() { hint } else { failure.advice() })
    };
    let uploader = Uploader::new(server)?;
    match uploader.client.send(Sending {
        method: Method::OPTIONS,
        url: &address.text(),
        authorization: uploader.authorization(),
        headers: &[],
        body: None,
    }) {
        Err(failure) => Err(refused(failure)),
        // Servers without OPTIONS return other statuses.
        Ok(response) if response.status == 401 => Err(refused(response.refusal())),
        Ok(_) => Ok(()),
    }
}

/// Sends a context. Returns when the server has confirmed all objects.
///
/// Fails with exit code 2 if the URL cannot be used, with 1 or 5 if the context is damaged or
/// incomplete, and with 12 if the upload fails.
pub fn upload(options: &Options) -> Result<Receipt> {
    let address = options.server.check(options.form)?;
    let context = Arc::new(Context::open(&options.context)?);
    // A context that no command can read must not count as delivered.
    if context.names().any(|name| reader::is_archive(name, reader::MANIFEST)) {
        context.check_manifest()?;
    }
    let uploader = Uploader::new(&options.server)?;
    let result = match options.form {
        Form::Files => uploader.files(&context, &address),
        Form::Tar => uploader.archive(&context, &address, archive_name(&options.context)),
    };
    result.map_err(|error| match error {
        UploadError::Local(error) => error,
        UploadError::Remote(failure) => failed(options, &address, &failure),
    })
}

/// Reason why an upload is not confirmed.
enum UploadError {
    /// The context cannot be read.
    Local(Error),
    /// A request failed.
    Remote(Failure),
}

impl From<Error> for UploadError {
    fn from(error: Error) -> Self {
        UploadError::Local(error)
    }
}

impl From<Failure> for UploadError {
    fn from(failure: Failure) -> Self {
        UploadError::Remote(failure)
    }
}

/// Returns the error for a failed upload, with the command to try again as hint.
fn failed(options: &Options, address: &Address, failure: &Failure) -> Error {
    let error = Error::new(Code::UploadFailed, format!("upload failed: {failure}"));
    if matches!(failure, Failure::Source { .. }) {
        return error.hint("another process changed the context, or the disk is faulty: create it again");
    }
    let mut hint = format!(
        "the context is complete; to try again, run:\n  {}",
        retry_command(options, &address.without_query())
    );
    if address.has_query() {
        hint += "\n  with a new presigned URL, because they expire";
    }
    if matches!(failure, Failure::Status { status: 413, .. }) {
        hint = format!("use --upload-as files to send smaller objects; {hint}");
    }
    error.hint(hint)
}

/// Returns the shell command to upload the context again, with absolute paths.
fn retry_command(options: &Options, url: &str) -> String {
    let word = |path: &Path| {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        escape::shell_word(path.as_os_str().as_bytes())
    };
    // The copy in the context, because --remove-self can delete the running executable.
    let mut line = word(&options.context.join(BINARY));
    line += " upload";
    if options.form == Form::Files {
        line += " --upload-as files";
    }
    // A file descriptor does not exist any more when the user runs the command.
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

/// Returns the name of the archive below a directory URL.
fn archive_name(context: &Path) -> String {
    let absolute = std::fs::canonicalize(context).unwrap_or_else(|_| context.to_owned());
    let name = absolute.file_name().map(|name| name.to_string_lossy().into_owned());
    format!("{}.tar", name.unwrap_or_else(|| "context".to_owned()))
}

/// HTTP client and settings for one server.
struct Uploader<'a> {
    client: Client,
    server: &'a Server,
    started: Instant,
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
        Ok(Uploader { client: Client::new(settings)?, server, started: Instant::now() })
    }

    fn authorization(&self) -> Option<&str> {
        self.server.token.as_ref().map(Token::header)
    }

    fn archive(
        &self,
        context: &Arc<Context>,
        address: &Address,
        name: String,
    ) -> std::result::Result<Receipt, UploadError> {
        // Reads the whole context first, so nothing of a damaged one is sent.
        let payload = Payload::archive(context, name)?;
        if let Some(extensions) = tus::extensions(self, address)? {
            let proof = tus::send(self, address, &extensions, &payload)?;
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

    fn files(&self, context: &Arc<Context>, address: &Address) -> std::result::Result<Receipt, UploadError> {
        let mut receipt =
            Receipt { url: address.shown(), objects: 0, bytes: 0, confirmation: Confirmation::ReadBack };
        // COMPLETE is sent last, so an interrupted upload is recognizable on the server.
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

    /// Calls `attempt` until it succeeds, fails permanently, or the retry policy ends the
    /// attempts.
    fn retry<T>(
        &self,
        mut attempt: impl FnMut() -> std::result::Result<T, Failure>,
    ) -> std::result::Result<T, Failure> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            match attempt() {
                Ok(done) => return Ok(done),
                Err(failure) => self.pause(failure, attempts)?,
            }
        }
    }

    /// Waits before the next attempt. Returns `failure` as error if there is none.
    ///
    /// `attempts` is the number of successive attempts without progress.
    fn pause(&self, failure: Failure, attempts: u32) -> std::result::Result<(), Failure> {
        let policy = &self.server.patience;
        let usual =
            (policy.first * 2u32.saturating_pow(attempts.min(16).saturating_sub(1))).min(policy.longest);
        // Jitter: half of the pause is random, so that many machines that the server refused at
        // the same time do not all retry at the same time.
        let nanos =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.subsec_nanos());
        let usual = usual / 2 + usual / 2 * (nanos % 1000) / 1000;
        let pause = failure.pause(usual, policy.longest);
        let is_too_late = self.started.elapsed() + pause >= policy.deadline;
        if attempts >= policy.tries || is_too_late || !failure.may_pass() {
            return Err(failure);
        }
        if !self.server.quiet {
            let (what, seconds) = (failure.what(), pause.as_secs_f64().ceil());
            console::tell(&format!(
                "{what}; retrying in {seconds} s (attempt {} of {})",
                attempts + 1,
                policy.tries
            ));
        }
        std::thread::sleep(pause);
        Ok(())
    }
}
