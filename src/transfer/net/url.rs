//! URLs: parses them, resolves redirects, and prints them without credentials.

use super::failure::Failure;
use crate::model::escape;
use ureq::http::Uri;

/// Maximum length of a URL in messages, in characters. Longer URLs are truncated.
const SHOWN: usize = 200;

/// Absolute `http` or `https` URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    uri: Uri,
    /// `Authorization` header value for `user:password@` in the URL.
    pub(super) authorization: Option<String>,
}

/// Scheme, host in lower case, and port (RFC 6454). Credentials are sent only to the origin that
/// they are meant for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Origin {
    is_secure: bool,
    host: String,
    port: u16,
}

impl Origin {
    /// Returns `HOST:PORT` for messages.
    pub(super) fn text(&self) -> String {
        escape::escape(format!("{}:{}", self.host, self.port).as_bytes())
    }
}

impl Url {
    /// Parses an absolute URL and separates user name and password from it.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let invalid =
            || Failure::Protocol { url: shown(text), cause: "not an http:// or https:// URL".to_owned() };
        let text = text.split('#').next().unwrap_or_default();
        let (scheme, rest) = text.split_once("://").ok_or_else(invalid)?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (user, host) =
            authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        let slash = if path.starts_with('/') { "" } else { "/" };
        let uri: Uri = format!("{}://{host}{slash}{path}", scheme.to_ascii_lowercase())
            .parse()
            .map_err(|_| invalid())?;
        let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
        if !is_web || uri.host().is_none_or(str::is_empty) {
            return Err(invalid());
        }
        if !has_valid_port(&uri) {
            let cause = "the port is not a number from 1 to 65535".to_owned();
            return Err(Failure::Protocol { url: shown(text), cause });
        }
        let authorization = user.map(|user| {
            let (name, password) = user.split_once(':').unwrap_or((user, ""));
            basic(&decode(name), &decode(password))
        });
        Ok(Url { uri, authorization })
    }

    /// Resolves a `Location` header against this URL (RFC 3986, section 5.2).
    ///
    /// Drops credentials in the header because a server must not choose what is sent elsewhere.
    pub(super) fn join(&self, location: &str) -> Result<Self, Failure> {
        let scheme = self.uri.scheme_str().unwrap_or_default();
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        let has_scheme =
            location.find([':', '/', '?', '#']).is_some_and(|at| location[at..].starts_with(':'));
        let text = if has_scheme {
            location.to_owned()
        } else if let Some(rest) = location.strip_prefix("//") {
            format!("{scheme}://{rest}")
        } else if location.starts_with('/') {
            format!("{scheme}://{authority}{}", without_dots(location))
        } else if location.starts_with('?') {
            format!("{scheme}://{authority}{}{location}", self.uri.path())
        } else {
            let directory = self.uri.path().rsplit_once('/').map_or("", |(directory, _)| directory);
            format!("{scheme}://{authority}{}", without_dots(&format!("{directory}/{location}")))
        };
        Ok(Url { authorization: None, ..Url::parse(&text)? })
    }

    pub(super) fn uri(&self) -> Uri {
        self.uri.clone()
    }

    pub(super) fn is_secure(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }

    pub(super) fn origin(&self) -> Origin {
        let is_secure = self.is_secure();
        Origin {
            is_secure,
            host: self.uri.host().unwrap_or_default().to_ascii_lowercase(),
            port: self.uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 }),
        }
    }

    /// Returns the URL for messages: without query string, on one line, of limited length.
    pub(super) fn shown(&self) -> String {
        shown(&self.uri.to_string())
    }
}

/// Whether the port is absent, empty or a TCP port. [`Uri::port_u16`] returns `None` for others.
fn has_valid_port(uri: &Uri) -> bool {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let after_address = authority.rsplit_once(']').map_or(authority, |(_, rest)| rest);
    let port = after_address.split_once(':').map_or("", |(_, port)| port);
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    port.is_empty() || is_number && port.parse().is_ok_and(|port: u16| port != 0)
}

/// URL to upload to, as the user typed it or as a server returned it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(Url);

