//! Requests: sent, repeated, redirected, answered.

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
/// The longest time that a server may make us wait before the next try.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(30);
const MAX_HEADERS: usize = 64 << 10;
/// Bytes of an answer to something that was sent.
const MAX_ANSWER: u64 = 1 << 20;

/// How the network is used in this run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// More certificate authorities that are trusted: PEM.
    pub ca_file: Option<PathBuf>,
    /// Registries may be asked without TLS where they do not speak it.
    pub plain_http: bool,
    /// All time that the run may wait for the network.
    pub budget: Duration,
    /// How long each step may take.
    pub times: Timeouts,
    /// Who did not answer is asked again: for those who wait. Others would wait for each thing that they ask for.
    pub asks_again: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let budget = Duration::from_secs(30 * 60);
        Settings { ca_file: None, plain_http: false, budget, times: Timeouts::default(), asks_again: false }
    }
}

/// How long each step of a request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Connecting to one address.
    pub connect: Duration,
    /// From the request to the end of the headers.
    pub headers: Duration,
    /// From the headers of what is sent until it goes, if the server neither refuses it nor asks for it (RFC 9110, 10.1.1).
    pub refusal: Duration,
    /// While nothing comes.
    pub stall: Duration,
    /// A whole request, a large body included.
    pub request: Duration,
    /// Before the second and the third try.
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

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// An absolute `http` or `https` address; `user:password@` in it is sent as a header.
    pub url: &'a str,
    /// Media types for the `Accept` header; none for any.
    pub accept: &'a [&'a str],
    /// The `Authorization` header, sent to the address's own scheme, host and port only.
    pub authorization: Option<&'a str>,
    /// Only these bytes. A server that cannot do that sends all: see [`Response::status`].
    pub range: Option<&'a Range<u64>>,
    /// More bytes than these are a failure.
    pub limit: u64,
}

impl<'a> Request<'a> {
    /// Everything at this address, up to so many bytes.
    pub fn new(url: &'a str, limit: u64) -> Self {
        Request { url, accept: &[], authorization: None, range: None, limit }
    }
}

/// A request that brings something.
pub struct Sending<'a> {
    /// What is to be done with it.
    pub method: Method,
    /// An absolute `http` or `https` address.
    pub url: &'a str,
    /// The `Authorization` header.
    pub authorization: Option<&'a str>,
    /// More headers.
    pub headers: &'a [(&'static str, String)],
    /// What it brings, and its length in bytes.
    pub body: Option<(&'a mut dyn Read, u64)>,
}

/// An answer.
#[derive(Debug)]
pub struct Response {
    /// 200 to 299, 206 if only the range is coming; anything where something was sent.
    pub status: u16,
    /// Where it came from after redirects, as it may be shown.
    pub url: String,
    /// What comes; no compression is undone.
    pub body: Body,
    headers: HeaderMap,
}

impl Response {
    /// The answer as a failure, with what it says of another time.
    pub fn refusal(&self) -> Failure {
        let challenges = self.headers.get_all(header::WWW_AUTHENTICATE).iter();
        Failure::Status {
            url: self.url.clone(),
            status: self.status,
            challenges: challenges.filter_map(|value| value.to_str().ok()).map(str::to_owned).collect(),
            retry_after: self.header("retry-after").and_then(|value| retry_after(value, SystemTime::now())),
        }
    }

    /// The first header of this name, in text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Sends requests, from any number of threads.
pub struct Client {
    agent: Agent,
    traffic: Arc<Traffic>,
    settings: Settings,
}

impl Client {
    /// Reads the trusted authorities; an error only if `ca_file` cannot be used. Proxies are those of the
    /// environment (`https_proxy`, `http_proxy`, `all_proxy`, `no_proxy`); they have to allow CONNECT.
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

    /// How the network is used.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What has come so far.
    pub fn figures(&self) -> Stats {
        self.traffic.figures()
    }

    /// The headers, and a body that is read as it comes. Tried again if no headers come; a body that breaks
    /// is the caller's to ask for again.
    pub fn get(&self, request: &Request<'_>) -> Result<Response, Failure> {
        self.persist(|| self.follow(&Method::GET, request))
    }

    /// The headers alone.
    pub fn head(&self, request: &Request<'_>) -> Result<Response, Failure> {
        self.persist(|| self.follow(&Method::HEAD, request))
    }

    /// A small document as a whole, asked for again if the connection breaks.
    pub fn get_bytes(&self, request: &Request<'_>) -> Result<Vec<u8>, Failure> {
        self.persist(|| self.follow(&Method::GET, request)?.body.into_bytes())
    }

