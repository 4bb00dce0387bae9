//! Sends an object in one PUT request (RFC 9110, section 9.3.4).

use super::Uploader;
use super::payload::Payload;
use super::proof::{self, Confirmation, other};
use crate::transfer::net::{Address, Failure, Method, Response, Sending};

/// Maximum number of redirects.
const MAX_REDIRECTS: usize = 5;

/// Sends an object and retries until the server has confirmed it.
pub(super) fn put(
    uploader: &Uploader<'_>,
    address: &Address,
    payload: &Payload,
) -> Result<Confirmation, Failure> {
    uploader.retry(|| attempt(uploader, address, payload))
}

fn attempt(uploader: &Uploader<'_>, address: &Address, payload: &Payload) -> Result<Confirmation, Failure> {
    let mut address = address.clone();
    for _ in 0..=MAX_REDIRECTS {
        let response = send(uploader, &address, payload)?;
        match response.status {
            200..300 => {
                return match proof::in_response(&response, payload)? {
                    Some(proof) => Ok(proof),
                    None => {
                        // Frees the connection for the download.
                        drop(response);
                        proof::read_back(uploader, &address, payload)
                    }
                };
            }
            // If-None-Match failed: an object exists. It can be from an earlier attempt whose
            // response was lost; then it is equal.
            412 => {
                drop(response);
                return proof::read_back(uploader, &address, payload).map_err(|cause| {
                    other(&address.shown(), &format!("another object exists at this URL ({cause})"))
                });
            }
            307 | 308 => {
                let next = response.header("location").and_then(|location| address.same_origin(location));
                let cause = "refusing a redirect to another server; if it is correct, use its URL";
                address = next.ok_or_else(|| other(&address.shown(), cause))?;
            }
            _ => return Err(response.refusal()),
        }
    }
    Err(other(&address.shown(), "too many redirects"))
}

fn send(uploader: &Uploader<'_>, address: &Address, payload: &Payload) -> Result<Response, Failure> {
    let mut content = payload.open_at(0)?;
    uploader.client.send(Sending {
        method: Method::PUT,
        url: &address.text(),
        authorization: uploader.authorization(),
        headers: &[
            ("content-type", "application/octet-stream".to_owned()),
            // Never overwrites an object (RFC 9110, section 13.1.2).
            ("if-none-match", "*".to_owned()),
        ],
        body: Some((&mut content, payload.length)),
    })
}