impl Address {
    /// Parses an upload URL.
    ///
    /// Fails if it is not an HTTP URL, if it contains a password, or if it uses plain HTTP to
    /// another machine.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let url = Url::parse(text)?;
        let refused = |cause: &str| Failure::Protocol { url: url.shown(), cause: cause.to_owned() };
        // URLs end up in shell histories, process lists and logs; a password must not.
        if url.authorization.is_some() {
            return Err(refused("refusing a URL that contains a password"));
        }
        let host = url.uri.host().unwrap_or_default();
        let is_local = host == "localhost"
            || host.trim_matches(['[', ']']).parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
        if !url.is_secure() && !is_local {
            return Err(refused("refusing plain HTTP: the context contains confidential files"));
        }
        Ok(Address(url))
    }

    /// Whether the path ends in `/`: objects are stored below it.
    pub fn is_directory(&self) -> bool {
        self.0.uri.path().ends_with('/')
    }

    /// Whether the URL has a query string, as presigned URLs have. They allow one object only.
    pub fn has_query(&self) -> bool {
        self.0.uri.query().is_some()
    }

    /// Returns the URL of the object `name` in this directory, without the query string.
    pub fn child(&self, name: &str) -> Result<Self, Failure> {
        let directory = self.without_query();
        Url::parse(&format!("{}/{}", directory.trim_end_matches('/'), encode(name))).map(Address)
    }

    /// Resolves a `Location` header. Returns `None` if scheme, host or port differ.
    pub fn same_origin(&self, location: &str) -> Option<Self> {
        let next = self.0.join(location).ok()?;
        (next.origin() == self.0.origin()).then_some(Address(next))
    }

    /// Returns the complete URL, for requests.
    pub fn text(&self) -> String {
        self.0.uri.to_string()
    }

    /// Returns the URL without the query string, which can contain a signature.
    pub fn without_query(&self) -> String {
        self.text().split('?').next().unwrap_or_default().to_owned()
    }

    /// Returns the URL for messages: without query string, on one line, of limited length.
    pub fn shown(&self) -> String {
        self.0.shown()
    }
}

/// Percent-encodes all bytes of a path but unreserved characters and `/` (RFC 3986, section 2.3).
fn encode(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    path.bytes().fold(String::new(), |text, byte| match plain(byte) {
        true => text + &char::from(byte).to_string(),
        false => text + &format!("%{byte:02X}"),
    })
}

/// Returns any text that should be a URL for messages, without credentials and query string.
fn shown(text: &str) -> String {
    let text = text.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = text.split_once("://").map_or(("", text), |(scheme, rest)| (scheme, rest));
    let rest = without_user(rest);
    let full = if scheme.is_empty() { rest.to_owned() } else { format!("{scheme}://{rest}") };
    let truncated: String = full.chars().take(SHOWN).collect();
    let dots = if truncated.len() < full.len() { "..." } else { "" };
    format!("{}{dots}", escape::escape(truncated.as_bytes()))
}

/// Removes user name and password from the part of a URL after `://`.
///
/// Text after the colon that is not a port can be a password with a slash in it, or the start of
/// a password that contained `?`. It is removed too.
fn without_user(rest: &str) -> &str {
    let end = rest.find('/').unwrap_or(rest.len());
    let is_port = |port: &str| port.ends_with(']') || port.bytes().all(|byte| byte.is_ascii_digit());
    match rest[..end].rsplit_once(':') {
        Some((before, port)) if !is_port(port) => rest.rsplit_once('@').map_or(before, |(_, host)| host),
        _ => rest[..end].rfind('@').map_or(rest, |at| &rest[at + 1..]),
    }
}

/// Removes `.` and `..` segments from a path (RFC 3986, section 5.2.4).
fn without_dots(path: &str) -> String {
    let (path, query) = path.split_at(path.find('?').unwrap_or(path.len()));
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if is_last {
                    kept.push("");
                }
            }
            segment => kept.push(segment),
        }
    }
    format!("/{}{query}", kept.join("/"))
}

/// Decodes percent-encoded bytes such as `%41` (RFC 3986, section 2.1).
fn decode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = tail.get(..2).filter(|_| first == b'%').and_then(escape::unhex::<1>);
        bytes.push(escaped.map_or(first, |[byte]| byte));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    bytes
}

/// Returns the `Authorization` header value for a user name and a password (RFC 7617).
pub fn basic(name: &[u8], password: &[u8]) -> String {
    format!("Basic {}", base64(&[name, b":", password].concat()))
}

