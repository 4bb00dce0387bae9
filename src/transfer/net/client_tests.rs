//! HTTP client with servers that send faulty responses.

use crate::transfer::net::client::*;
use crate::transfer::net::server::{Answer, Asked, Manner, Server, client, times};
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

const LIMIT: u64 = 1 << 20;

/// Starts a server that sends these responses in turn and repeats the last one.
fn in_turn(answers: Vec<Answer>) -> Server {
    let count = AtomicUsize::new(0);
    Server::start(move |_| {
        let at = count.fetch_add(1, Ordering::Relaxed).min(answers.len() - 1);
        answers[at].clone()
    })
}

fn fetch(server: &Server) -> Result<Vec<u8>, Failure> {
    client().get_bytes(&Request::new(&server.url("/x?secret=1"), LIMIT))
}

#[test]
fn client_get_sends_headers_and_returns_range() {
    let server = Server::start(|_| Answer::new(200, "content").with("X-Kind", "a"));
    let client = client();
    let (url, range) = (server.url("/d?q=1"), 0..7);
    let request = Request {
        accept: &["a/b", "c/d"],
        authorization: Some("Bearer t"),
        range: Some(&range),
        ..Request::new(&url, LIMIT)
    };
    let mut response = client.get(&request).unwrap();
    assert_eq!((response.status, response.header("x-kind")), (200, Some("a")));
    let mut content = String::new();
    response.body.read_to_string(&mut content).unwrap();
    assert_eq!(content, "content");
    assert_eq!(client.head(&Request::new(&url, 1)).unwrap().status, 200);
    let asked = &server.asked()[0];
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("GET", "/d?q=1"));
    for (name, value) in [
        ("accept", "a/b, c/d"),
        ("authorization", "Bearer t"),
        ("range", "bytes=0-6"),
        ("user-agent", USER_AGENT),
        ("accept-encoding", "identity"),
    ] {
        assert_eq!(asked.header(name), Some(value));
    }
    let figures = client.figures();
    assert_eq!((figures.requests, figures.received), (2, 7));
    assert_eq!(figures.hosts, [server.address.to_string()]);
}

#[test]
fn client_get_temporary_failure_retries() {
    let good = || Answer::new(200, "good");
    let busy = |status| Answer::new(status, "");
    let late = || Answer::new(429, "").with("Retry-After", "0");
    let cut = || Answer::new(200, "good").in_manner(Manner::CutAt(2));
    for (answers, requests) in [
        (vec![busy(500), good()], 2),
        (vec![late(), busy(503), good()], 3),
        (vec![cut(), cut(), good()], 3),
        (vec![good()], 1),
    ] {
        let server = in_turn(answers);
        assert_eq!(fetch(&server).unwrap(), b"good");
        assert_eq!(server.asked().len(), requests);
    }
}

#[test]
fn client_get_permanent_failure_returns_error() {
    for (answer, requests, expected) in [
        (Answer::new(404, "no"), 1, "404 (not found)"),
        (Answer::new(401, "").with("WWW-Authenticate", "Basic"), 1, "credentials"),
        (Answer::new(503, "").with("Retry-After", "0"), 3, "503"),
        (Answer::new(502, ""), 3, "502"),
        (Answer::new(200, "long").in_manner(Manner::CutAt(1)), 3, "interrupted"),
        (Answer::new(206, "part").with("Content-Range", "bytes 0-3/9"), 1, "byte range"),
        (Answer::new(301, "").with("Location", "ftp://example.org/"), 1, "not an http"),
    ] {
        let server = in_turn(vec![answer]);
        let error = fetch(&server).unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains("secret"), "{error}");
        assert_eq!(server.asked().len(), requests, "{error}");
    }
}

#[test]
fn client_get_slow_server_times_out() {
    let drip =
        |pause| Answer::new(200, vec![b'x'; 5000]).in_manner(Manner::Drip(Duration::from_millis(pause)));
    for answer in
        [drip(20), drip(2000), Answer::new(200, "late").in_manner(Manner::Late(Duration::from_secs(3)))]
    {
        let server = in_turn(vec![answer]);
        let began = Instant::now();
        let error = fetch(&server).unwrap_err();
        assert!(matches!(error, Failure::TimedOut { .. }), "{error:?}");
        assert!(began.elapsed() < Duration::from_secs(2));
    }
}

