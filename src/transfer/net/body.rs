//! What a server sends after the headers: never endless, never slower than useful, never silently short.

use super::failure::{self, Failure};
use super::traffic::{Busy, Slot, Traffic};
use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};
use ureq::BodyReader;

/// Bytes that have to come in the time in which a silent server is given up; a server that drips is no better.
const PACE: u64 = 1 << 10;

/// The body of a response. An error of it carries its [`Failure`] ([`Failure::from_io`]): `UnexpectedEof` if
/// fewer bytes come than the server announced, `TimedOut` if the server stops sending, `FileTooLarge` beyond
/// the request's limit.
pub struct Body {
    reader: BodyReader<'static>,
    url: String,
    host: String,
    limit: u64,
    received: u64,
    announced: Option<u64>,
    pace: MinRate,
    traffic: Arc<Traffic>,
    _slot: Slot,
    _busy: Busy,
}

/// What came in while the caller waited for it; the caller's own work does not count.
#[derive(Debug)]
struct MinRate {
    patience: Duration,
    waited: Duration,
    bytes: u64,
}

impl MinRate {
    /// Whether it is too slow.
    fn is_lost(&mut self, waited: Duration, bytes: u64) -> bool {
        self.waited += waited;
        self.bytes += bytes;
        if self.waited < self.patience {
            return false;
        }
        let is_lost = self.bytes < PACE;
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        is_lost
    }
}

/// Who sends a body, and how much of it is taken.
pub(super) struct BodyLimits {
    pub(super) url: String,
    pub(super) host: String,
    pub(super) limit: u64,
    pub(super) announced: Option<u64>,
    pub(super) patience: Duration,
}

impl Body {
    pub(super) fn new(
        reader: BodyReader<'static>,
        terms: BodyLimits,
        traffic: Arc<Traffic>,
        slot: Slot,
        busy: Busy,
    ) -> Self {
        let BodyLimits { url, host, limit, announced, patience } = terms;
        let pace = MinRate { patience, waited: Duration::ZERO, bytes: 0 };
        Body { reader, url, host, limit, received: 0, announced, pace, traffic, _slot: slot, _busy: busy }
    }

    /// Where it comes from, as it may be shown.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The length that the server states, if it does.
    pub(super) fn announced(&self) -> Option<u64> {
        self.announced
    }

    /// Everything up to the end.
    pub fn into_bytes(mut self) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes)
            .map_err(|error| Failure::from_io(&error).cloned().unwrap_or_else(|| self.failure(error)))?;
        Ok(bytes)
    }

    fn failure(&self, error: io::Error) -> Failure {
        failure::of_client(error.into(), &self.host, &self.url)
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        self.traffic.left()?;
        let began = Instant::now();
        let got = self.reader.read(buffer).map_err(|error| self.failure(error))?;
        self.received += got as u64;
        self.traffic.receive(got as u64);
        if self.received > self.limit {
            return Err(Failure::TooLarge { url: self.url.clone(), limit: self.limit });
        }
        if got == 0 && self.announced.is_some_and(|announced| self.received < announced) {
            let cause = "the server closed it early".to_owned();
            return Err(Failure::CutOff { url: self.url.clone(), cause });
        }
        if got > 0 && self.pace.is_lost(began.elapsed(), got as u64) {
            return Err(Failure::TimedOut { url: self.url.clone() });
        }
        Ok(got)
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.receive(buffer).map_err(io::Error::from)
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body")
            .field("url", &self.url)
            .field("received", &self.received)
            .finish_non_exhaustive()
    }
}
