//! What a server is shown. It is never an argument, and nothing shows it.

use crate::error::{Code, Error, Result};
use crate::system::file;
use rustix::fs::{self, OFlags};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The variable that has it where no file does.
pub const VARIABLE: &str = "VM2DOCKER_TOKEN";
/// Longer ones are none.
const MOST: u64 = 16 << 10;

/// The value of an `Authorization` header.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// From a file that only its owner can read (a descriptor is `/dev/fd/N`), or from the environment.
    pub fn find(file: Option<&Path>) -> Result<Option<Self>> {
        let text = match file {
            Some(file) => read(file)?,
            None => match std::env::var(VARIABLE) {
                Ok(text) => text,
                Err(_) => return Ok(None),
            },
        };
        Token::new(&text)
            .map(Some)
            .ok_or_else(|| Error::new(Code::Usage, "the token is empty or has bytes that no header can have"))
    }

    /// In the courier's process: the first line of its input; an empty one is none.
    pub fn told() -> Result<Option<Self>> {
        let mut line = String::new();
        io::stdin().read_line(&mut line).map_err(|cause| Error::io("the token", cause))?;
        Ok(Token::new(&line))
    }

    /// A bare token is a bearer's (RFC 6750); one with its scheme before it (`Basic dXNlcjpwYXNz`) is sent as it is.
    fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let is_header = !text.is_empty() && text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        is_header.then(|| {
            if text.contains(' ') { Token(text.to_owned()) } else { Token(format!("Bearer {text}")) }
        })
    }

    /// For the header, and nothing else.
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
    let opened = file::open_quietly(
        fs::CWD,
        path.as_os_str().as_bytes(),
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY,
    );
    let file = File::from(opened.map_err(|cause| failed(cause.into()))?);
    let stat = fs::fstat(&file).map_err(|cause| failed(cause.into()))?;
    if fs::FileType::from_raw_mode(stat.st_mode).is_file() && stat.st_mode & 0o077 != 0 {
        return Err(Error::new(Code::Usage, format!("{}: others than its owner can read it", name()))
            .hint("chmod 600 it, and think of the token as known"));
    }
    let mut text = String::new();
    file.take(MOST).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_bare_token_is_a_bearers() {
        assert_eq!(Token::new("abc\n").unwrap().header(), "Bearer abc");
        assert_eq!(Token::new("Basic eDp5").unwrap().header(), "Basic eDp5");
        assert!(Token::new(" \n").is_none() && Token::new("a\nb").is_none() && Token::new("ä").is_none());
        assert_eq!(format!("{:?}", Token::new("abc")), "Some(Token)");
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "abc").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(Token::find(Some(&file)).unwrap_err().code, Code::Usage);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(Token::find(Some(&file)).unwrap().unwrap().header(), "Bearer abc");
        assert!(Token::find(Some(&dir.path().join("none"))).is_err());
    }
}
