//! Reasons why a request failed, as messages of one line.

use rustls::{CertificateError, Error as TlsError};
use std::time::Duration;
use std::{fmt, io};
use ureq::Timeout;

/// Reason why a request failed. URLs in it have no user names, passwords and query strings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The host name does not resolve or the host does not respond, now or earlier in this run.
    Offline {
        /// Host name and port.
        host: String,
        /// Message of the resolver or of the operating system.
        cause: String,
    },
    /// The server returned an HTTP status other than success.
    Status {
        /// URL of the request.
        url: String,
        /// HTTP status code.
        status: u16,
        /// `WWW-Authenticate` headers: the authentication schemes that the server requires.
        challenges: Vec<String>,
        /// Time to wait before the next request, from the `Retry-After` header.
        retry_after: Option<Duration>,
    },
    /// The TLS handshake or the verification of the certificate failed.
    Tls {
        /// Host name and port.
        host: String,
        /// Error of the certificate or the server.
        cause: String,
        /// Hint for the user; can be empty.
        advice: &'static str,
    },
    /// The server does not speak TLS on this port.
    NoTls {
        /// Host name and port.
        host: String,
    },
    /// The server stopped responding.
    TimedOut {
        /// URL of the request.
        url: String,
    },
    /// The connection closed before the response was complete.
    CutOff {
        /// URL of the request.
        url: String,
        /// How the connection ended.
        cause: String,
    },
    /// The response is larger than the limit of the request.
    TooLarge {
        /// URL of the request.
        url: String,
        /// Limit in bytes.
        limit: u64,
    },
    /// The time budget of this run for the network is exhausted.
    Budget,
    /// The data to send changed during the upload or cannot be read.
    Source {
        /// Change of the data, or error of the operating system.
        cause: String,
    },
    /// The response is not valid, or the URL is not.
    Protocol {
        /// URL of the request.
        url: String,
        /// Error in the response or the URL.
        cause: String,
    },
}

impl Failure {
    /// Returns a hint for the user, or an empty text.
    pub fn advice(&self) -> &'static str {
        match self {
            Failure::Tls { advice, .. } => advice,
            Failure::Offline { .. } => "check the network connection; set https_proxy if a proxy is required",
            Failure::Status { status: 401 | 403, .. } => "check the credentials for this server",
            Failure::Status { status: 407, .. } => "add the credentials for the proxy to https_proxy",
            Failure::Status { status: 429, .. } => "the server limits requests: try again later",
            Failure::Status { status: 500.., .. } | Failure::TimedOut { .. } | Failure::CutOff { .. } => {
                "try again later"
            }
            Failure::Budget => "try again on a faster network",
            Failure::Source { .. } => "create the context again; the incomplete upload is not valid",
            Failure::Status { .. }
            | Failure::NoTls { .. }
            | Failure::TooLarge { .. }
            | Failure::Protocol { .. } => "",
        }
    }

    /// Whether the server states that the resource does not exist (404 or 410).
    pub fn is_absent(&self) -> bool {
        matches!(self, Failure::Status { status: 404 | 410, .. })
    }

    /// Whether the same request can succeed after a few seconds.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Failure::CutOff { .. } => true,
            Failure::Status { status, .. } => *status == 429 || (500..600).contains(status),
            _ => false,
        }
    }

    /// Whether the same request can succeed later. Used by uploads, which retry for a long time.
    pub fn may_pass(&self) -> bool {
        match self {
            Failure::Status { status, .. } => {
                matches!(status, 408 | 409 | 423 | 425 | 429 | 460)
                    || (500..600).contains(status) && *status != 501 && *status != 507
            }
            Failure::Offline { .. } | Failure::TimedOut { .. } | Failure::CutOff { .. } => true,
            _ => false,
        }
    }

    /// Returns the time to wait before the next retry: `Retry-After` up to `longest`, or `usual`.
    pub fn pause(&self, usual: Duration, longest: Duration) -> Duration {
        match self {
            Failure::Status { retry_after: Some(requested), .. } => (*requested).min(longest),
            _ => usual,
        }
    }

    /// Returns the failure inside an I/O error of a [`super::Body`] or of an upload's content.
    pub fn from_io(error: &io::Error) -> Option<&Failure> {
        error.get_ref()?.downcast_ref()
    }

    /// Returns the message without the hint.
    pub fn what(&self) -> String {
        match self {
            Failure::Offline { host, cause } => format!("cannot connect to {host}: {cause}"),
            Failure::Status { url, status, .. } => {
                format!("{url}: the server returned {status}{}", meaning(*status))
            }
            Failure::Tls { host, cause, .. } => format!("cannot connect to {host} with TLS: {cause}"),
            Failure::NoTls { host } => format!("{host} does not speak TLS"),
            Failure::TimedOut { url } => format!("{url}: the server stopped responding"),
            Failure::CutOff { url, cause } => format!("{url}: connection interrupted: {cause}"),
            Failure::TooLarge { url, limit } => {
                format!("{url}: the response exceeds {limit} bytes")
            }
            Failure::Budget => "the time limit for network access is used up".to_owned(),
            Failure::Source { cause } => format!("cannot read the data to send: {cause}"),
            Failure::Protocol { url, cause } => format!("{url}: {cause}"),
        }
    }
}

