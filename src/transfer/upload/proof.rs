//! A server's word that it took something is no proof that it has it: its digest is, or the thing itself.

use super::Uploader;
use super::payload::Payload;
use crate::model::digest::Sha256;
use crate::model::escape::hex;
use crate::transfer::net::{Address, Failure, Request, Response, base64};
use serde::Serialize;
use sha2::Digest as _;
use std::io::Read;

/// How a server has shown that it has what was sent, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Confirmation {
    /// It gave all of it back.
    ReadBack,
    /// It named the digest of what it has.
    Digest,
}

impl Confirmation {
    /// For people.
    pub(super) fn text(self) -> &'static str {
        match self {
            Confirmation::ReadBack => "read back and found equal",
            Confirmation::Digest => "confirmed by the server's digest",
        }
    }
}

/// What an answer says about what is stored.
pub(super) fn in_answer(response: &Response, payload: &Payload) -> Result<Option<Confirmation>, Failure> {
    let sha256 = base64(&payload.sha256);
    // RFC 9530, 3 (a Content-Digest would be that of the answer's own text), and S3's own.
    let structured = response.header("repr-digest").into_iter();
    let named = structured
        .flat_map(|value| value.split(','))
        .find_map(|member| member.trim().strip_prefix("sha-256=:")?.strip_suffix(':'));
    match named.or_else(|| response.header("x-amz-checksum-sha256")) {
        Some(digest) if digest == sha256 => return Ok(Some(Confirmation::Digest)),
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
    Ok((tag == Some(hex(&payload.md5))).then_some(Confirmation::Digest))
}

/// Fetches the object and compares; again if the connection breaks meanwhile.
pub(super) fn read_back(
    uploader: &Uploader<'_>,
    address: &Address,
    payload: &Payload,
) -> Result<Confirmation, Failure> {
    let is_too_large = |failure: &Failure| matches!(failure, Failure::TooLarge { .. });
    match uploader.persist(|| fetch(uploader, address, payload.length)) {
        Ok(sha256) if sha256 == payload.sha256 => Ok(Confirmation::ReadBack),
        Err(failure) if !is_too_large(&failure) => {
            let text = format!("the server names no digest and does not show what it has ({failure})");
            Err(other(&address.shown(), &text))
        }
        _ => Err(other(&address.shown(), "what the server gives back is not what was sent")),
    }
}

/// The digest of what is there, if that is no more than so many bytes.
fn fetch(uploader: &Uploader<'_>, address: &Address, length: u64) -> Result<Sha256, Failure> {
    let url = address.text();
    let request = Request { authorization: uploader.authorization(), ..Request::new(&url, length) };
    let mut response = uploader.client.get(&request)?;
    let mut sha256 = sha2::Sha256::new();
    let mut buffer = vec![0; 128 << 10];
    loop {
        match response.body.read(&mut buffer) {
            Ok(0) => return Ok(sha256.finalize().into()),
            Ok(got) => sha256.update(&buffer[..got]),
            Err(cause) => {
                let broken = || Failure::CutOff { url: address.shown(), cause: cause.to_string() };
                return Err(Failure::from_io(&cause).cloned().unwrap_or_else(broken));
            }
        }
    }
}

/// The answer is not what a server should give.
pub(super) fn other(url: &str, cause: &str) -> Failure {
    Failure::Protocol { url: url.to_owned(), cause: cause.to_owned() }
}
