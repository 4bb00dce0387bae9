//! Reader of a blob: resumes once if the connection breaks, and verifies the digest at the end.

use super::session::{Method, RepositoryRequest, Session};
use crate::image::store::{digest_text, same_digest};
use crate::image::{Outcome, refused};
use crate::model::digest::Sha256;
use crate::transfer::net::{Body, Failure};
use sha2::Digest;
use std::io::{self, Read};

const BUFFER: usize = 128 << 10;

/// Compressed layer. Its content must not be used before [`Blob::verify`] returns.
pub(super) struct Blob<'a> {
    session: &'a Session<'a>,
    digest: Sha256,
    size: u64,
    body: Body,
    received: u64,
    hasher: sha2::Sha256,
    is_resumed: bool,
    failure: Option<Failure>,
}

impl<'a> Blob<'a> {
    pub(super) fn open(session: &'a Session<'a>, digest: Sha256, size: u64) -> Result<Self, Failure> {
        let body = request(session, &digest, size, 0)?;
        let hasher = sha2::Sha256::new();
        Ok(Blob { session, digest, size, body, received: 0, hasher, is_resumed: false, failure: None })
    }

    /// Reads the rest and verifies size and digest of the whole blob.
    pub(super) fn verify(mut self) -> Outcome<()> {
        let rest = io::copy(&mut self, &mut io::sink());
        if let Some(failure) = self.failure {
            return Err(failure.into());
        }
        rest?;
        let shown = digest_text(&self.digest);
        if self.received != self.size {
            let (received, size) = (self.received, self.size);
            return Err(refused(format!("layer {shown} has {received} bytes instead of {size} bytes")));
        }
        same_digest("layer", &self.digest, &self.hasher.finalize().into())
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        loop {
            let failure = match self.body.read(buffer) {
                Ok(0) if self.received < self.size => Failure::CutOff {
                    url: self.body.url().to_owned(),
                    cause: "closed early by the server".to_owned(),
                },
                Ok(got) => return Ok(got),
                Err(error) => {
                    Failure::from_io(&error).cloned().ok_or_else(|| unexpected(&self.body, &error))?
                }
            };
            let is_resumable = matches!(failure, Failure::CutOff { .. } | Failure::TimedOut { .. });
            if self.is_resumed || !is_resumable {
                return Err(failure);
            }
            self.is_resumed = true;
            self.body = request(self.session, &self.digest, self.size, self.received)?;
        }
    }
}

impl Read for Blob<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone().into());
        }
        if buffer.is_empty() {
            return Ok(0);
        }
        let got = self.receive(buffer).map_err(|failure| {
            self.failure = Some(failure.clone());
            io::Error::from(failure)
        })?;
        self.hasher.update(&buffer[..got]);
        self.received += got as u64;
        Ok(got)
    }
}

/// Requests the blob from byte `start` on.
fn request(session: &Session<'_>, digest: &Sha256, size: u64, start: u64) -> Result<Body, Failure> {
    let path = format!("blobs/{}", digest_text(digest));
    let range = start..size;
    let mut response = session.send(&RepositoryRequest {
        method: Method::Get,
        path: &path,
        accept: &[],
        range: (start > 0).then_some(&range),
        limit: size,
    })?;
    if start > 0 && response.status != 206 {
        skip(&mut response.body, start)?;
    }
    Ok(response.body)
}

/// Skips `count` bytes that were read already: a server without support for ranges sends the
/// whole blob again (RFC 9110, section 14.2).
fn skip(body: &mut Body, count: u64) -> Result<(), Failure> {
    let mut buffer = vec![0; BUFFER];
    let mut left = count;
    while left > 0 {
        let max = left.min(BUFFER as u64) as usize;
        match body.read(&mut buffer[..max]) {
            Ok(0) => return Ok(()), // too short: the next read returns the error
            Ok(got) => left -= got as u64,
            Err(error) => {
                return Err(Failure::from_io(&error).cloned().unwrap_or_else(|| unexpected(body, &error)));
            }
        }
    }
    Ok(())
}

fn unexpected(body: &Body, error: &io::Error) -> Failure {
    Failure::CutOff { url: body.url().to_owned(), cause: error.to_string() }
}