/// Returns the meaning of common HTTP status codes (RFC 9110, section 15).
fn meaning(status: u16) -> &'static str {
    match status {
        401 => " (unauthorized)",
        403 => " (forbidden)",
        404 => " (not found)",
        407 => " (proxy authentication required)",
        410 => " (gone)",
        416 => " (no such range)",
        429 => " (too many requests)",
        500 => " (internal error)",
        502 => " (bad gateway)",
        503 => " (unavailable)",
        504 => " (gateway timeout)",
        _ => "",
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what())?;
        match self.advice() {
            "" => Ok(()),
            advice => write!(f, "; {advice}"),
        }
    }
}

impl std::error::Error for Failure {}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        let kind = match failure {
            Failure::CutOff { .. } => io::ErrorKind::UnexpectedEof,
            Failure::TimedOut { .. } | Failure::Budget => io::ErrorKind::TimedOut,
            Failure::TooLarge { .. } => io::ErrorKind::FileTooLarge,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, failure)
    }
}

impl From<Failure> for crate::error::Error {
    fn from(failure: Failure) -> Self {
        let error = crate::error::Error::new(crate::error::Code::Failed, failure.what());
        if failure.advice().is_empty() { error } else { error.hint(failure.advice()) }
    }
}

/// Converts an error of the HTTP client, by what the user can do about it.
///
/// `host` is name and port; `url` is the URL for messages.
pub(super) fn of_client(error: ureq::Error, host: &str, url: &str) -> Failure {
    let offline = |cause: String| Failure::Offline { host: host.to_owned(), cause };
    let protocol = |cause: String| Failure::Protocol { url: url.to_owned(), cause };
    match error {
        ureq::Error::Io(error) => of_io(&error, host, url),
        ureq::Error::Rustls(error) => of_tls(&error, host),
        ureq::Error::Tls(cause) => {
            Failure::Tls { host: host.to_owned(), cause: cause.to_owned(), advice: "" }
        }
        ureq::Error::Timeout(Timeout::Resolve) => offline("no DNS server responds".to_owned()),
        ureq::Error::Timeout(Timeout::Connect) => offline("connection timed out".to_owned()),
        ureq::Error::Timeout(_) => Failure::TimedOut { url: url.to_owned() },
        ureq::Error::HostNotFound => offline("host name not found".to_owned()),
        ureq::Error::ConnectionFailed => offline("SOCKS proxies are not supported".to_owned()),
        ureq::Error::ConnectProxyFailed(_) => offline("the proxy refuses the connection".to_owned()),
        ureq::Error::InvalidProxyUrl => offline("the proxy URL is not valid".to_owned()),
        ureq::Error::Other(error) => offline(error.to_string()),
        ureq::Error::LargeResponseHeader(..) => protocol("the response headers are too long".to_owned()),
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => protocol("the URL is not valid".to_owned()),
        _ => protocol("the response is not HTTP/1.1".to_owned()),
    }
}

fn of_io(error: &io::Error, host: &str, url: &str) -> Failure {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof};
    if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()) {
        return of_tls(error, host);
    }
    if let Some(failure) = Failure::from_io(error) {
        return failure.clone();
    }
    match error.kind() {
        ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof => {
            let cause = if error.kind() == UnexpectedEof {
                "closed early by the server"
            } else {
                "reset by the server"
            };
            Failure::CutOff { url: url.to_owned(), cause: cause.to_owned() }
        }
        TimedOut => Failure::TimedOut { url: url.to_owned() },
        _ => Failure::Offline { host: host.to_owned(), cause: error.to_string() },
    }
}