    /// Up to three tries of what may succeed the next time.
    fn persist<T>(&self, mut attempt: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
        let _busy = self.traffic.begin()?;
        for pause in self.settings.times.pauses {
            let failure = match attempt() {
                Err(failure) if failure.is_passing() => failure,
                result => return result,
            };
            let pause = failure.pause(pause, MAX_RETRY_AFTER);
            if self.traffic.left()? <= pause {
                return Err(failure);
            }
            std::thread::sleep(pause);
        }
        attempt()
    }

    fn follow(&self, method: &Method, request: &Request<'_>) -> Result<Response, Failure> {
        let mut url = Url::parse(request.url)?;
        let home = url.origin();
        let own = url.authorization.take();
        let authorization = request.authorization.map(str::to_owned).or(own);
        for _ in 0..=MAX_REDIRECTS {
            let origin = url.origin();
            let shown_to = authorization.as_deref().filter(|_| origin == home);
            let message = message(method, &url, request, shown_to);
            let response = self.exchange(&url, &origin, message, request.limit).inspect_err(|failure| {
                let is_silent = matches!(failure, Failure::Offline { .. } | Failure::TimedOut { .. });
                if is_silent && !self.settings.asks_again {
                    self.traffic.silence(&origin, failure);
                }
            })?;
            let Some(next) = redirect(&url, response.status, response.header("location"))? else {
                return accept(response, request);
            };
            url = next;
        }
        Err(protocol(&url, "redirected too often"))
    }

    /// Whether the environment names a proxy for this address.
    fn has_proxy(&self, url: &Url) -> bool {
        self.agent.config().proxy().is_some_and(|proxy| !proxy.is_no_proxy(&url.uri()))
    }

    /// Sends something, once. Whatever the server answers comes back, redirects and refusals too.
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
            return self.exchange(&url, &origin, message.body(SendBody::none()), MAX_ANSWER);
        };
        if length > 0 {
            // Who refuses or redirects does so before anything of it is on the way.
            message = message.header(header::EXPECT, "100-continue");
        }
        let message = message.header(header::CONTENT_LENGTH, length).body(SendBody::from_reader(body));
        self.exchange(&url, &origin, message, MAX_ANSWER)
    }

    /// One request and its headers.
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
                cause.push_str(", through the proxy that the environment names");
            }
            failure
        };
        let message = message.map_err(|error| failure::of_client(error.into(), &host, &shown))?;
        let is_head = message.method() == Method::HEAD;
        let (parts, body) = self.agent.run(message).map_err(fault)?.into_parts();
        let announced = body.content_length().filter(|_| !is_head);
        let patience = self.settings.times.stall;
        let terms = BodyLimits { url: shown.clone(), host, limit, announced, patience };
        Ok(Response {
            status: parts.status.as_u16(),
            url: shown,
            body: Body::new(body.into_reader(), terms, Arc::clone(&self.traffic), slot, busy),
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

/// Where the answer sends us, if it does; never from TLS to none.
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

/// Takes success only, and the range that was asked for.
fn accept(response: Response, request: &Request<'_>) -> Result<Response, Failure> {
    let protocol = |cause: &str| Failure::Protocol { url: response.url.clone(), cause: cause.to_owned() };
    if !(200..300).contains(&response.status) {
        return Err(response.refusal());
    }
    match (request.range, response.status) {
        (Some(range), 206) if begin(&response) != Some(range.start) => {
            return Err(protocol("the server sends another part than the one asked for"));
        }
        (None, 206) => return Err(protocol("the server sends only a part")),
        _ => {}
    }
    if response.body.announced().is_some_and(|length| length > request.limit) {
        return Err(Failure::TooLarge { url: response.url, limit: request.limit });
    }
    Ok(response)
}

/// The first byte's number: `Content-Range: bytes 0-99/1000` (RFC 9110, 14.4).
fn begin(response: &Response) -> Option<u64> {
    let range = response.header("content-range")?.trim().strip_prefix("bytes")?;
    range.trim_start().split_once('-')?.0.parse().ok()
}

fn protocol(url: &Url, cause: &str) -> Failure {
    Failure::Protocol { url: url.shown(), cause: cause.to_owned() }
}

/// Seconds, or a date (RFC 9110, 10.2.3 and 5.6.7).
fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(http_date(value)?);
    Some(then.duration_since(now).unwrap_or_default())
}

/// Seconds since 1970 of `Sun, 06 Nov 1994 08:49:37 GMT`, the one form that is sent today.
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
    // Years begin in March, so that the leap day is the last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day;
    Some((days.checked_sub(719_469)?) * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
