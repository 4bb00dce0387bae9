//! HTTP client: sends requests, retries them and follows redirects.

use super::body::{Body, BodyLimits};
use super::connector::EachAddress;
use super::early_response::AnswersFirst;
use super::failure::{self, Failure};
use super::resolver::SystemResolver;
use super::traffic::{Stats, Traffic};
use super::trust;
use super::url::{Origin, Url};
use crate::error::Result as RunResult;
use std::io::Read;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use ureq::config::Config;
use ureq::http::{self, HeaderMap, Method, header};
use ureq::unversioned::transport::{ConnectProxyConnector, Connector, RustlsConnector};
use ureq::{Agent, SendBody};

const USER_AGENT: &str = concat!("vm2docker-self/", env!("CARGO_PKG_VERSION"));
const MAX_REDIRECTS: usize = 5;
/// Maximum wait before a retry, also if `Retry-After` asks for more.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(30);
const MAX_HEADERS: usize = 64 << 10;
/// Maximum size of the response to an upload request, in bytes.
const MAX_UPLOAD_RESPONSE: u64 = 1 << 20;

/// Settings of the network access of a run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// PEM file with additional CA certificates.
    pub ca_file: Option<PathBuf>,
    /// Whether plain HTTP is allowed for registries that do not speak TLS.
    pub plain_http: bool,
    /// Total time that the run may wait for the network.
    pub budget: Duration,
    /// Timeouts of the steps of a request.
    pub times: Timeouts,
    /// Whether to send further requests to a host that did not respond. Uploads need this because
    /// they retry. Other callers would wait for the timeout once per resource.
    pub asks_again: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let budget = Duration::from_secs(30 * 60);
        Settings { ca_file: None, plain_http: false, budget, times: Timeouts::default(), asks_again: false }
    }
}

/// Timeouts of the steps of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Time to connect to one IP address.
    pub connect: Duration,
    /// Time from the request to the end of the response headers.
    pub headers: Duration,
    /// Time to wait for `100 Continue` before the body is sent anyway (RFC 9110, section 10.1.1).
    pub refusal: Duration,
    /// Time without any data.
    pub stall: Duration,
    /// Time for a complete request with its body.
    pub request: Duration,
    /// Pauses before the first and the second retry.
    pub pauses: [Duration; 2],
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Timeouts {
            connect: seconds(5),
            headers: seconds(20),
            refusal: seconds(5),
            stall: seconds(20),
            request: seconds(15 * 60),
            pauses: [seconds(1), seconds(4)],
        }
    }
}

/// GET or HEAD request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Absolute `http` or `https` URL; `user:password@` in it is sent as a header.
    pub url: &'a str,
    /// Media types for the `Accept` header; empty to accept any.
    pub accept: &'a [&'a str],
    /// `Authorization` header. It is sent to the scheme, host and port of `url` only.
    pub authorization: Option<&'a str>,
    /// Range of bytes to request. A server without support for ranges sends all bytes: see
    /// [`Response::status`].
    pub range: Option<&'a Range<u64>>,
    /// Maximum size of the body in bytes; a larger body is a failure.
    pub limit: u64,
}

impl<'a> Request<'a> {
    /// Returns a request for the whole resource at `url`, of at most `limit` bytes.
    pub fn new(url: &'a str, limit: u64) -> Self {
        Request { url, accept: &[], authorization: None, range: None, limit }
    }
}

/// Request of an upload, with or without a body.
pub struct Sending<'a> {
    /// HTTP method.
    pub method: Method,
    /// Absolute `http` or `https` URL.
    pub url: &'a str,
    /// `Authorization` header.
    pub authorization: Option<&'a str>,
    /// Additional headers.
    pub headers: &'a [(&'static str, String)],
    /// Body, and its length in bytes.
    pub body: Option<(&'a mut dyn Read, u64)>,
}

/// Response whose body has not been read yet.
#[derive(Debug)]
pub struct Response {
    /// HTTP status: 200 to 299 for [`Client::get`] and [`Client::head`], and 206 if only the
    /// requested range follows. Any status for [`Client::send`].
    pub status: u16,
    /// URL after redirects, for messages.
    pub url: String,
    /// Body as sent by the server, without decompression.
    pub body: Body,
    headers: HeaderMap,
}

impl Response {
    /// Returns the response as a failure, with its challenges and `Retry-After`.
    pub fn refusal(&self) -> Failure {
        let challenges = self.headers.get_all(header::WWW_AUTHENTICATE).iter();
        Failure::Status {
            url: self.url.clone(),
            status: self.status,
            challenges: challenges.filter_map(|value| value.to_str().ok()).map(str::to_owned).collect(),
            retry_after: self.header("retry-after").and_then(|value| retry_after(value, SystemTime::now())),
        }
    }

