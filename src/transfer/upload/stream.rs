//! Uploads a context while it is written.
//!
//! The objects arrive through a pipe ([`crate::context::output::sent`]). The server must confirm
//! each object before the next is read, so only one object is in memory.

use super::payload::Payload;
use super::proof::Confirmation;
use super::{Form, Receipt, Server, UploadError, Uploader, put};
use crate::context::output::sent::LARGEST;
use crate::context::reader::COMPLETE;
use crate::error::{Code, Error, Result};
use crate::transfer::net::Address;
use std::io::{self, BufRead, Read};

/// Maximum length in bytes of the line before an object, with its length and name.
const LONGEST_LINE: u64 = 8 << 10;

/// Sends the objects from `input` until `COMPLETE` is sent.
///
/// Returns `None` if the input ends before: then the conversion has failed. Fails with exit code
/// 2 if the URL cannot be used, and with 12 if the upload fails.
pub fn stream(server: &Server, mut input: impl BufRead) -> Result<Option<Receipt>> {
    let address = server.check(Form::Files)?;
    let uploader = Uploader::new(server)?;
    let mut receipt =
        Receipt { url: address.shown(), objects: 0, bytes: 0, confirmation: Confirmation::ReadBack };
    loop {
        let next = next(&mut input)
            .map_err(|cause| Error::io("cannot read the context from standard input", cause))?;
        let Some((name, content)) = next else { return Ok(None) };
        let sent = send(&uploader, &address, &name, content, &mut receipt);
        sent.map_err(|error| failed(error, &name))?;
        if name == COMPLETE {
            return Ok(Some(receipt));
        }
    }
}

fn send(
    uploader: &Uploader<'_>,
    address: &Address,
    name: &str,
    content: Vec<u8>,
    receipt: &mut Receipt,
) -> std::result::Result<(), UploadError> {
    let payload = Payload::memory(content.into(), name)?;
    let proof = put::put(uploader, &address.child(name)?, &payload)?;
    receipt.objects += 1;
    receipt.bytes += payload.length;
    receipt.confirmation = receipt.confirmation.max(proof);
    Ok(())
}

fn failed(error: UploadError, name: &str) -> Error {
    match error {
        UploadError::Local(error) => error,
        UploadError::Remote(failure) => {
            Error::new(Code::UploadFailed, format!("upload failed at {name}: {failure}"))
                .hint("no context is kept on this machine; use --out DIR to keep one and try again")
        }
    }
}

/// Reads the next object, or `None` at the end of the input.
fn next(input: &mut impl BufRead) -> io::Result<Option<(String, Vec<u8>)>> {
    let mut line = Vec::new();
    if input.take(LONGEST_LINE).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    let line = String::from_utf8(line).map_err(|_| io::ErrorKind::InvalidData)?;
    let (length, name) =
        line.strip_suffix('\n').and_then(|line| line.split_once(' ')).ok_or(io::ErrorKind::UnexpectedEof)?;
    let length: usize = length.parse().map_err(|_| io::ErrorKind::InvalidData)?;
    if length > LARGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut content = vec![0; length];
    match input.read_exact(&mut content) {
        Ok(()) => Ok(Some((name.to_owned(), content))),
        // The conversion failed while it wrote the object, and has printed the reason.
        Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(cause) => Err(cause),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_truncated_object_ends_stream() {
        let mut input = &b"1 a b\nx0 e\n5 f\n123"[..];
        assert_eq!(next(&mut input).unwrap(), Some(("a b".to_owned(), b"x".to_vec())));
        assert_eq!(next(&mut input).unwrap(), Some(("e".to_owned(), Vec::new())));
        assert_eq!(next(&mut input).unwrap(), None);
        for line in [&b"1700000000 a\n"[..], b"x a\n", b"12\n", b"1 a"] {
            let mut input = line;
            assert!(next(&mut input).is_err());
        }
    }
}
