//! Registry logins in `auths` of Docker's `config.json`.
//!
//! Credential helpers (`credsStore`, `credHelpers`) are not used because the sandbox runs no
//! other executables. Identity tokens are not used because they need the OAuth2 flow.

use crate::system::file;
use crate::transfer::net;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Maximum size of the file in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Logins by registry.
#[derive(Clone, Default, Deserialize)]
pub struct Credentials {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

/// Login as the value of an `Authorization` header.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Login {
    /// User name and password, for the registry or its token service.
    Basic(String),
    /// Token for the registry.
    Bearer(String),
}

impl Credentials {
    /// Reads `$DOCKER_CONFIG/config.json` or `$HOME/.docker/config.json`.
    ///
    /// Returns no logins if the file does not exist or is not valid.
    pub fn of_docker() -> Self {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let directory =
            variable("DOCKER_CONFIG").or_else(|| variable("HOME").map(|home| home.join(".docker")));
        directory.map(|directory| Self::of_file(&directory.join("config.json"))).unwrap_or_default()
    }

    /// Reads this file. Returns no logins if it cannot be read.
    pub fn of_file(path: &Path) -> Self {
        let content = file::read_named(path, MAX_FILE).ok();
        content.and_then(|content| serde_json::from_slice(&content).ok()).unwrap_or_default()
    }

    /// Returns the login for a registry. `registry` is [`super::Reference::registry`].
    pub(super) fn find(&self, registry: &str) -> Option<Login> {
        let (_, entry) = self.auths.iter().find(|(key, _)| host(key) == registry.to_ascii_lowercase())?;
        if !entry.registrytoken.is_empty() {
            return Some(Login::Bearer(format!("Bearer {}", entry.registrytoken)));
        }
        if !entry.identitytoken.is_empty() {
            return None;
        }
        if !entry.username.is_empty() {
            return Some(Login::Basic(net::basic(entry.username.as_bytes(), entry.password.as_bytes())));
        }
        let auth = entry.auth.trim();
        let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
        (!auth.is_empty() && auth.bytes().all(is_base64)).then(|| Login::Basic(format!("Basic {auth}")))
    }
}

/// Returns the host of a key. Keys are hosts or URLs, such as `https://index.docker.io/v1/`.
fn host(key: &str) -> String {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or_default().to_ascii_lowercase();
    match host.as_str() {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        _ => host,
    }
}

/// Prints the registries without the secrets.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.auths.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_find_registry_returns_its_login() {
        let credentials: Credentials = serde_json::from_str(
            r#"{"auths": {
                "https://index.docker.io/v1/": {"auth": "bWU6c2VjcmV0"},
                "Registry.example.org:5000": {"username": "me", "password": "secret"},
                "token.example.org": {"auth": "eA==", "registrytoken": "t"},
                "identity.example.org": {"auth": "eA==", "identitytoken": "t"},
                "helper.example.org": {},
                "odd.example.org": {"auth": "a\r\nX: y"}
            }, "credsStore": "desktop"}"#,
        )
        .unwrap();
        let basic = || Some(Login::Basic("Basic bWU6c2VjcmV0".to_owned()));
        for (registry, expected) in [
            ("docker.io", basic()),
            ("registry.example.org:5000", basic()),
            ("Registry.Example.org:5000", basic()),
            ("registry.example.org", None),
            ("token.example.org", Some(Login::Bearer("Bearer t".to_owned()))),
            ("identity.example.org", None),
            ("helper.example.org", None),
            ("odd.example.org", None),
        ] {
            assert!(credentials.find(registry) == expected, "{registry}");
        }
        let shown = format!("{credentials:?}");
        assert!(!shown.contains("secret") && !shown.contains("bWU"), "{shown}");
    }

    #[test]
    fn credentials_of_file_invalid_file_has_no_logins() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for content in ["", "[]", "{\"auths\": 5}", "{}"] {
            std::fs::write(file.path(), content).unwrap();
            assert!(Credentials::of_file(file.path()).find("docker.io").is_none());
        }
        assert!(Credentials::of_file(Path::new("/nonexistent")).auths.is_empty());
    }
}
