//! Package indexes of repositories, scanned while they are received.

use crate::context::decompress;
use crate::context::stream::read_ahead;
use crate::transfer::net::Failure;
use std::io::{self, Read};

/// Scans a compressed index and reads `body` to its end, so that its reader has the digest of all
/// bytes.
///
/// The inner result is that of the scan. It counts only if the digest is right: a file that cannot
/// be decompressed can be another one than the listed. The outer error is one of the connection.
pub(super) fn scan_compressed<T>(
    body: &mut (impl Read + Send),
    scan: impl FnOnce(&mut dyn Read) -> io::Result<T>,
) -> io::Result<io::Result<T>> {
    let found = match decompress::decompress(&mut *body) {
        Ok((_, mut plain)) => read_ahead(&mut plain, scan),
        Err(cause) => Err(cause),
    };
    let read_on = io::copy(body, &mut io::sink());
    match found {
        Err(cause) if Failure::from_io(&cause).is_some() => Err(cause),
        found => read_on.map(|_| found),
    }
}

/// Repeats a transfer once if the connection was interrupted. Error texts of other causes begin
/// with `address`.
pub(super) fn transfer<T>(address: &str, once: impl Fn() -> io::Result<T>) -> Result<T, String> {
    let is_broken = |cause: &io::Error| matches!(Failure::from_io(cause), Some(Failure::CutOff { .. }));
    let result = once().or_else(|cause| if is_broken(&cause) { once() } else { Err(cause) });
    result.map_err(|cause| match Failure::from_io(&cause) {
        Some(failure) => failure.to_string(),
        None => format!("{address}: {cause}"),
    })
}
