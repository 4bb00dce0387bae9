//! Image references such as `debian:12` and `registry.example.org:5000/team/base@sha256:...`,
//! with the grammar of `distribution/reference`.

use crate::error::{Code, Error, Result};
use crate::image::store::{digest_text, parse_digest};
use crate::model::digest::Sha256;
use crate::model::escape;
use std::fmt;
use std::net::IpAddr;

/// Name of Docker Hub in references.
const DOCKER: &str = "docker.io";
/// Host name of Docker Hub's registry.
const DOCKER_HOST: &str = "registry-1.docker.io";
/// Maximum length of a name and of a tag in the grammar.
const MAX_NAME: usize = 255;
const MAX_TAG: usize = 128;

/// Image in a registry. If it has a tag and a digest, the digest selects the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Sha256>,
}

impl Reference {
    /// Parses a reference as Docker does.
    ///
    /// Defaults are Docker Hub for the registry, `library/` for the namespace on Docker Hub, and
    /// `latest` for the tag. Fails with exit code 2 if the reference is not valid.
    pub fn parse(text: &str) -> Result<Self> {
        Self::parse_parts(text).ok_or_else(|| {
            let what = format!("{} is not an image reference", escape::escape(text.as_bytes()));
            Error::new(Code::Usage, what)
                .hint("use a reference like debian:12 or registry.example.org/debian:12")
        })
    }

    fn parse_parts(text: &str) -> Option<Self> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(parse_digest(digest).ok()?)),
            None => (text, None),
        };
        // A colon before the last slash belongs to a port.
        let (name, tag) = match rest.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')) {
            Some((name, tag)) => (name, Some(tag).filter(|tag| is_tag(tag))?.to_owned().into()),
            None => (rest, None),
        };
        let (registry, path) = match name.split_once('/').filter(|(first, _)| is_host(first)) {
            Some((first, path)) => (first.to_owned(), path),
            None => (DOCKER.to_owned(), name),
        };
        let registry = if registry == "index.docker.io" { DOCKER.to_owned() } else { registry };
        let is_short = registry == DOCKER && !path.contains('/');
        let repository = if is_short { format!("library/{path}") } else { path.to_owned() };
        let is_sound =
            name.len() <= MAX_NAME && is_registry(&registry) && repository.split('/').all(is_component);
        let tag = tag.or_else(|| digest.is_none().then(|| "latest".to_owned()));
        is_sound.then_some(Reference { registry, repository, tag, digest })
    }

    /// Returns the registry as in references (`docker.io`), with the port if there is one.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Returns the repository in the registry: `library/debian`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Returns the tag. `None` if the reference has a digest but no tag.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Returns the same repository with another tag and no digest. `None` if `tag` is not valid.
    pub fn with_tag(&self, tag: &str) -> Option<Self> {
        is_tag(tag).then(|| Reference { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }

    /// Returns the reference with this digest (`sha256:...`), for `FROM`. Keeps the tag for
    /// readers.
    pub fn pinned(&self, digest: &str) -> String {
        format!("{}@{digest}", Reference { digest: None, ..self.clone() })
    }

    pub(super) fn digest(&self) -> Option<&Sha256> {
        self.digest.as_ref()
    }

    /// Returns host and port of the registry.
    pub(super) fn host(&self) -> &str {
        if self.registry == DOCKER { DOCKER_HOST } else { &self.registry }
    }

    /// Returns the digest or else the tag, for requests to the registry.
    pub(super) fn target(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest_text(digest),
            (None, tag) => tag.clone().unwrap_or_default(),
        }
    }

    /// Whether the registry has a loopback address, which no other machine can intercept.
    pub(super) fn is_loopback(&self) -> bool {
        let host = self
            .registry
            .rsplit_once(':')
            .filter(|(_, port)| is_port(port))
            .map_or(&*self.registry, |(host, _)| host);
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        bare.eq_ignore_ascii_case("localhost")
            || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

/// Prints the short form, without `docker.io/` and `library/`.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let repository = &self.repository;
        let short =
            repository.strip_prefix("library/").filter(|rest| !rest.contains('/')).unwrap_or(repository);
        let looks_like_a_host = short.split_once('/').is_some_and(|(first, _)| is_host(first));
        if self.registry == DOCKER && !looks_like_a_host {
            f.write_str(short)?;
        } else {
            write!(f, "{}/{repository}", self.registry)?;
        }
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{}", digest_text(digest))?;
        }
        Ok(())
    }
}