fn of_tls(error: &TlsError, host: &str) -> Failure {
    use CertificateError::{
        Expired, ExpiredContext, NotValidForName, NotValidForNameContext, NotValidYet, NotValidYetContext,
        UnknownIssuer,
    };
    const CLOCK: &str = "check this machine's clock";
    const TRUST: &str = "pass the CA certificate with --ca-file";
    let (cause, advice) = match error {
        TlsError::InvalidCertificate(certificate) => match certificate {
            UnknownIssuer => ("the issuer of the certificate is not trusted".to_owned(), TRUST),
            NotValidYetContext { time, not_before } => {
                let (begin, now) = (utc(not_before.as_secs()), utc(time.as_secs()));
                (format!("the certificate is valid from {begin}; this machine's clock says {now}"), CLOCK)
            }
            ExpiredContext { time, not_after } => {
                let (end, now) = (utc(not_after.as_secs()), utc(time.as_secs()));
                (format!("the certificate expired at {end}; this machine's clock says {now}"), CLOCK)
            }
            NotValidYet => ("the certificate is not valid yet".to_owned(), CLOCK),
            Expired => ("the certificate has expired".to_owned(), CLOCK),
            NotValidForName | NotValidForNameContext { .. } => {
                ("the certificate is for another host name".to_owned(), "")
            }
            other => (format!("the certificate is not accepted ({other})"), TRUST),
        },
        TlsError::InvalidMessage(_) => return Failure::NoTls { host: host.to_owned() },
        TlsError::PeerIncompatible(_) | TlsError::AlertReceived(_) => {
            (format!("the server supports neither TLS 1.2 nor 1.3 as offered ({error})"), "")
        }
        other => (other.to_string(), ""),
    };
    Failure::Tls { host: host.to_owned(), cause: crate::model::escape::escape(cause.as_bytes()), advice }
}

/// Formats seconds since 1970 as `YYYY-MM-DD HH:MM UTC`.
fn utc(seconds: u64) -> String {
    let (days, minutes) = (seconds / 86_400, seconds % 86_400 / 60);
    // Years start in March, so that the leap day is the last day of a year. 400 years have
    // 146,097 days.
    let day = days + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (year, month) =
        (era * 400 + year + u64::from(month > 9), if month > 9 { month - 9 } else { month + 3 });
    format!("{year}-{month:02}-{date:02} {:02}:{:02} UTC", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_display_is_one_line_with_hint() {
        let tls = |error| of_client(ureq::Error::Rustls(error), "example.org:443", "https://example.org/x");
        let io = |kind: io::ErrorKind| {
            of_client(ureq::Error::Io(kind.into()), "example.org:80", "http://example.org/x")
        };
        for (failure, expected) in [
            (tls(TlsError::InvalidCertificate(CertificateError::NotValidYet)), "check this machine's clock"),
            (tls(TlsError::InvalidCertificate(CertificateError::UnknownIssuer)), "--ca-file"),
            (io(io::ErrorKind::ConnectionRefused), "cannot connect to example.org:80"),
            (io(io::ErrorKind::ConnectionReset), "reset by the server"),
            (of_client(ureq::Error::Timeout(Timeout::Connect), "example.org:80", ""), "connection timed out"),
            (Failure::Budget, "used up"),
        ] {
            let line = failure.to_string();
            assert!(line.contains(expected) && !line.contains('\n'), "{line}");
        }
    }

    #[test]
    fn utc_any_second_formats_date_and_time() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (1_709_251_199, "2024-02-29 23:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00 UTC"),
            (1_798_761_599, "2026-12-31 23:59 UTC"),
        ] {
            assert_eq!(utc(seconds), text);
        }
    }

    #[test]
    fn failure_pause_retry_after_is_capped() {
        let status = |retry_after: Option<u64>| Failure::Status {
            url: String::new(),
            status: 429,
            challenges: Vec::new(),
            retry_after: retry_after.map(Duration::from_secs),
        };
        for (asked, seconds) in [(None, 4), (Some(0), 0), (Some(7), 7), (Some(3600), 30)] {
            let pause = status(asked).pause(Duration::from_secs(4), Duration::from_secs(30));
            assert_eq!(pause.as_secs(), seconds);
        }
    }

    #[test]
    fn failure_from_io_returns_original_failure() {
        let failure = Failure::TooLarge { url: "https://example.org/x".to_owned(), limit: 5 };
        assert_eq!(Failure::from_io(&io::Error::from(failure.clone())), Some(&failure));
        assert_eq!(Failure::from_io(&io::ErrorKind::NotFound.into()), None);
    }
}
