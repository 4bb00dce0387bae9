//! A server's word that it took something is no proof that it has it: its digest is, or the thing itself.

use super::Uploader;
use super::payload::Payload;
use crate::escape::hex;
use crate::net::{Address, Failure, Request, Response, base64};
use serde::Serialize;
use sha2::Digest as _;
use std::io::Read;

/// How a server has shown that it has what was sent, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proof {
    /// It gave all of it back.
    ReadBack,
    /// It named the digest of what it has.
    Digest,
    /// It checked the digest of each part.
    Parts,
}

impl Proof {
    /// For people.
    pub(super) fn text(self) -> &'static str {
        match self {
            Proof::ReadBack => "read back and found equal",
            Proof::Digest => "confirmed by the server's digest",
            Proof::Parts => "confirmed by the server part by part",
        }
    }
}

/// What an answer says about what is stored.
pub(super) fn in_answer(response: &Response, payload: &Payload) -> Result<Option<Proof>, Failure> {
    let sha256 = base64(&payload.sha256);
    // RFC 9530, 2 and 3, and S3's own.
    let structured = ["repr-digest", "content-digest"].into_iter().filter_map(|name| response.header(name));
    let named = structured
        .flat_map(|value| value.split(','))
        .find_map(|member| member.trim().strip_prefix("sha-256=:")?.strip_suffix(':'));
    match named.or_else(|| response.header("x-amz-checksum-sha256")) {
        Some(digest) if digest == sha256 => return Ok(Some(Proof::Digest)),
        Some(_) => {
            return Err(other(
                &response.url,
                "the digest that the server names is not that of what was sent",
            ));
        }
        None => {}
    }
    // Of an object that came in one piece the tag is the MD5 with many servers; if it is something else it proves nothing.
    let tag = response.header("etag").map(|tag| tag.trim_matches('"').to_ascii_lowercase());
    Ok((tag == Some(hex(&payload.md5))).then_some(Proof::Digest))
}

/// Fetches the object and compares. Nothing but the failure to fetch it where the server does not show it.
pub(super) fn read_back(
    uploader: &Uploader<'_>,
    address: &Address,
    payload: &Payload,
) -> Result<Result<Proof, Hidden>, Failure> {
    let url = address.text();
    let request = Request { authorization: uploader.authorization(), ..Request::new(&url, payload.length) };
    let different = || other(&address.shown(), "what the server gives back is not what was sent");
    let mut response = match uploader.client.get(&request) {
        Ok(response) => response,
        Err(Failure::TooLarge { .. }) => return Err(different()),
        Err(failure) => return Ok(Err(Hidden(failure))),
    };
    let mut sha256 = sha2::Sha256::new();
    let mut buffer = vec![0; 128 << 10];
    loop {
        match response.body.read(&mut buffer) {
            Ok(0) => break,
            Ok(got) => sha256.update(&buffer[..got]),
            Err(cause) if cause.kind() == std::io::ErrorKind::FileTooLarge => return Err(different()),
            Err(cause) => {
                let text =
                    format!("the server names no digest, and what it has could not be read back: {cause}");
                return Err(other(&address.shown(), &text));
            }
        }
    }
    if sha256.finalize()[..] == payload.sha256 { Ok(Ok(Proof::ReadBack)) } else { Err(different()) }
}

/// Why a server does not show what it has.
pub(super) struct Hidden(Failure);

impl Hidden {
    /// As the failure that it is where nothing else proves anything.
    pub(super) fn failure(self, address: &Address) -> Failure {
        let text = format!("the server names no digest and does not show what it has ({})", self.0);
        other(&address.shown(), &text)
    }
}

/// The answer is not what a server should give.
pub(super) fn other(url: &str, cause: &str) -> Failure {
    Failure::Protocol { url: url.to_owned(), cause: cause.to_owned() }
}
