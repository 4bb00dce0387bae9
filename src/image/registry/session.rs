//! Requests to one repository of one registry, with whatever it wants to be shown first (distribution-spec; the token
//! flow is Docker's, `distribution/docs/spec/auth/token.md`).

use super::Access;
use super::credentials::Login;
use super::reference::Reference;
use crate::transfer::net::{Failure, Request, Response};
use serde::Deserialize;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Tokens have a few KiB.
const MAX_TOKEN: u64 = 256 << 10;

/// Whether the body is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Head,
}

/// What is asked for within the repository.
pub(super) struct Wanted<'a> {
    pub(super) method: Method,
    /// Behind `/v2/REPOSITORY/`.
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
    /// `https://HOST` or `http://HOST`, once one of them answered.
    base: Option<String>,
    /// The header that was good for the last request.
    authorization: Option<String>,
}

impl<'a> Session<'a> {
    pub(super) fn new(access: &'a Access<'a>, reference: &'a Reference) -> Self {
        Session { access, reference, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks over TLS; where that is not spoken, without it, if this registry may be asked so.
    pub(super) fn send(&self, wanted: &Wanted<'_>) -> Result<Response, Failure> {
        let known = self.state().base.clone();
        if let Some(base) = known {
            return self.send_to(&base, wanted);
        }
        let host = self.reference.host();
        let mut base = format!("https://{host}");
        let mut result = self.send_to(&base, wanted);
        let may_be_plain = self.reference.is_loopback() || self.access.client.settings().plain_http;
        let no_tls = |failure: &Failure| matches!(failure, Failure::NoTls { .. } | Failure::Offline { .. });
        if may_be_plain && result.as_ref().is_err_and(no_tls) {
            base = format!("http://{host}");
            result = self.send_to(&base, wanted);
        }
        if !matches!(result, Err(Failure::Offline { .. })) {
            self.state().base = Some(base);
        }
        result
    }

    fn send_to(&self, base: &str, wanted: &Wanted<'_>) -> Result<Response, Failure> {
        let known = self.state().authorization.clone();
        match self.attempt(base, wanted, known.as_deref()) {
            Err(Failure::Status { url, status: 401, challenges, retry_after }) => {
                let Some(header) = self.authorize(base, &challenges)? else {
                    return Err(Failure::Status { url, status: 401, challenges, retry_after });
                };
                let result = self.attempt(base, wanted, Some(&header));
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
        wanted: &Wanted<'_>,
        authorization: Option<&str>,
    ) -> Result<Response, Failure> {
        let url = format!("{base}/v2/{}/{}", self.reference.repository(), wanted.path);
        let Wanted { method, accept, range, limit, .. } = *wanted;
        let request = Request { url: &url, accept, authorization, range, limit };
        match method {
            Method::Get => self.access.client.get(&request),
            Method::Head => self.access.client.head(&request),
        }
    }

    /// The header that meets one of the challenges; none if nothing here does.
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

    /// Asks the token service that the registry names for the right to pull from this repository, and no more,
    /// whatever the registry would like.
    fn token(&self, base: &str, challenge: &Challenge, basic: Option<&str>) -> Result<String, Failure> {
        let realm = challenge.parameter("realm").unwrap_or_default();
        let fault = |cause: &str| Failure::Protocol { url: base.to_owned(), cause: cause.to_owned() };
        let is_plain = |address: &str| address.starts_with("http://");
        if !realm.starts_with("https://") && (!is_plain(realm) || !is_plain(base)) {
            return Err(fault("the registry names a token service that does not speak TLS"));
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
            .map_err(|_| fault("the registry's token service gives no token"))?;
        let token = if token.token.is_empty() { token.access_token } else { token.token };
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(fault("the registry's token service gives no token"));
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

/// One `WWW-Authenticate` header (RFC 9110, 11.6.1), up to its second challenge.
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
            // A space within the name is the next challenge's.
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

/// A token or a quoted string, and what follows it; `None` if a quote has no end.
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

/// A value in a query string.
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
    fn challenges_are_taken_apart() {
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
    fn a_registry_with_tls_cannot_send_us_to_a_token_service_without() {
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
        fn no_challenge_is_too_much(text in ".{0,80}") {
            let _ = Challenge::parse(&text);
        }
    }
}