#[test]
fn client_get_retry_after_beyond_budget_returns_error() {
    let server = in_turn(vec![Answer::new(429, "").with("Retry-After", "3600")]);
    let began = Instant::now();
    assert!(matches!(fetch(&server).unwrap_err(), Failure::Status { status: 429, .. }));
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[test]
fn client_get_body_over_limit_returns_error() {
    for answer in [Answer::new(200, vec![0; 2 << 20]), Answer::new(200, "").in_manner(Manner::Endless)] {
        let server = in_turn(vec![answer]);
        assert!(matches!(fetch(&server).unwrap_err(), Failure::TooLarge { limit: LIMIT, .. }));
    }
    let server = in_turn(vec![Answer::new(200, "").with("X", "y".repeat(100_000))]);
    assert!(matches!(fetch(&server).unwrap_err(), Failure::Protocol { .. }));
}

#[test]
fn client_get_redirect_to_other_origin_drops_credentials() {
    let other = Server::start(|_| Answer::new(200, "content"));
    let target = other.url("/elsewhere");
    let server = Server::start(move |asked: &Asked| match asked.path.as_str() {
        "/start" => Answer::new(307, "").with("Location", "/near"),
        _ => Answer::new(302, "").with("Location", target.clone()),
    });
    let url = server.url("/start").replace("http://", "http://me:secret@");
    assert_eq!(client().get_bytes(&Request::new(&url, LIMIT)).unwrap(), b"content");
    let shown = |asked: Vec<Asked>| {
        asked.iter().map(|asked| asked.header("authorization").map(str::to_owned)).collect::<Vec<_>>()
    };
    let basic = Some("Basic bWU6c2VjcmV0".to_owned());
    assert_eq!(shown(server.asked()), [basic.clone(), basic]);
    assert_eq!(shown(other.asked()), [None]);
}

#[test]
fn client_get_endless_redirects_return_error() {
    let server = Server::start(|asked| Answer::new(302, "").with("Location", format!("{}x", asked.path)));
    let error = fetch(&server).unwrap_err();
    assert!(error.to_string().contains("too many redirects"), "{error}");
    assert_eq!(server.asked().len(), MAX_REDIRECTS + 1);
}

#[test]
fn redirect_https_to_http_returns_error() {
    for (from, location, good) in [
        ("https://a.example/x", "https://b.example/", true),
        ("https://a.example/x", "/y", true),
        ("http://a.example/x", "https://b.example/", true),
        ("http://a.example/x", "http://b.example/", true),
        ("https://a.example/x", "http://a.example/", false),
        ("https://a.example/x", "HTTP://a.example/", false),
    ] {
        let from = Url::parse(from).unwrap();
        assert_eq!(redirect(&from, 302, Some(location)).is_ok(), good, "{location}");
        assert_eq!(redirect(&from, 200, Some(location)), Ok(None));
        assert_eq!(redirect(&from, 302, None), Ok(None));
    }
}

#[test]
fn client_get_unresponsive_host_is_tried_once() {
    // The server is dropped here, so nothing listens on the port.
    let address = Server::start(|_| Answer::new(200, "")).address;
    std::thread::sleep(Duration::from_millis(50));
    let client = client();
    let url = format!("http://{address}/");
    for _ in 0..3 {
        let error = client.get_bytes(&Request::new(&url, LIMIT)).unwrap_err();
        assert!(matches!(error, Failure::Offline { .. }), "{error:?}");
    }
    assert_eq!(client.figures().requests, 1);
}

#[test]
fn client_get_budget_used_up_returns_error() {
    let settings = Settings { budget: Duration::from_millis(300), times: times(), ..Settings::default() };
    let client = Client::new(settings).unwrap();
    let server =
        Server::start(|_| Answer::new(200, vec![0; 5000]).in_manner(Manner::Drip(Duration::from_millis(2))));
    let url = server.url("/");
    assert!(client.get_bytes(&Request::new(&url, LIMIT)).is_err());
    assert_eq!(client.get_bytes(&Request::new(&url, LIMIT)).unwrap_err(), Failure::Budget);
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn client_get_plain_server_returns_no_tls() {
    let server = Server::start(|_| Answer::new(200, ""));
    let url = server.url("/").replace("http:", "https:");
    let error = client().get_bytes(&Request::new(&url, LIMIT)).unwrap_err();
    assert!(matches!(error, Failure::NoTls { .. }), "{error:?}");
}

#[test]
fn retry_after_seconds_or_date_returns_duration() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777 - 90);
    for (value, seconds) in [
        ("120", Some(120)),
        ("Sun, 06 Nov 1994 08:49:37 GMT", Some(90)),
        ("Sun, 06 Nov 1994 08:40:37 GMT", Some(0)),
        ("soon", None),
        ("Sun, 99 Nov 1994 08:49:37 GMT", None),
        ("-1", None),
    ] {
        assert_eq!(retry_after(value, now), seconds.map(Duration::from_secs), "{value}");
    }
    for (date, seconds) in [
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Tue, 29 Feb 2000 23:59:59 GMT", 951_868_799),
        ("Wed, 01 Mar 2000 00:00:00 GMT", 951_868_800),
    ] {
        assert_eq!(http_date(date), Some(seconds));
    }
}
