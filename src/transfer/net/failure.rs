//! Why something did not come over the network, in one line for people.

use rustls::{CertificateError, Error as TlsError};
use std::time::Duration;
use std::{fmt, io};
use ureq::Timeout;

/// Why a request failed. Addresses are shown without user names, passwords and query strings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The host has no address, or nothing answers there; found now or earlier in this run.
    Offline {
        /// Name and port.
        host: String,
        /// What the name service or the operating system says.
        cause: String,
    },
    /// The server answered, but not with what was asked for.
    Status {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The `WWW-Authenticate` headers: what the server wants to be shown first.
        challenges: Vec<String>,
        /// How long the server wants not to be asked.
        retry_after: Option<Duration>,
    },
    /// No secure connection.
    Tls {
        /// Name and port.
        host: String,
        /// What is wrong with the certificate or the server.
        cause: String,
        /// What to do about it; may be empty.
        advice: &'static str,
    },
    /// Nothing speaks TLS there.
    NoTls {
        /// Name and port.
        host: String,
    },
    /// The server stopped answering.
    TimedOut {
        /// What was asked for.
        url: String,
    },
    /// The connection broke before all had come.
    CutOff {
        /// What was asked for.
        url: String,
        /// How.
        cause: String,
    },
    /// More bytes than the caller takes.
    TooLarge {
        /// What was asked for.
        url: String,
        /// The bytes that the caller takes.
        limit: u64,
    },
    /// All time for the network in this run is used up.
    Budget,
    /// What is to be sent is not there as it was, or cannot be read.
    Source {
        /// How.
        cause: String,
    },
    /// The answer is not HTTP as it should be, or the address is none.
    Protocol {
        /// What was asked for.
        url: String,
        /// What is wrong.
        cause: String,
    },
}

impl Failure {
    /// The next step for people; empty where there is none.
    pub fn advice(&self) -> &'static str {
        match self {
            Failure::Tls { advice, .. } => advice,
            Failure::Offline { .. } => "is this machine connected, or does it need a proxy (https_proxy)?",
            Failure::Status { status: 401 | 403, .. } => "the server wants credentials, or other ones",
            Failure::Status { status: 407, .. } => "the proxy wants credentials",
            Failure::Status { status: 429, .. } => "the server limits requests: try again later",
            Failure::Status { status: 500.., .. } | Failure::TimedOut { .. } | Failure::CutOff { .. } => {
                "try again later"
            }
            Failure::Budget => "try again on a faster network",
            Failure::Source { .. } => "what has been sent of it does not count",
            Failure::Status { .. }
            | Failure::NoTls { .. }
            | Failure::TooLarge { .. }
            | Failure::Protocol { .. } => "",
        }
    }

    /// Whether the server is sure that there is no such thing.
    pub fn is_absent(&self) -> bool {
        matches!(self, Failure::Status { status: 404 | 410, .. })
    }

    /// Whether the same request may succeed in a moment.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Failure::CutOff { .. } => true,
            Failure::Status { status, .. } => *status == 429 || (500..600).contains(status),
            _ => false,
        }
    }

    /// Whether the same may succeed later; somebody who waits for a long time asks so.
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

    /// How long to wait before the next try, if the server does not say otherwise, and at most.
    pub fn pause(&self, usual: Duration, most: Duration) -> Duration {
        match self {
            Failure::Status { retry_after: Some(asked), .. } => (*asked).min(most),
            _ => usual,
        }
    }

    /// The failure that an error of a [`super::Body`], or of what is sent, carries.
    pub fn from_io(error: &io::Error) -> Option<&Failure> {
        error.get_ref()?.downcast_ref()
    }

    /// What has happened, without advice.
    pub fn what(&self) -> String {
        match self {
            Failure::Offline { host, cause } => format!("{host} cannot be reached: {cause}"),
            Failure::Status { url, status, .. } => {
                format!("{url}: the server answers {status}{}", meaning(*status))
            }
            Failure::Tls { host, cause, .. } => format!("no secure connection to {host}: {cause}"),
            Failure::NoTls { host } => format!("{host} does not speak TLS"),
            Failure::TimedOut { url } => format!("{url}: the server stopped answering"),
            Failure::CutOff { url, cause } => format!("{url}: the connection broke: {cause}"),
            Failure::TooLarge { url, limit } => {
                format!("{url}: more than the {limit} bytes that were expected")
            }
            Failure::Budget => "the time for the network is used up".to_owned(),
            Failure::Source { cause } => format!("what is to be sent cannot be read: {cause}"),
            Failure::Protocol { url, cause } => format!("{url}: {cause}"),
        }
    }
}