    /// Returns the first header with this name. `None` if it is not visible ASCII.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// HTTP client, usable from any number of threads.
pub struct Client {
    agent: Agent,
    traffic: Arc<Traffic>,
    settings: Settings,
}

impl Client {
    /// Creates a client and reads the CA certificates.
    ///
    /// Fails only if `ca_file` cannot be used. Uses the proxies of the environment
    /// (`https_proxy`, `http_proxy`, `all_proxy`, `no_proxy`). They must allow CONNECT.
    pub fn new(settings: Settings) -> RunResult<Self> {
        let times = settings.times;
        let within = |time: Duration| Some(time.min(settings.budget).max(Duration::from_millis(1)));
        let config = Config::builder()
            .tls_config(trust::tls(settings.ca_file.as_deref())?)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(USER_AGENT)
            .accept_encoding("identity")
            .max_response_header_size(MAX_HEADERS)
            .timeout_global(within(times.request))
            .timeout_resolve(within(times.connect * 2))
            .timeout_connect(within(times.connect * 4))
            .timeout_send_request(within(times.headers))
            .timeout_await_100(within(times.refusal))
            .timeout_recv_response(within(times.headers))
            .timeout_per_read(within(times.stall))
            .timeout_per_write(within(times.stall))
            .build();
        let connector =
            ().chain(ConnectProxyConnector::default())
                .chain(EachAddress::new(times.connect))
                .chain(RustlsConnector::default())
                .chain(AnswersFirst);
        let agent =
            Agent::with_parts(config, connector, SystemResolver::of_this_system(!settings.asks_again));
        Ok(Client { agent, traffic: Traffic::new(settings.budget), settings })
    }

    /// Returns the settings of this client.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns the statistics of all requests so far.
    pub fn figures(&self) -> Stats {
        self.traffic.stats()
    }

    /// Sends a GET request and returns headers and an unread body.
    ///
    /// Retries if no headers arrive. If the connection breaks in the body, the caller has to
    /// retry.
    pub fn get(&self, request: &Request<'_>) -> Result<Response, Failure> {
        self.retry(|| self.follow(&Method::GET, request))
    }

    /// Sends a HEAD request.
    pub fn head(&self, request: &Request<'_>) -> Result<Response, Failure> {
        self.retry(|| self.follow(&Method::HEAD, request))
    }

    /// Downloads a small document into memory. Retries if the connection breaks.
    pub fn get_bytes(&self, request: &Request<'_>) -> Result<Vec<u8>, Failure> {
        self.retry(|| self.follow(&Method::GET, request)?.body.into_bytes())
    }

    /// Calls `attempt` up to three times while it fails with a temporary failure.
    fn retry<T>(&self, mut attempt: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
        let _busy = self.traffic.begin()?;
        for pause in self.settings.times.pauses {
            let failure = match attempt() {
                Err(failure) if failure.is_passing() => failure,
                result => return result,
            };
            let pause = failure.pause(pause, MAX_RETRY_AFTER);
            if self.traffic.time_left()? <= pause {
                return Err(failure);
            }
            std::thread::sleep(pause);
        }
        attempt()
    }

    /// Sends a request and follows up to [`MAX_REDIRECTS`] redirects.
    fn follow(&self, method: &Method, request: &Request<'_>) -> Result<Response, Failure> {
        let mut url = Url::parse(request.url)?;
        let first_origin = url.origin();
        let from_url = url.authorization.take();
        let authorization = request.authorization.map(str::to_owned).or(from_url);
        for _ in 0..=MAX_REDIRECTS {
            let origin = url.origin();
            // A redirect must not pass credentials on to another server (RFC 9110, section 15.4).
            let sent = authorization.as_deref().filter(|_| origin == first_origin);
            let message = message(method, &url, request, sent);
            let response = self.exchange(&url, &origin, message, request.limit).inspect_err(|failure| {
                let is_unresponsive = matches!(failure, Failure::Offline { .. } | Failure::TimedOut { .. });
                if is_unresponsive && !self.settings.asks_again {
                    self.traffic.block(&origin, failure);
                }
            })?;
            let Some(next) = redirect(&url, response.status, response.header("location"))? else {
                return accept(response, request);
            };
            url = next;
        }
        Err(protocol(&url, "too many redirects"))
    }

    /// Whether the environment sets a proxy for this URL.
    fn has_proxy(&self, url: &Url) -> bool {
        self.agent.config().proxy().is_some_and(|proxy| !proxy.is_no_proxy(&url.uri()))
    }

    /// Sends an upload request once.
    ///
    /// Returns the response with any status; does not follow redirects and does not retry.
    pub fn send(&self, sending: Sending<'_>) -> Result<Response, Failure> {
        let url = Url::parse(sending.url)?;
        let mut message = http::Request::builder().method(&sending.method).uri(url.uri());
        for (name, value) in sending.headers {
            message = message.header(*name, value);
        }
        if let Some(authorization) = sending.authorization {
            message = message.header(header::AUTHORIZATION, authorization);
        }
        let origin = url.origin();
        let Some((body, length)) = sending.body else {
            return self.exchange(&url, &origin, message.body(SendBody::none()), MAX_UPLOAD_RESPONSE);
        };
        if length > 0 {
            // The server can refuse or redirect before the body is sent (RFC 9110, section
            // 10.1.1).
            message = message.header(header::EXPECT, "100-continue");
        }
        let message = message.header(header::CONTENT_LENGTH, length).body(SendBody::from_reader(body));
        self.exchange(&url, &origin, message, MAX_UPLOAD_RESPONSE)
    }

