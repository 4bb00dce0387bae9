//! HTTP server for tests, with configurable responses and faults.

use super::{Client, Settings, Timeouts};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Returns short timeouts for a server on the loopback interface.
pub(crate) fn times() -> Timeouts {
    let millis = Duration::from_millis;
    Timeouts {
        connect: millis(500),
        headers: millis(400),
        stall: millis(300),
        request: millis(5000),
        pauses: [millis(10), millis(20)],
        ..Timeouts::default()
    }
}

/// Returns a client with short timeouts.
pub(crate) fn client() -> Client {
    let budget = Duration::from_secs(20);
    Client::new(Settings { times: times(), budget, ..Settings::default() }).unwrap()
}

/// Request that the server received.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    headers: Vec<(String, String)>,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// How the server sends the body.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Manner {
    Whole,
    /// Closes the connection after this number of bytes.
    CutAt(usize),
    /// Sends one byte at a time, with this pause before each.
    Drip(Duration),
    /// Sends bytes forever, without `Content-Length`.
    Endless,
    /// Sends the headers after this time.
    Late(Duration),
}

#[derive(Clone, Debug)]
pub(crate) struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    manner: Manner,
}

impl Answer {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Answer { status, headers: Vec::new(), body: body.into(), manner: Manner::Whole }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn in_manner(mut self, manner: Manner) -> Self {
        self.manner = manner;
        self
    }
}

/// HTTP server on a loopback port; it stops when dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    stop: Arc<AtomicBool>,
}

impl Server {
    pub(crate) fn start(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
        let server =
            Server { address: listener.local_addr().unwrap(), asked: Arc::default(), stop: Arc::default() };
        let (asked, stop, answer) = (Arc::clone(&server.asked), Arc::clone(&server.stop), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let (asked, answer) = (Arc::clone(&asked), Arc::clone(&answer));
                // Clients close connections early in some tests; that is not an error here.
                std::thread::spawn(move || stream.and_then(|stream| serve(stream, &asked, &*answer)));
            }
        });
        server
    }

    /// Returns `http://127.0.0.1:PORT` followed by the path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Returns all requests so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // The listener checks `stop` only after it accepted a connection.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

fn serve(
    mut stream: TcpStream,
    asked: &Mutex<Vec<Asked>>,
    answer: &dyn Fn(&Asked) -> Answer,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
        if head == b"\x16" {
            // Response of Go's net/http server to a TLS handshake on a plain HTTP port.
            return stream.write_all(
                b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTPS request to an HTTP server.\n",
            );
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut lines = head.lines();
    let mut words = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
    let request = Asked {
        method: words.next().unwrap_or_default(),
        path: words.next().unwrap_or_default(),
        headers: lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
    };
    asked.lock().unwrap().push(request.clone());
    send(&mut stream, &answer(&request), request.method == "HEAD")
}

fn send(stream: &mut TcpStream, answer: &Answer, head_only: bool) -> std::io::Result<()> {
    if let Manner::Late(pause) = answer.manner {
        std::thread::sleep(pause);
    }
    let mut head = format!("HTTP/1.1 {} Test\r\nConnection: close\r\n", answer.status);
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !matches!(answer.manner, Manner::Endless) {
        head += &format!("Content-Length: {}\r\n", answer.body.len());
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    match answer.manner {
        _ if head_only => Ok(()),
        Manner::Whole | Manner::Late(_) => stream.write_all(&answer.body),
        Manner::CutAt(length) => stream.write_all(&answer.body[..length]),
        Manner::Endless => loop {
            stream.write_all(&[b'x'; 4096])?;
        },
        Manner::Drip(pause) => answer.body.iter().try_for_each(|byte| {
            std::thread::sleep(pause);
            stream.write_all(&[*byte])
        }),
    }
}