/// Whether the first component of a name is a registry.
fn is_host(first: &str) -> bool {
    first.contains(['.', ':', '['])
        || first == "localhost"
        || first.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':').filter(|(_, port)| !port.contains(']')) {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let is_label = |label: &str| {
        let plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        plain && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.split('.').all(is_label),
    };
    is_host && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a path component is lower-case words separated by `.`, `_`, `__` or hyphens.
fn is_component(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_separator =
        |between: &str| matches!(between, "" | "." | "_" | "__") || between.bytes().all(|byte| byte == b'-');
    text.starts_with(is_plain) && text.ends_with(is_plain) && text.split(is_plain).all(is_separator)
}

fn is_tag(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= MAX_TAG
        && text.bytes().next().is_some_and(is_word)
        && text.bytes().all(|byte| is_word(byte) || byte == b'.' || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn reference_parse_names_have_docker_defaults() {
        let pinned = format!("debian:12@{DIGEST}");
        for (text, host, repository, target) in [
            ("debian", "registry-1.docker.io", "library/debian", "latest"),
            ("debian:12", "registry-1.docker.io", "library/debian", "12"),
            ("docker.io/debian:12", "registry-1.docker.io", "library/debian", "12"),
            ("index.docker.io/team/x", "registry-1.docker.io", "team/x", "latest"),
            ("library/a/b", "registry-1.docker.io", "library/a/b", "latest"),
            ("docker.io/localhost/x", "registry-1.docker.io", "localhost/x", "latest"),
            ("docker.io/team.example/x", "registry-1.docker.io", "team.example/x", "latest"),
            ("team/x__y.z--a:A_b.c", "registry-1.docker.io", "team/x__y.z--a", "A_b.c"),
            ("Registry.Example.org/a/b/c:1", "Registry.Example.org", "a/b/c", "1"),
            // A component with a capital letter is a host, so the short form keeps it.
            ("Mirror/a", "Mirror", "a", "latest"),
            ("docker.io/library/debian", "registry-1.docker.io", "library/debian", "latest"),
            ("localhost/x", "localhost", "x", "latest"),
            ("localhost:5000/x", "localhost:5000", "x", "latest"),
            ("[::1]:5000/x:1", "[::1]:5000", "x", "1"),
            (&pinned, "registry-1.docker.io", "library/debian", DIGEST),
        ] {
            let reference = Reference::parse(text).unwrap();
            assert_eq!(
                (reference.host(), reference.repository(), &*reference.target()),
                (host, repository, target),
                "{text}"
            );
            assert_eq!(Reference::parse(&reference.to_string()).unwrap(), reference);
        }
    }

    #[test]
    fn reference_parse_invalid_name_is_usage_error() {
        let long = "a".repeat(256);
        for text in [
            "",
            ":",
            "a:",
            "a@",
            "-a",
            "a/",
            "/a",
            "a//b",
            "A",
            "a b",
            "a\nb",
            "a___b",
            "a._b",
            "a:-b",
            "a:b/c:d:e",
            "a@sha256:12",
            "a@md5:00",
            "x.example:port/a",
            "-x.example/a",
            "x..example/a",
            "[x]/a",
            "x.example:+1/a",
            &long,
        ] {
            assert_eq!(Reference::parse(text).map_err(|error| error.code), Err(Code::Usage), "{text}");
        }
    }

    #[test]
    fn reference_pinned_keeps_tag() {
        assert_eq!(Reference::parse("debian:12").unwrap().pinned(DIGEST), format!("debian:12@{DIGEST}"));
        let both = Reference::parse(&format!("x.example/a@{DIGEST}")).unwrap();
        assert_eq!(both.pinned("sha256:00"), "x.example/a@sha256:00");
        assert_eq!(both.with_tag("2").unwrap().to_string(), "x.example/a:2");
        assert_eq!(both.with_tag("a/b"), None);
    }

    #[test]
    fn reference_is_loopback_similar_names_return_false() {
        for (text, loopback) in [
            ("localhost:5000/a", true),
            ("LocalHost/a", true),
            ("127.0.0.2/a", true),
            ("[::1]/a", true),
            ("localhost.example/a", false),
            ("10.0.0.1:127/a", false),
            ("127.example/a", false),
        ] {
            assert_eq!(Reference::parse(text).unwrap().is_loopback(), loopback, "{text}");
        }
    }

    proptest! {
        #[test]
        fn reference_display_parses_to_same_reference(text in "[a-zA-Z0-9._:/@\\[\\]-]{0,40}") {
            if let Ok(reference) = Reference::parse(&text) {
                prop_assert_eq!(Reference::parse(&reference.to_string()).unwrap(), reference);
            }
        }
    }
}