/// The statuses that people meet (RFC 9110).
fn meaning(status: u16) -> &'static str {
    match status {
        401 => " (unauthorized)",
        403 => " (forbidden)",
        404 => " (not found)",
        407 => " (the proxy wants to know who asks)",
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

/// What the HTTP client says, sorted by what people can do about it. `host` is name and port, `url` the
/// address as it may be shown.
pub(super) fn of_client(error: ureq::Error, host: &str, url: &str) -> Failure {
    let offline = |cause: String| Failure::Offline { host: host.to_owned(), cause };
    let protocol = |cause: String| Failure::Protocol { url: url.to_owned(), cause };
    match error {
        ureq::Error::Io(error) => of_io(&error, host, url),
        ureq::Error::Rustls(error) => of_tls(&error, host),
        ureq::Error::Tls(cause) => {
            Failure::Tls { host: host.to_owned(), cause: cause.to_owned(), advice: "" }
        }
        ureq::Error::Timeout(Timeout::Resolve) => offline("no name server answers".to_owned()),
        ureq::Error::Timeout(Timeout::Connect) => offline("nothing answers there".to_owned()),
        ureq::Error::Timeout(_) => Failure::TimedOut { url: url.to_owned() },
        ureq::Error::HostNotFound => offline("there is no such name".to_owned()),
        ureq::Error::ConnectionFailed => offline("a SOCKS proxy is set, which is not used here".to_owned()),
        ureq::Error::ConnectProxyFailed(_) => offline("the proxy refuses the connection".to_owned()),
        ureq::Error::InvalidProxyUrl => offline("the proxy's address is none".to_owned()),
        ureq::Error::Other(error) => offline(error.to_string()),
        ureq::Error::LargeResponseHeader(..) => protocol("the answer's headers are too long".to_owned()),
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
            protocol("not an address that can be asked".to_owned())
        }
        _ => protocol("the answer is not HTTP/1.1".to_owned()),
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
                "the server closed it early"
            } else {
                "the server reset it"
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
    const CLOCK: &str = "is this machine's clock right?";
    const TRUST: &str = "name the certificate authority's file with --ca-file";
    let (cause, advice) = match error {
        TlsError::InvalidCertificate(certificate) => match certificate {
            UnknownIssuer => {
                ("its certificate is from an authority that is not known here".to_owned(), TRUST)
            }
            NotValidYetContext { time, not_before } => {
                let (begin, now) = (utc(not_before.as_secs()), utc(time.as_secs()));
                (
                    format!("its certificate is valid from {begin} on, and this machine says it is {now}"),
                    CLOCK,
                )
            }
            ExpiredContext { time, not_after } => {
                let (end, now) = (utc(not_after.as_secs()), utc(time.as_secs()));
                (format!("its certificate was valid until {end}, and this machine says it is {now}"), CLOCK)
            }
            NotValidYet => ("its certificate is not valid yet".to_owned(), CLOCK),
            Expired => ("its certificate has expired".to_owned(), CLOCK),
            NotValidForName | NotValidForNameContext { .. } => {
                ("its certificate is for another name".to_owned(), "")
            }
            other => (format!("its certificate is not accepted ({other:?})"), TRUST),
        },
        TlsError::InvalidMessage(_) => return Failure::NoTls { host: host.to_owned() },
        TlsError::PeerIncompatible(_) | TlsError::AlertReceived(_) => {
            (format!("it refuses TLS 1.2 and 1.3 as spoken here ({error})"), "")
        }
        other => (other.to_string(), ""),
    };
    Failure::Tls { host: host.to_owned(), cause: crate::model::escape::escape(cause.as_bytes()), advice }
}

/// A time as people write it, in UTC, to the minute.
fn utc(seconds: u64) -> String {
    let (days, minutes) = (seconds / 86_400, seconds % 86_400 / 60);
    // Years begin in March, so that the leap day is the last; 400 of them are an era of 146,097 days.
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
    fn every_failure_is_one_line_with_the_next_step() {
        let tls = |error| of_client(ureq::Error::Rustls(error), "example.org:443", "https://example.org/x");
        let io = |kind: io::ErrorKind| {
            of_client(ureq::Error::Io(kind.into()), "example.org:80", "http://example.org/x")
        };
        for (failure, expected) in [
            (
                tls(TlsError::InvalidCertificate(CertificateError::NotValidYet)),
                "is this machine's clock right?",
            ),
            (tls(TlsError::InvalidCertificate(CertificateError::UnknownIssuer)), "--ca-file"),
            (io(io::ErrorKind::ConnectionRefused), "example.org:80 cannot be reached"),
            (io(io::ErrorKind::ConnectionReset), "the server reset it"),
            (
                of_client(ureq::Error::Timeout(Timeout::Connect), "example.org:80", ""),
                "nothing answers there",
            ),
            (Failure::Budget, "used up"),
        ] {
            let line = failure.to_string();
            assert!(line.contains(expected) && !line.contains('\n'), "{line}");
        }
    }

    #[test]
    fn a_wrong_clock_is_told_with_both_times() {
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
    fn a_server_may_make_us_wait_for_half_a_minute() {
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
    fn a_body_error_still_says_what_it_was() {
        let failure = Failure::TooLarge { url: "https://example.org/x".to_owned(), limit: 5 };
        assert_eq!(Failure::from_io(&io::Error::from(failure.clone())), Some(&failure));
        assert_eq!(Failure::from_io(&io::ErrorKind::NotFound.into()), None);
    }
}
