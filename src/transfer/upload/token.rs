//! Token for the `Authorization` header. It is never an argument and never printed.

use crate::error::{Code, Error, Result};
use crate::system::file;
use rustix::fs;
use std::io;
use std::path::Path;

/// Environment variable with the token if `--token-file` is not set.
pub const VARIABLE: &str = "VM2DOCKER_TOKEN";
/// Maximum size of a token file in bytes.
const MAX_TOKEN: u64 = 16 << 10;

/// Value of an `Authorization` header.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// Reads the token from `file`, or from the environment if there is no file.
    ///
    /// The file can be a file descriptor (`/dev/fd/N`). Fails with exit code 2 if other users can
    /// read the file or if the token is not a valid header value.
    pub fn find(file: Option<&Path>) -> Result<Option<Self>> {
        let text = match file {
            Some(file) => read(file)?,
            None => match std::env::var(VARIABLE) {
                Ok(text) => text,
                Err(_) => return Ok(None),
            },
        };
        Token::new(&text).map(Some).ok_or_else(|| {
            Error::new(Code::Usage, "the token is empty or contains bytes other than printable ASCII")
        })
    }

    /// Reads the token from the first line of standard input; `None` if the line is empty.
    ///
    /// Called in the upload child.
    pub fn from_stdin() -> Result<Option<Self>> {
        let mut line = String::new();
        io::stdin()
            .read_line(&mut line)
            .map_err(|cause| Error::io("cannot read the token from standard input", cause))?;
        Ok(Token::new(&line))
    }

    /// Adds `Bearer` to a token without a scheme (RFC 6750). `Basic dXNlcjpwYXNz` stays as it is.
    fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let is_header = !text.is_empty() && text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        is_header.then(|| {
            if text.contains(' ') { Token(text.to_owned()) } else { Token(format!("Bearer {text}")) }
        })
    }

    /// Returns the header value. Must not be used for anything else.
    pub(super) fn header(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

fn read(path: &Path) -> Result<String> {
    let name = || format!("--token-file {}", path.display());
    let failed = |cause| Error::io(name(), cause);
    let file = file::open_named(path).map_err(failed)?;
    let stat = fs::fstat(&file).map_err(|cause| failed(cause.into()))?;
    if fs::FileType::from_raw_mode(stat.st_mode).is_file() && stat.st_mode & 0o077 != 0 {
        return Err(Error::new(Code::Usage, format!("{}: other users can read the file", name()))
            .hint("run chmod 600 on it, and replace the token because others may have read it"));
    }
    file::read_at_most(file, MAX_TOKEN).and_then(file::text).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn token_new_without_scheme_is_bearer() {
        assert_eq!(Token::new("abc\n").unwrap().header(), "Bearer abc");
        assert_eq!(Token::new("Basic eDp5").unwrap().header(), "Basic eDp5");
        assert!(Token::new(" \n").is_none() && Token::new("a\nb").is_none() && Token::new("ä").is_none());
        assert_eq!(format!("{:?}", Token::new("abc")), "Some(Token)");
    }

    #[test]
    fn token_find_file_readable_by_others_is_usage_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "abc").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(Token::find(Some(&file)).unwrap_err().code, Code::Usage);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(Token::find(Some(&file)).unwrap().unwrap().header(), "Bearer abc");
        assert!(Token::find(Some(&dir.path().join("none"))).is_err());
        std::fs::write(&file, "a".repeat(MAX_TOKEN as usize + 1)).unwrap();
        let error = Token::find(Some(&file)).unwrap_err().to_string();
        assert!(error.contains("larger than 16.0 KiB"), "{error}");
    }
}
