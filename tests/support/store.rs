//! Upload server for tests: correct or faulty, with PUT or tus, over connections that can break.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Returns `size` pseudorandom bytes, which cannot be compressed.
pub(crate) fn random(size: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let bytes = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    });
    bytes.take(size).collect()
}

/// Behavior of the server for the body of a PUT request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Manner {
    /// Stores the object, allows GET, returns no digest.
    Plain,
    /// Stores the object, returns its SHA-256 (RFC 9530), denies GET.
    Digest,
    /// Stores the object, allows GET, and returns the digest of the response (RFC 9530, section
    /// 2).
    Answers,
    /// Stores the object, returns its MD5 as ETag as S3 does, denies GET.
    Tag,
    /// Returns success and stores nothing.
    Forgets,
    /// Returns success without a digest and denies GET.
    Hides,
    /// Stores the object without this number of bytes at its end.
    Truncates(usize),
    /// Stores the object with another byte at this offset.
    Flips(usize),
    /// Stores the object with another byte at this offset and returns the digest of the result.
    FlipsAndTells(usize),
    /// Appends a byte to the stored object.
    Appends,
    /// Returns this status this number of times, then behaves as `Plain`.
    Status(u16, usize),
    /// Redirects to this URL.
    Redirects(String),
    /// Speaks tus. `checks`: verifies checksums of parts; `shows`: allows GET.
    Tus { checks: bool, shows: bool },
    /// Speaks tus, claims to verify checksums, and stores another byte at this offset of each
    /// part.
    LyingTus(usize),
}

#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) objects: BTreeMap<String, Vec<u8>>,
    /// Method, path, `Authorization` header and received bytes of the body.
    pub(crate) requests: Vec<(String, String, Option<String>, usize)>,
    /// Bytes of bodies after which the next connections break.
    pub(crate) cuts: Vec<usize>,
    /// Methods whose next response is truncated.
    pub(crate) breaks: Vec<&'static str>,
    /// File to truncate when the next object is announced.
    pub(crate) shortens: Option<std::path::PathBuf>,
    /// `Upload-Length` of each tus upload.
    lengths: BTreeMap<String, usize>,
    refused: usize,
}

#[derive(Clone)]
pub(crate) struct Store {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Mutex<Seen>>,
    manner: Manner,
}

struct Asked {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
}

impl Asked {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    fn number(&self, name: &str) -> Option<usize> {
        self.header(name)?.parse().ok()
    }
}

impl Store {
    pub(crate) fn new(manner: Manner) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let store = Store { address: listener.local_addr().unwrap(), seen: Arc::default(), manner };
        let served = store.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let store = served.clone();
                std::thread::spawn(move || store.serve(stream));
            }
        });
        store
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn object(&self, path: &str) -> Option<Vec<u8>> {
        self.seen.lock().unwrap().objects.get(path).cloned()
    }

    fn serve(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while let Some(asked) = read_head(&mut reader) {
            if self.answer(&asked, &mut reader, &stream).is_none() {
                let _ = stream.shutdown(std::net::Shutdown::Both);
                return;
            }
        }
    }

    /// Reads the body and sends the response. Returns `None` to close the connection.
    fn answer(&self, asked: &Asked, reader: &mut impl Read, mut stream: &TcpStream) -> Option<()> {
        let length = asked.number("content-length").unwrap_or(0);
        if matches!(asked.method.as_str(), "PUT" | "POST") {
            let shortens = self.seen.lock().unwrap().shortens.take();
            if let Some(path) = shortens {
                let file = std::fs::File::options().write(true).open(path).unwrap();
                file.set_len(10).unwrap();
            }
        }
        let early = self.early(asked);
        let mut body = Vec::new();
        let mut is_cut = false;
        if early.is_none() && length > 0 {
            if asked.header("expect").is_some() {
                stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
            }
            let cut = self.seen.lock().unwrap().cuts.pop();
            let most = cut.map_or(length, |cut| cut.min(length));
            reader.take(most as u64).read_to_end(&mut body).ok()?;
            is_cut = cut.is_some() || body.len() < length;
        }
        let (method, path) = (asked.method.clone(), asked.path.clone());
        let shown = asked.header("authorization").map(str::to_owned);
        self.seen.lock().unwrap().requests.push((method, path, shown, body.len()));
        let answered = early.unwrap_or_else(|| self.act(asked, body, is_cut));
        if is_cut {
            return None;
        }
        let (status, headers, body) = answered;
        let mut text = format!("HTTP/1.1 {status} X\r\n");
        for (name, value) in headers {
            text += &format!("{name}: {value}\r\n");
        }
        if status != 204 {
            text += &format!("content-length: {}\r\n", body.len());
        }
        let breaks = {
            let breaks = &mut self.seen.lock().unwrap().breaks;
            breaks.iter().position(|method| *method == asked.method).map(|at| breaks.remove(at))
        };
        if breaks.is_some() {
            let whole = [text.as_bytes(), b"\r\n", &body].concat();
            stream.write_all(&whole[..whole.len() / 2]).ok()?;
            return None;
        }
        stream.write_all((text + "\r\n").as_bytes()).ok()?;
        if asked.method != "HEAD" {
            stream.write_all(&body).ok()?;
        }
        if length > 0 && is_refused(status) {
            // Keeps the connection open for a while: a client must not wait for its end.
            std::thread::sleep(std::time::Duration::from_secs(5));
            return None;
        }
        Some(())
    }

    /// Returns the response that is sent before the body is read, if there is one.
    fn early(&self, asked: &Asked) -> Option<Answered> {
        let mut seen = self.seen.lock().unwrap();
        match &self.manner {
            Manner::Status(status, times) if asked.method == "PUT" && seen.refused < *times => {
                seen.refused += 1;
                Some((*status, vec![("retry-after", "0".to_owned())], Vec::new()))
            }
            Manner::Redirects(to) if asked.method == "PUT" && !asked.path.starts_with("/moved") => {
                Some((307, vec![("location", to.clone())], Vec::new()))
            }
            _ if asked.header("if-none-match").is_some() && seen.objects.contains_key(&asked.path) => {
                Some((412, Vec::new(), Vec::new()))
            }
            _ => None,
        }
    }

    fn act(&self, asked: &Asked, mut body: Vec<u8>, is_cut: bool) -> Answered {
        let mut seen = self.seen.lock().unwrap();
        if let Manner::Tus { checks, shows } = self.manner {
            return tus(&mut seen, asked, &body, is_cut, (checks, shows));
        }
        if let Manner::LyingTus(at) = self.manner {
            let length = body.len().max(1);
            body.get_mut(at % length).into_iter().for_each(|byte| *byte ^= 1);
            return tus(&mut seen, asked, &body, is_cut, (asked.method == "OPTIONS", true));
        }
        match asked.method.as_str() {
            "PUT" if is_cut => (500, Vec::new(), Vec::new()),
            "PUT" => {
                let sent = digest(&body);
                let md5 = format!("\"{}\"", md5(&body));
                match &self.manner {
                    Manner::Truncates(by) => body.truncate(body.len() - by.min(&body.len())),
                    Manner::Flips(at) | Manner::FlipsAndTells(at) => {
                        let at = at % body.len();
                        body[at] ^= 1;
                    }
                    Manner::Appends => body.push(0),
                    _ => {}
                }
                let headers = match &self.manner {
                    Manner::Digest => vec![("repr-digest", sent)],
                    Manner::FlipsAndTells(_) => vec![("repr-digest", digest(&body))],
                    Manner::Tag => vec![("etag", md5)],
                    Manner::Answers => vec![("content-digest", digest(b""))],
                    // ETag in the format of nginx, which is not a digest.
                    _ => vec![("etag", format!("\"64ab-{:x}\"", body.len()))],
                };
                if self.manner != Manner::Forgets {
                    seen.objects.insert(asked.path.clone(), body);
                }
                (201, headers, Vec::new())
            }
            "GET" => match seen.objects.get(&asked.path) {
                _ if matches!(self.manner, Manner::Digest | Manner::Tag | Manner::Hides) => {
                    (403, Vec::new(), Vec::new())
                }
                Some(body) => (200, Vec::new(), body.clone()),
                None => (404, Vec::new(), Vec::new()),
            },
            _ => (405, Vec::new(), Vec::new()),
        }
    }
}

