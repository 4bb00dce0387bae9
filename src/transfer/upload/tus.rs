//! An object in parts, taken up where the server has it: tus 1.0 with creation and, where there is one, checksum.

use super::Uploader;
use super::payload::{Payload, Whole, source_failure};
use super::proof::{self, Confirmation, other};
use crate::transfer::net::{Address, Failure, Method, Response, Sending, base64};
use sha2::Digest as _;
use std::io::Read;

/// Bytes of a part, which is held in memory.
const PART: u64 = 8 << 20;
const VERSION: (&str, &str) = ("tus-resumable", "1.0.0");

/// What a server offers.
pub(super) struct Offer {
    /// It checks the SHA-256 of each part.
    checks: bool,
}

/// Asks whether a server speaks tus; one that does not answer at all is the failure of what follows.
pub(super) fn offer(uploader: &Uploader<'_>, address: &Address) -> Result<Option<Offer>, Failure> {
    // A signed address is good for the one request that it was signed for.
    if address.has_query() {
        return Ok(None);
    }
    let response = uploader.persist(|| {
        let response = request(uploader, Method::OPTIONS, address, &[], None)?;
        // Who is busy has not said what it speaks.
        if matches!(response.status, 408 | 425 | 429 | 502..=504) {
            Err(response.refusal())
        } else {
            Ok(response)
        }
    })?;
    let lists = |name: &str, wanted: &str| {
        response.header(name).is_some_and(|list| list.split(',').any(|item| item.trim() == wanted))
    };
    let speaks = (200..300).contains(&response.status) && lists("tus-version", VERSION.1);
    let checks = lists("tus-extension", "checksum") && lists("tus-checksum-algorithm", "sha256");
    Ok((speaks && lists("tus-extension", "creation")).then_some(Offer { checks }))
}

/// Sends an object until the server has shown that it has it.
pub(super) fn send(
    uploader: &Uploader<'_>,
    address: &Address,
    offer: &Offer,
    payload: &Payload,
) -> Result<Confirmation, Failure> {
    let place = uploader.persist(|| create(uploader, address, payload))?;
    let (mut offset, mut tried) = (0, 0);
    let mut content = None;
    while offset < payload.length {
        let failure = match part(uploader, &place, offer, payload, offset, &mut content) {
            Ok(next) => {
                (offset, tried) = (next, 0);
                continue;
            }
            Err(failure) => failure,
        };
        tried += 1;
        content = None;
        uploader.pause(failure, tried)?;
        // If it cannot be asked, the next part tells.
        if let Ok(now) = position(uploader, &place).map(|now| now.min(payload.length)) {
            tried = if now > offset { 0 } else { tried };
            offset = now;
        }
    }
    if uploader.persist(|| position(uploader, &place))? != payload.length {
        return Err(other(&place.shown(), "the server has lost what it took"));
    }
    // That it has checked the parts is its word again.
    proof::read_back(uploader, &place, payload)
}

fn create(uploader: &Uploader<'_>, address: &Address, payload: &Payload) -> Result<Address, Failure> {
    let headers = [
        ("upload-length", payload.length.to_string()),
        // The names that servers know; some take nothing without both.
        (
            "upload-metadata",
            format!("filename {},filetype {}", base64(payload.name.as_bytes()), base64(b"application/x-tar")),
        ),
    ];
    let response = request(uploader, Method::POST, address, &headers, Some(&[]))?;
    if response.status != 201 {
        return Err(response.refusal());
    }
    let place = response.header("location").and_then(|location| address.same_origin(location));
    place.ok_or_else(|| other(&address.shown(), "the server names no place of its own for the upload"))
}

/// Sends the part at `offset`; returns where the server is then. `content` is the payload from there on, if it is open.
fn part(
    uploader: &Uploader<'_>,
    place: &Address,
    offer: &Offer,
    payload: &Payload,
    offset: u64,
    content: &mut Option<Whole>,
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
    if offer.checks {
        headers.push(("upload-checksum", format!("sha256 {}", base64(&sha2::Sha256::digest(&bytes)))));
    }
    let response = request(uploader, Method::PATCH, place, &headers, Some(&bytes))?;
    match response.status {
        200..300 => number(&response, "upload-offset")
            .filter(|next| *next == offset + bytes.len() as u64)
            .ok_or_else(|| other(&place.shown(), "the server is not where it should be after a part")),
        _ => Err(response.refusal()),
    }
}

/// Where the server is.
fn position(uploader: &Uploader<'_>, place: &Address) -> Result<u64, Failure> {
    let response = request(uploader, Method::HEAD, place, &[], None)?;
    match response.status {
        200..300 => number(&response, "upload-offset")
            .ok_or_else(|| other(&place.shown(), "the server does not say how much it has")),
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
