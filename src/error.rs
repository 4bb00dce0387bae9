//! Errors with object, cause and hint; exit codes.

use std::fmt;
use std::process::ExitCode;

/// Exit code of the command. Any other code is a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Complete and verified.
    Done = 0,
    /// Failed; there is no output directory.
    Failed = 1,
    /// Usage error.
    Usage = 2,
    /// Done, but some objects could not be read or included; each is a finding.
    Incomplete = 3,
    /// Verification failed: the file systems differ.
    NotEqual = 5,
    /// No space left; the partial output is removed.
    NoSpace = 10,
    /// Another run uses the same output directory.
    Locked = 11,
    /// Upload failed; the context on this machine is complete.
    UploadFailed = 12,
    /// Done, but the executable could not be removed.
    SelfRemovalFailed = 13,
    /// Not started: a precondition failed.
    NotStarted = 20,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        ExitCode::from(code as u8)
    }
}

/// A failure that ends the run: what failed, the cause, and the next step. Never a file's
/// content.
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

    /// Returns the failure with another exit code.
    #[must_use]
    pub fn with_code(self, code: Code) -> Self {
        Error { code, ..self }
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
