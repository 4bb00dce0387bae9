//! Requests to one repository of a registry (OCI distribution-spec), with authentication
//! (Docker's token flow, `distribution/docs/spec/auth/token.md`).

use super::Access;
use super::credentials::Login;
use super::reference::Reference;
use crate::transfer::net::{Failure, Request, Response};
use serde::Deserialize;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Maximum size of the token service's response in bytes; tokens have a few KiB.
const MAX_TOKEN: u64 = 256 << 10;

/// HTTP method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Head,
}

/// Request for an object of the repository.
pub(super) struct RepositoryRequest<'a> {
    pub(super) method: Method,
    /// Path after `/v2/REPOSITORY/`.
    pub(super) path: &'a str,
    pub(super) accept: &'a [&'a str],
    pub(super) range: Option<&'a Range<u64>>,
    pub(super) limit: u64,
}

pub(super) struct Session<'a> {
    access: &'a Access<'a>,
    reference: &'a Reference,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// `https://HOST` or `http://HOST`, after one of them responded.
    base: Option<String>,
    /// `Authorization` header of the last successful request.
    authorization: Option<String>,
}

impl<'a> Session<'a> {
    pub(super) fn new(access: &'a Access<'a>, reference: &'a Reference) -> Self {
        Session { access, reference, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request with TLS, or with plain HTTP if the registry does not speak TLS and plain
    /// HTTP is allowed.
    pub(super) fn send(&self, request: &RepositoryRequest<'_>) -> Result<Response, Failure> {
        let known = self.state().base.clone();
        if let Some(base) = known {
            return self.send_to(&base, request);
        }
        let host = self.reference.host();
        let mut base = format!("https://{host}");
        let mut result = self.send_to(&base, request);
        let may_be_plain = self.reference.is_loopback() || self.access.client.settings().plain_http;
        let no_tls = |failure: &Failure| matches!(failure, Failure::NoTls { .. } | Failure::Offline { .. });
        if may_be_plain && result.as_ref().is_err_and(no_tls) {
            base = format!("http://{host}");
            result = self.send_to(&base, request);
        }
        if !matches!(result, Err(Failure::Offline { .. })) {
            self.state().base = Some(base);
        }
        result
    }

    fn send_to(&self, base: &str, request: &RepositoryRequest<'_>) -> Result<Response, Failure> {
        let known = self.state().authorization.clone();
        match self.attempt(base, request, known.as_deref()) {
            Err(Failure::Status { url, status: 401, challenges, retry_after }) => {
                let Some(header) = self.authorize(base, &challenges)? else {
                    return Err(Failure::Status { url, status: 401, challenges, retry_after });
                };
                let result = self.attempt(base, request, Some(&header));
                if result.is_ok() {
                    self.state().authorization = Some(header);
                }
                result
            }
            result => result,
        }
    }

    fn attempt(
        &self,
        base: &str,
        request: &RepositoryRequest<'_>,
        authorization: Option<&str>,
    ) -> Result<Response, Failure> {
        let url = format!("{base}/v2/{}/{}", self.reference.repository(), request.path);
        let RepositoryRequest { method, accept, range, limit, .. } = *request;
        let request = Request { url: &url, accept, authorization, range, limit };
        match method {
            Method::Get => self.access.client.get(&request),
            Method::Head => self.access.client.head(&request),
        }
    }

    /// Returns an `Authorization` header for one of the challenges, or `None` if there are no
    /// credentials for them.
    fn authorize(&self, base: &str, challenges: &[String]) -> Result<Option<String>, Failure> {
        let login = self.access.credentials.find(self.reference.registry());
        let basic = match login {
            Some(Login::Bearer(header)) => return Ok(Some(header)),
            Some(Login::Basic(header)) => Some(header),
            None => None,
        };
        let challenges: Vec<Challenge> =
            challenges.iter().filter_map(|text| Challenge::parse(text)).collect();
        let of_scheme =
            |scheme: &str| challenges.iter().find(|challenge| challenge.scheme.eq_ignore_ascii_case(scheme));
        if let Some(bearer) = of_scheme("Bearer") {
            return self.token(base, bearer, basic.as_deref()).map(Some);
        }
        Ok(basic.filter(|_| of_scheme("Basic").is_some()))
    }

    /// Requests a token that allows to pull from this repository.
    ///
    /// Ignores the scope of the challenge, so a registry cannot obtain a token with more rights.
    fn token(&self, base: &str, challenge: &Challenge, basic: Option<&str>) -> Result<String, Failure> {
        let realm = challenge.parameter("realm").unwrap_or_default();
        let fault = |cause: &str| Failure::Protocol { url: base.to_owned(), cause: cause.to_owned() };
        let is_plain = |address: &str| address.starts_with("http://");
        if !realm.starts_with("https://") && (!is_plain(realm) || !is_plain(base)) {
            return Err(fault("the registry refers to a token service without TLS"));
        }
        let scope = format!("repository:{}:pull", self.reference.repository());
        let mut url =
            format!("{realm}{}scope={}", if realm.contains('?') { '&' } else { '?' }, encode(&scope));
        if let Some(service) = challenge.parameter("service") {
            url += &format!("&service={}", encode(service));
        }
        let answer = self
            .access
            .client
            .get_bytes(&Request { authorization: basic, ..Request::new(&url, MAX_TOKEN) })?;
        let token: Token = serde_json::from_slice(&answer)
            .map_err(|_| fault("the token service of the registry returned no valid token"))?;
        let token = if token.token.is_empty() { token.access_token } else { token.token };
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(fault("the token service of the registry returned no valid token"));
        }
        Ok(format!("Bearer {token}"))
    }
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Token {
    token: String,
    access_token: String,
}

/// First challenge of a `WWW-Authenticate` header (RFC 9110, section 11.6.1).
#[derive(Debug, PartialEq, Eq)]
struct Challenge {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (scheme, mut rest) = text.split_once(' ').unwrap_or((text, ""));
        let mut parameters = Vec::new();
        while let Some((name, after)) = rest.trim_start_matches([' ', ',']).split_once('=') {
            // A space in the name means that the next challenge starts here.
            if name.contains(' ') {
                break;
            }
            let (value, behind) = value(after)?;
            parameters.push((name.to_ascii_lowercase(), value));
            rest = behind;
        }
        Some(Challenge { scheme: scheme.to_owned(), parameters })
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Splits a token or a quoted string from the rest. Returns `None` if a quote is not closed.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ']).unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

/// Percent-encodes a value for a query string.
fn encode(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::Credentials;
    use super::*;
    use crate::transfer::net::server::{Answer, Server, client};
    use proptest::prelude::*;

    #[test]
    fn challenge_parse_header_returns_scheme_and_parameters() {
        for (text, scheme, parameters) in [
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="a:b:pull,push""#,
                "Bearer",
                &[
                    ("realm", "https://auth.docker.io/token"),
                    ("service", "registry.docker.io"),
                    ("scope", "a:b:pull,push"),
                ][..],
            ),
            (r#"bearer Realm=x , service="a\"b""#, "bearer", &[("realm", "x"), ("service", "a\"b")]),
            (r#"Bearer realm="x", Basic realm="y""#, "Bearer", &[("realm", "x")]),
            ("Basic", "Basic", &[]),
        ] {
            let parameters =
                parameters.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
            assert_eq!(
                Challenge::parse(text),
                Some(Challenge { scheme: scheme.to_owned(), parameters }),
                "{text}"
            );
        }
        assert_eq!(Challenge::parse("Bearer realm=\"x"), None);
        assert_eq!(encode("repository:a/b:pull"), "repository%3Aa%2Fb%3Apull");
    }

    #[test]
    fn session_token_service_without_tls_is_refused() {
        let server = Server::start(|_| Answer::new(200, r#"{"token": "t"}"#));
        let client = client();
        let credentials = Credentials::default();
        let access = Access { client: &client, credentials };
        let reference = Reference::parse("registry.example.org/a").unwrap();
        let challenge = Challenge::parse(&format!("Bearer realm=\"{}\"", server.url("/"))).unwrap();
        let session = Session::new(&access, &reference);
        for (base, good) in [("https://registry.example.org", false), ("http://registry.example.org", true)] {
            assert_eq!(session.token(base, &challenge, Some("Basic eA==")).is_ok(), good);
        }
        assert_eq!(server.asked().len(), 1);
    }

    proptest! {
        #[test]
        fn challenge_parse_any_text_never_panics(text in ".{0,80}") {
            let _ = Challenge::parse(&text);
        }
    }
}