/// Encodes bytes as Base64 with padding (RFC 4648, section 4).
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let at = |index: usize| u32::from(group.get(index).copied().unwrap_or_default());
        let value = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..4 {
            let is_padding = digit > group.len();
            let value = (value >> (18 - 6 * digit)) & 63;
            text.push(if is_padding { '=' } else { char::from(DIGITS[value as usize]) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn url_shown_omits_credentials_and_query_string() {
        let url = Url::parse("https://me:p%40ss@Example.org:8443/a/b?token=1#x").unwrap();
        assert_eq!(url.shown(), "https://example.org:8443/a/b".replace("example", "Example"));
        assert_eq!(url.authorization.as_deref(), Some("Basic bWU6cEBzcw=="));
        assert_eq!(url.origin().text(), "example.org:8443");
        let error = Url::parse("ftp://me:secret@example.org/?secret").unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn shown_password_anywhere_is_removed() {
        for (text, expected) in [
            ("me:secret@host.example/x", "host.example/x"),
            ("https://me:sec/ret@host.example/x", "https://host.example/x"),
            ("https://me:secret@host.example:8443/a@b", "https://host.example:8443/a@b"),
            ("https://me:sec?ret@host.example/", "https://me"),
            ("https://me:se@c/ret@host.example/x", "https://host.example/x"),
            ("https://me:secret@host.example/x", "https://host.example/x"),
            ("https://me:secret", "https://me"),
            ("https://[::1]:80/a@b:c", "https://[::1]:80/a@b:c"),
            ("https://[::1]/a", "https://[::1]/a"),
            ("https://host.example:80/a:b@c", "https://host.example:80/a:b@c"),
        ] {
            assert_eq!(shown(text), expected);
        }
    }

    #[test]
    fn address_child_long_directory_keeps_full_path() {
        let long = format!("https://h.example/{}", "a/'%20".repeat(60));
        let directory = Address::parse(&format!("{long}?key=1")).unwrap();
        assert_eq!(directory.child("b c/d").unwrap().text(), format!("{long}/b%20c/d"));
        assert!(directory.shown().ends_with("..."));
    }

    #[test]
    fn url_parse_invalid_text_returns_error() {
        for text in
            ["", "example.org", "file:///etc/passwd", "http://", "https:///x", "http://a b/", "http://[::1/"]
        {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn url_parse_port_out_of_range_returns_error() {
        for port in ["0", "65536", "99999", "4294967739", "00443x", "+443", "-1"] {
            for host in ["example.org", "[::1]"] {
                assert!(Url::parse(&format!("https://{host}:{port}/")).is_err(), "{host}:{port}");
                let base = Url::parse("https://example.org/").unwrap();
                assert!(base.join(&format!("https://{host}:{port}/x")).is_err(), "{host}:{port}");
            }
        }
        for text in ["https://[::1]/", "https://[::1]:65535/", "https://h.example:/", "https://h.example:1/"]
        {
            Url::parse(text).unwrap();
        }
    }

    #[test]
    fn url_join_location_follows_rfc_3986() {
        let base = Url::parse("https://h.example:5000/a/b/c?q=1").unwrap();
        for (location, expected) in [
            ("http://other.example/x", "http://other.example/x"),
            ("https://user:pass@other.example/x", "https://other.example/x"),
            ("//other.example/x", "https://other.example/x"),
            ("/x/./y/../z?t=1", "https://h.example:5000/x/z?t=1"),
            ("d", "https://h.example:5000/a/b/d"),
            ("../../../d/..", "https://h.example:5000/"),
            ("?q=2", "https://h.example:5000/a/b/c?q=2"),
            ("x?u=http://y", "https://h.example:5000/a/b/x?u=http://y"),
        ] {
            let url = base.join(location).unwrap();
            assert_eq!((url.uri().to_string(), url.authorization), (expected.to_owned(), None), "{location}");
        }
    }

    #[test]
    fn base64_any_length_has_padding() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    proptest! {
        #[test]
        fn url_any_text_never_panics(text in ".{0,80}", location in ".{0,80}") {
            shown(&text);
            let _ = Url::parse(&text);
            let _ = Url::parse("http://h/a/b").unwrap().join(&location);
        }
    }
}
