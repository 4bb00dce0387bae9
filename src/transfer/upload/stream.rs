//! A context that is sent while it is made. Its objects come over a pipe ([`crate::context::output::sent`]): each is on the server, and has
//! been shown to be, before the next is taken, so that no more of it than one is in memory.

use super::payload::Payload;
use super::proof::Confirmation;
use super::{Form, Receipt, Server, Undelivered, Uploader, put};
use crate::context::output::sent::LARGEST;
use crate::context::reader::COMPLETE;
use crate::error::{Code, Error, Result};
use crate::transfer::net::Address;
use std::io::{self, BufRead, Read};

/// The longest line before an object: its length and its name.
const LONGEST_LINE: u64 = 8 << 10;

/// Sends what `input` brings, until the seal is there; nothing if it ends before: then there is no context.
///
/// Code 2 for an address that cannot be used, else 12.
pub fn stream(server: &Server, mut input: impl BufRead) -> Result<Option<Receipt>> {
    let address = server.check(Form::Files)?;
    let uploader = Uploader::new(server)?;
    let mut receipt =
        Receipt { url: address.shown(), objects: 0, bytes: 0, confirmation: Confirmation::ReadBack };
    loop {
        let next = next(&mut input).map_err(|cause| Error::io("what is to be sent", cause))?;
        let Some((name, content)) = next else { return Ok(None) };
        let sent = send(&uploader, &address, &name, content, &mut receipt);
        sent.map_err(|undelivered| failed(undelivered, &name))?;
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
) -> std::result::Result<(), Undelivered> {
    let payload = Payload::memory(content.into(), name)?;
    let proof = put::put(uploader, &address.child(name)?, &payload)?;
    receipt.objects += 1;
    receipt.bytes += payload.length;
    receipt.confirmation = receipt.confirmation.max(proof);
    Ok(())
}

fn failed(undelivered: Undelivered, name: &str) -> Error {
    match undelivered {
        Undelivered::Here(error) => error,
        Undelivered::There(failure) => {
            Error::new(Code::NotDelivered, format!("not delivered, from {name} on: {failure}"))
                .hint("nothing is kept on this machine; with --out DIR a context is, for another try")
        }
    }
}

/// The next object; nothing where the input ends.
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
        // The conversion has failed in the middle of it, and has said why.
        Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(cause) => Err(cause),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_come_one_after_the_other_and_half_of_one_is_the_end() {
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