type Answered = (u16, Vec<(&'static str, String)>, Vec<u8>);

fn is_refused(status: u16) -> bool {
    status >= 300
}

fn tus(seen: &mut Seen, asked: &Asked, body: &[u8], is_cut: bool, (checks, shows): (bool, bool)) -> Answered {
    let offset = |seen: &Seen| seen.objects.get(&asked.path).map_or(0, Vec::len);
    match asked.method.as_str() {
        "OPTIONS" => {
            let extension = if checks { "creation,checksum" } else { "creation" };
            let mut headers =
                vec![("tus-version", "1.0.0".to_owned()), ("tus-extension", extension.to_owned())];
            if checks {
                headers.push(("tus-checksum-algorithm", "md5,sha256".to_owned()));
            }
            (204, headers, Vec::new())
        }
        "POST" => {
            let path = "/files/1".to_owned();
            seen.lengths.insert(path.clone(), asked.number("upload-length").unwrap());
            seen.objects.insert(path.clone(), Vec::new());
            (201, vec![("location", path)], Vec::new())
        }
        "HEAD" => (200, vec![("upload-offset", offset(seen).to_string())], Vec::new()),
        "PATCH" => {
            if asked.number("upload-offset") != Some(offset(seen)) {
                return (409, Vec::new(), Vec::new());
            }
            let claimed = asked.header("upload-checksum").map(str::to_owned);
            let is_wrong =
                claimed.is_some_and(|claimed| claimed != format!("sha256 {}", base64(&sha256(body))));
            if checks && !is_cut && is_wrong {
                return (460, Vec::new(), Vec::new());
            }
            seen.objects.entry(asked.path.clone()).or_default().extend_from_slice(body);
            (204, vec![("upload-offset", offset(seen).to_string())], Vec::new())
        }
        "GET" if shows => (200, Vec::new(), seen.objects.get(&asked.path).cloned().unwrap_or_default()),
        _ => (405, Vec::new(), Vec::new()),
    }
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).to_vec()
}

fn base64(bytes: &[u8]) -> String {
    vm2docker_self::transfer::net::base64(bytes)
}

fn digest(bytes: &[u8]) -> String {
    format!("sha-256=:{}:", base64(&sha256(bytes)))
}

fn md5(bytes: &[u8]) -> String {
    use md5::Digest as _;
    md5::Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read_head(reader: &mut impl BufRead) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|&length| length > 0)?;
    let mut words = line.split(' ').map(str::to_owned);
    let mut asked = Asked { method: words.next()?, path: words.next()?, headers: BTreeMap::new() };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|&length| length > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { return Some(asked) };
        asked.headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
}
