//! Sends an object in parts and resumes after an interruption, with the tus 1.0.0 protocol.
//!
//! Requires the `creation` extension and uses `checksum` if the server has it.

use super::Uploader;
use super::payload::{Payload, VerifiedReader, source_failure};
use super::proof::{self, Confirmation, other};
use crate::transfer::net::{Address, Failure, Method, Response, Sending, base64};
use sha2::Digest as _;
use std::io::Read;

/// Size of a part in bytes. One part is held in memory.
const PART: u64 = 8 << 20;
const VERSION: (&str, &str) = ("tus-resumable", "1.0.0");

/// Extensions that a tus server supports.
pub(super) struct Extensions {
    /// Whether the server checks the SHA-256 of each part.
    checksum: bool,
}

/// Queries the extensions of the server. Returns `None` if it does not speak tus.
pub(super) fn extensions(uploader: &Uploader<'_>, address: &Address) -> Result<Option<Extensions>, Failure> {
    // A presigned URL is valid only for the request that it was signed for.
    if address.has_query() {
        return Ok(None);
    }
    let response = uploader.retry(|| {
        let response = request(uploader, Method::OPTIONS, address, &[], None)?;
        // An overloaded server has not answered the query; other statuses mean that it has.
        if matches!(response.status, 408 | 425 | 429 | 502..=504) {
            Err(response.refusal())
        } else {
            Ok(response)
        }
    })?;
    let lists = |name: &str, wanted: &str| {
        response.header(name).is_some_and(|list| list.split(',').any(|item| item.trim() == wanted))
    };
    let speaks_tus = (200..300).contains(&response.status) && lists("tus-version", VERSION.1);
    let checksum = lists("tus-extension", "checksum") && lists("tus-checksum-algorithm", "sha256");
    Ok((speaks_tus && lists("tus-extension", "creation")).then_some(Extensions { checksum }))
}

/// Sends an object and retries until the server has confirmed it.
pub(super) fn send(
    uploader: &Uploader<'_>,
    address: &Address,
    extensions: &Extensions,
    payload: &Payload,
) -> Result<Confirmation, Failure> {
    let upload = uploader.retry(|| create(uploader, address, payload))?;
    let (mut offset, mut attempts) = (0, 0);
    let mut content = None;
    while offset < payload.length {
        let failure = match send_part(uploader, &upload, extensions, payload, offset, &mut content) {
            Ok(next) => {
                (offset, attempts) = (next, 0);
                continue;
            }
            Err(failure) => failure,
        };
        attempts += 1;
        content = None;
        uploader.pause(failure, attempts)?;
        // If this query fails, the next part fails too and counts as an attempt.
        if let Ok(now) = query_offset(uploader, &upload).map(|now| now.min(payload.length)) {
            attempts = if now > offset { 0 } else { attempts };
            offset = now;
        }
    }
    if uploader.retry(|| query_offset(uploader, &upload))? != payload.length {
        return Err(other(&upload.shown(), "the server has lost parts that it accepted"));
    }
    // The server's checksums of parts do not show that it has stored the whole object.
    proof::read_back(uploader, &upload, payload)
}

/// Creates an upload and returns its URL (tus `creation` extension).
fn create(uploader: &Uploader<'_>, address: &Address, payload: &Payload) -> Result<Address, Failure> {
    let headers = [
        ("upload-length", payload.length.to_string()),
        // tus does not define metadata keys. These are common, and some servers require both.
        (
            "upload-metadata",
            format!("filename {},filetype {}", base64(payload.name.as_bytes()), base64(b"application/x-tar")),
        ),
    ];
    let response = request(uploader, Method::POST, address, &headers, Some(&[]))?;
    if response.status != 201 {
        return Err(response.refusal());
    }
    let upload = response.header("location").and_then(|location| address.same_origin(location));
    upload.ok_or_else(|| other(&address.shown(), "the server returned no upload URL on the same host"))
}

/// Sends the part at `offset` and returns the new offset of the server.
///
/// `content` is the payload from `offset` on, if it is open.
fn send_part(
    uploader: &Uploader<'_>,
    upload: &Address,
    extensions: &Extensions,
    payload: &Payload,
    offset: u64,
    content: &mut Option<VerifiedReader>,
) -> Result<u64, Failure> {
    let reader = match content {
        Some(reader) => reader,
        None => content.insert(payload.open_at(offset)?),
    };
    let mut bytes = Vec::with_capacity(PART as usize);
    reader.take(PART).read_to_end(&mut bytes).map_err(|cause| source_failure(&cause))?;
    let mut headers = vec![
        ("upload-offset", offset.to_string()),
        ("content-type", "application/offset+octet-stream".to_owned()),
    ];
    if extensions.checksum {
        headers.push(("upload-checksum", format!("sha256 {}", base64(&sha2::Sha256::digest(&bytes)))));
    }
    let response = request(uploader, Method::PATCH, upload, &headers, Some(&bytes))?;
    match response.status {
        200..300 => number(&response, "upload-offset")
            .filter(|next| *next == offset + bytes.len() as u64)
            .ok_or_else(|| other(&upload.shown(), "wrong Upload-Offset after a part")),
        _ => Err(response.refusal()),
    }
}

/// Queries the number of bytes that the server has stored.
fn query_offset(uploader: &Uploader<'_>, upload: &Address) -> Result<u64, Failure> {
    let response = request(uploader, Method::HEAD, upload, &[], None)?;
    match response.status {
        200..300 => number(&response, "upload-offset")
            .ok_or_else(|| other(&upload.shown(), "the response has no Upload-Offset")),
        _ => Err(response.refusal()),
    }
}

fn number(response: &Response, name: &str) -> Option<u64> {
    response.header(name)?.trim().parse().ok()
}

fn request(
    uploader: &Uploader<'_>,
    method: Method,
    address: &Address,
    headers: &[(&'static str, String)],
    body: Option<&[u8]>,
) -> Result<Response, Failure> {
    let headers = [&[(VERSION.0, VERSION.1.to_owned())], headers].concat();
    let mut body = body;
    let length = body.map_or(0, <[u8]>::len) as u64;
    let body = body.as_mut().map(|bytes| (bytes as &mut dyn Read, length));
    uploader.client.send(Sending {
        method,
        url: &address.text(),
        authorization: uploader.authorization(),
        headers: &headers,
        body,
    })
}
