//! What went wrong, with which object, and what to do next.

use std::fmt;
use std::process::ExitCode;

/// How the run ended, as the caller's shell sees it. Any code that is not here is a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Complete and verified.
    Done = 0,
    /// Failed; nothing stands under the final name.
    Failed = 1,
    /// The command line cannot be carried out as written.
    Usage = 2,
    /// Done, but some objects could not be read or kept; each is in the findings.
    Incomplete = 3,
    /// What was compared is not equal.
    NotEqual = 5,
    /// Not enough space; what had been written is removed again.
    NoSpace = 10,
    /// Another run has the same output.
    Locked = 11,
    /// The context is complete here, and not delivered.
    NotDelivered = 12,
    /// Everything is done but the removal of this program.
    SelfRemovalFailed = 13,
    /// Refused before any work.
    NotStarted = 20,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        ExitCode::from(code as u8)
    }
}

/// A failure that ends the run: what failed, the cause, and the next step. Never a file's content.
#[derive(Debug)]
pub struct Error {
    /// The exit code that this failure ends with.
    pub code: Code,
    what: String,
    cause: Option<std::io::Error>,
    hint: Option<String>,
}

/// The result of everything that can end the run.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A failure with its exit code; `what` names the object.
    pub fn new(code: Code, what: impl Into<String>) -> Self {
        Error { code, what: what.into(), cause: None, hint: None }
    }

    /// A failure of the operating system on the object that `what` names.
    pub fn io(what: impl Into<String>, cause: std::io::Error) -> Self {
        let is_full = is_no_space(&cause);
        let code = if is_full { Code::NoSpace } else { Code::Failed };
        let hint = is_full.then(|| "choose another file system with --out".to_owned());
        Error { code, what: what.into(), cause: Some(cause), hint }
    }

    /// The next step for the user.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Whether `cause` says that the target file system is full.
pub fn is_no_space(cause: &std::io::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(cause.kind(), StorageFull | QuotaExceeded)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(cause) = &self.cause {
            write!(f, ": {cause}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_ref().map(|cause| cause as _)
    }
}
