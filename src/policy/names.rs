//! Names of variables, options and configuration keys whose values are secret.

use memchr::memmem;

/// Parts of a name that make what it names a secret, in lower case.
const SECRET_WORDS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "api_key",
    "api-key",
    "accesskey",
    "access_key",
    "access-key",
    "private_key",
    "private-key",
    "privatekey",
    "encryption_key",
    "encryption-key",
    "signing_key",
    "master_key",
    "credential",
    "authkey",
    "auth_key",
    "auth-key",
    "cookie",
    "dsn",
];
/// Whole words (between `_`, `-` and `.`) that do so.
const SECRET_PARTS: &[&str] = &["pass", "pw", "pwd", "psk", "salt", "bearer", "auth", "key", "pin"];
/// Names that one of these ends tell where something is, or how it is handled, and not what it
/// is.
const PLAIN_ENDINGS: &[&str] = &[
    "_file",
    "-file",
    "_path",
    "-path",
    "_dir",
    "-dir",
    "_sock",
    "_socket",
    "_url_prefix",
    "_ttl",
    "_timeout",
    "_length",
    "_policy",
    "_method",
    "_type",
    "_enabled",
    "_header",
    "_name",
];
/// Names of every session and service that only look like secrets.
const PLAIN_NAMES: &[&str] =
    &["pwd", "oldpwd", "ssh_auth_sock", "xauthority", "invocation_id", "journal_stream"];
/// Whether what has this name is meant to be secret: a variable, an option or a key.
pub(crate) fn is_secret(name: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    let ends = |ending: &&str| name.ends_with(ending.as_bytes());
    if memmem::find(&name, b"public").is_some() {
        return false;
    }
    if PLAIN_NAMES.iter().any(|plain| name == plain.as_bytes()) || PLAIN_ENDINGS.iter().any(ends) {
        return false;
    }
    let has = |word: &&str| memmem::find(&name, word.as_bytes()).is_some();
    let mut parts = name.split(|byte| b"_-.".contains(byte));
    SECRET_WORDS.iter().any(has) || parts.any(|part| SECRET_PARTS.iter().any(|word| part == word.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_is_meant() {
        for (name, secret) in [
            ("DB_PASSWORD", true),
            ("PGPASSWORD", true),
            ("DB_PASS", true),
            ("SECRET_KEY_BASE", true),
            ("GITHUB_TOKEN", true),
            ("AWS_SECRET_ACCESS_KEY", true),
            ("--auth-token", true),
            ("spring.datasource.password", true),
            ("SENTRY_DSN", true),
            ("STRIPE_KEY", true),
            ("PATH", false),
            ("PUBLIC_KEY", false),
            ("KEYBOARD", false),
            ("PWD", false),
            ("COMPASS", false),
            ("DB_PASSWORD_FILE", false),
            ("KEYMAP", false),
            ("SSH_AUTH_SOCK", false),
            ("TOKEN_TTL", false),
            ("AUTHOR", false),
        ] {
            assert_eq!(is_secret(name.as_bytes()), secret, "{name}");
        }
    }
}
