//! Body of a response, with limits for its size and rate. A truncated body is an error.

use super::failure::{self, Failure};
use super::traffic::{Busy, Slot, Traffic};
use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};
use ureq::BodyReader;

/// Bytes that must arrive per stall timeout. Without a minimum, a server that sends single bytes
/// could hold the run for hours.
const MIN_BYTES: u64 = 1 << 10;

/// Body of a response.
///
/// Its I/O errors contain a [`Failure`] ([`Failure::from_io`]). Their kind is `UnexpectedEof` if
/// the body is shorter than announced, `TimedOut` if the server stops sending, and `FileTooLarge`
/// beyond the limit of the request.
pub struct Body {
    reader: BodyReader<'static>,
    url: String,
    host: String,
    limit: u64,
    received: u64,
    announced: Option<u64>,
    rate: MinRate,
    traffic: Arc<Traffic>,
    _slot: Slot,
    _busy: Busy,
}

/// Bytes received per interval. Only the time in `read` counts, not the time that the caller
/// takes to process the data.
#[derive(Debug)]
struct MinRate {
    interval: Duration,
    waited: Duration,
    bytes: u64,
}

impl MinRate {
    /// Adds received bytes. Returns whether the last interval is over and had too few.
    fn is_too_slow(&mut self, waited: Duration, bytes: u64) -> bool {
        self.waited += waited;
        self.bytes += bytes;
        if self.waited < self.interval {
            return false;
        }
        let is_too_slow = self.bytes < MIN_BYTES;
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        is_too_slow
    }
}

/// Origin of a body, its announced length, and its limits.
pub(super) struct BodyLimits {
    pub(super) url: String,
    pub(super) host: String,
    pub(super) limit: u64,
    pub(super) announced: Option<u64>,
    /// Time without data after which the server counts as unresponsive.
    pub(super) stall: Duration,
}

impl Body {
    pub(super) fn new(
        reader: BodyReader<'static>,
        limits: BodyLimits,
        traffic: Arc<Traffic>,
        slot: Slot,
        busy: Busy,
    ) -> Self {
        let BodyLimits { url, host, limit, announced, stall } = limits;
        let rate = MinRate { interval: stall, waited: Duration::ZERO, bytes: 0 };
        Body { reader, url, host, limit, received: 0, announced, rate, traffic, _slot: slot, _busy: busy }
    }

    /// Returns the URL for messages.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the `Content-Length` in bytes, if the server sent one.
    pub(super) fn announced(&self) -> Option<u64> {
        self.announced
    }

    /// Reads the body to the end.
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
        self.traffic.time_left()?;
        let began = Instant::now();
        let got = self.reader.read(buffer).map_err(|error| self.failure(error))?;
        self.received += got as u64;
        self.traffic.receive(got as u64);
        if self.received > self.limit {
            return Err(Failure::TooLarge { url: self.url.clone(), limit: self.limit });
        }
        if got == 0 && self.announced.is_some_and(|announced| self.received < announced) {
            let cause = "closed early by the server".to_owned();
            return Err(Failure::CutOff { url: self.url.clone(), cause });
        }
        if got > 0 && self.rate.is_too_slow(began.elapsed(), got as u64) {
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
