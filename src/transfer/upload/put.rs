//! An object by one request (RFC 9110, 9.3.4).

use super::Uploader;
use super::payload::Payload;
use super::proof::{self, Confirmation, other};
use crate::transfer::net::{Address, Failure, Method, Response, Sending};

/// Redirects that are followed.
const MAX_REDIRECTS: usize = 5;

/// Sends an object until the server has shown that it has it.
pub(super) fn put(
    uploader: &Uploader<'_>,
    address: &Address,
    payload: &Payload,
) -> Result<Confirmation, Failure> {
    uploader.persist(|| attempt(uploader, address, payload))
}

fn attempt(uploader: &Uploader<'_>, address: &Address, payload: &Payload) -> Result<Confirmation, Failure> {
    let mut address = address.clone();
    for _ in 0..=MAX_REDIRECTS {
        let response = send(uploader, &address, payload)?;
        match response.status {
            200..300 => {
                return match proof::in_answer(&response, payload)? {
                    Some(proof) => Ok(proof),
                    None => {
                        // The connection is free for the reading.
                        drop(response);
                        proof::read_back(uploader, &address, payload)
                    }
                };
            }
            // Something is there: of an earlier try perhaps, whose answer was lost.
            412 => {
                drop(response);
                let there = |cause: Failure| {
                    other(&address.shown(), &format!("an object is there already ({cause})"))
                };
                return proof::read_back(uploader, &address, payload).map_err(there);
            }
            307 | 308 => {
                let next = response.header("location").and_then(|location| address.same_origin(location));
                let away = "redirects to another server, which gets nothing; name that one if it is right";
                address = next.ok_or_else(|| other(&address.shown(), away))?;
            }
            _ => return Err(response.refusal()),
        }
    }
    Err(other(&address.shown(), "redirected too often"))
}

fn send(uploader: &Uploader<'_>, address: &Address, payload: &Payload) -> Result<Response, Failure> {
    let mut content = payload.open_at(0)?;
    uploader.client.send(Sending {
        method: Method::PUT,
        url: &address.text(),
        authorization: uploader.authorization(),
        headers: &[
            ("content-type", "application/octet-stream".to_owned()),
            // Nothing of anybody is overwritten.
            ("if-none-match", "*".to_owned()),
        ],
        body: Some((&mut content, payload.length)),
    })
}