    /// Sends one request and reads the response headers.
    fn exchange(
        &self,
        url: &Url,
        origin: &Origin,
        message: Result<http::Request<SendBody<'_>>, http::Error>,
        limit: u64,
    ) -> Result<Response, Failure> {
        let busy = self.traffic.begin()?;
        let slot = self.traffic.connect(origin)?;
        let (host, shown) = (origin.text(), url.shown());
        let fault = |error| {
            let mut failure = failure::of_client(error, &host, &shown);
            if let (Failure::Offline { cause, .. }, true) = (&mut failure, self.has_proxy(url)) {
                cause.push_str(" (through the proxy set in the environment)");
            }
            failure
        };
        let message = message.map_err(|error| failure::of_client(error.into(), &host, &shown))?;
        let is_head = message.method() == Method::HEAD;
        let (parts, body) = self.agent.run(message).map_err(fault)?.into_parts();
        let announced = body.content_length().filter(|_| !is_head);
        let stall = self.settings.times.stall;
        let limits = BodyLimits { url: shown.clone(), host, limit, announced, stall };
        Ok(Response {
            status: parts.status.as_u16(),
            url: shown,
            body: Body::new(body.into_reader(), limits, Arc::clone(&self.traffic), slot, busy),
            headers: parts.headers,
        })
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("settings", &self.settings).finish_non_exhaustive()
    }
}

fn message(
    method: &Method,
    url: &Url,
    request: &Request<'_>,
    authorization: Option<&str>,
) -> Result<http::Request<SendBody<'static>>, http::Error> {
    let mut message = http::Request::builder().method(method).uri(url.uri());
    if !request.accept.is_empty() {
        message = message.header(header::ACCEPT, request.accept.join(", "));
    }
    if let Some(authorization) = authorization {
        message = message.header(header::AUTHORIZATION, authorization);
    }
    if let Some(Range { start, end }) = request.range {
        message = message.header(header::RANGE, format!("bytes={start}-{}", end.saturating_sub(1)));
    }
    message.body(SendBody::none())
}

/// Returns the target of a redirect, or `None` if the response is not one.
///
/// Fails if the redirect leads from https to http.
fn redirect(from: &Url, status: u16, location: Option<&str>) -> Result<Option<Url>, Failure> {
    let Some(location) = location.filter(|_| matches!(status, 301 | 302 | 303 | 307 | 308)) else {
        return Ok(None);
    };
    let next = from.join(location)?;
    if from.is_secure() && !next.is_secure() {
        return Err(protocol(from, "redirected from https to http"));
    }
    Ok(Some(next))
}

/// Fails if the status is not success, if another range was sent, or if the body is too large.
fn accept(response: Response, request: &Request<'_>) -> Result<Response, Failure> {
    let protocol = |cause: &str| Failure::Protocol { url: response.url.clone(), cause: cause.to_owned() };
    if !(200..300).contains(&response.status) {
        return Err(response.refusal());
    }
    match (request.range, response.status) {
        (Some(range), 206) if begin(&response) != Some(range.start) => {
            return Err(protocol("the server sent another byte range than requested"));
        }
        (None, 206) => return Err(protocol("the server sent a byte range that was not requested")),
        _ => {}
    }
    if response.body.announced().is_some_and(|length| length > request.limit) {
        return Err(Failure::TooLarge { url: response.url, limit: request.limit });
    }
    Ok(response)
}

/// Returns the first position of `Content-Range: bytes 0-99/1000` (RFC 9110, section 14.4).
fn begin(response: &Response) -> Option<u64> {
    let range = response.header("content-range")?.trim().strip_prefix("bytes")?;
    range.trim_start().split_once('-')?.0.parse().ok()
}

fn protocol(url: &Url, cause: &str) -> Failure {
    Failure::Protocol { url: url.shown(), cause: cause.to_owned() }
}

/// Parses a `Retry-After` header: seconds or a date (RFC 9110, sections 10.2.3 and 5.6.7).
fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(http_date(value)?);
    Some(then.duration_since(now).unwrap_or_default())
}

/// Parses `Sun, 06 Nov 1994 08:49:37 GMT` into seconds since 1970.
///
/// RFC 9110 also lists two obsolete formats. Servers must not generate them.
fn http_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let words: Vec<&str> = text.strip_suffix(" GMT")?.split(' ').collect();
    let &[_, day, month, year, time] = words.as_slice() else { return None };
    let number = |text: &str, limit: u64| text.parse::<u64>().ok().filter(|number| *number <= limit);
    let mut clock = time.splitn(3, ':').map(|part| number(part, 60));
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let (day, year) = (number(day, 31)?, number(year, 9999).filter(|year| *year >= 1970)?);
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    // Years start in March, so that the leap day is the last day of a year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day;
    Some((days.checked_sub(719_469)?) * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
