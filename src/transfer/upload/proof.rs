//! Verifies that the server has stored an object.
//!
//! A success status is not enough. The server must return a digest of the object or the object.

use super::Uploader;
use super::payload::Payload;
use crate::model::digest::Sha256;
use crate::model::escape::hex;
use crate::transfer::net::{Address, Failure, Request, Response, base64};
use serde::Serialize;
use sha2::Digest as _;
use std::io::Read;

/// How the server confirmed an object, strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Confirmation {
    /// The object was read back and compared.
    ReadBack,
    /// The server returned the digest of the object.
    Digest,
}

impl Confirmation {
    /// Returns the text for the summary.
    pub(super) fn text(self) -> &'static str {
        match self {
            Confirmation::ReadBack => "read back and verified",
            Confirmation::Digest => "confirmed by the server's digest",
        }
    }
}

/// Compares the digest in the response headers with the payload.
///
/// Returns `None` if the response has no digest. Fails if the digest differs.
pub(super) fn in_response(response: &Response, payload: &Payload) -> Result<Option<Confirmation>, Failure> {
    let sha256 = base64(&payload.sha256);
    // Repr-Digest is the digest of the stored object (RFC 9530, section 3); Content-Digest is
    // that of the response body. S3 has a header of its own (x-amz-checksum-sha256).
    let digests = response.header("repr-digest").into_iter();
    let repr_digest = digests
        .flat_map(|value| value.split(','))
        .find_map(|member| member.trim().strip_prefix("sha-256=:")?.strip_suffix(':'));
    match repr_digest.or_else(|| response.header("x-amz-checksum-sha256")) {
        Some(digest) if digest == sha256 => return Ok(Some(Confirmation::Digest)),
        Some(_) => {
            return Err(other(
                &response.url,
                "the server returned a different digest than that of the sent object",
            ));
        }
        None => {}
    }
    // With many servers, the ETag of an object from a single request is its MD5. RFC 9110 does
    // not require that, so a different ETag does not mean a different object.
    let tag = response.header("etag").map(|tag| tag.trim_matches('"').to_ascii_lowercase());
    Ok((tag == Some(hex(&payload.md5))).then_some(Confirmation::Digest))
}

/// Downloads the object and compares its digest. Retries if the connection breaks.
pub(super) fn read_back(
    uploader: &Uploader<'_>,
    address: &Address,
    payload: &Payload,
) -> Result<Confirmation, Failure> {
    let is_too_large = |failure: &Failure| matches!(failure, Failure::TooLarge { .. });
    match uploader.retry(|| fetch(uploader, address, payload.length)) {
        Ok(sha256) if sha256 == payload.sha256 => Ok(Confirmation::ReadBack),
        Err(failure) if !is_too_large(&failure) => {
            let text =
                format!("the server returned no digest, and the object cannot be read back ({failure})");
            Err(other(&address.shown(), &text))
        }
        _ => Err(other(&address.shown(), "the object on the server differs from the sent object")),
    }
}

/// Downloads an object of at most `length` bytes and returns its SHA-256.
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

/// Returns the failure for a response that a correct server would not send.
pub(super) fn other(url: &str, cause: &str) -> Failure {
    Failure::Protocol { url: url.to_owned(), cause: cause.to_owned() }
}
