//! Names of variables, options and configuration keys whose values are secret.

use memchr::memmem;

/// How much a name says about its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Meaning {
    /// Something that is often secret: a key, a cookie, a salt.
    Key,
    /// A credential that programs generate: an access token, an API key.
    Token,
    /// A password.
    Password,
}

/// Parts of words that mean a password.
const PASSWORD_PARTS: &[&str] = &["password", "passwd", "passphrase", "passwort", "passcode", "secret"];
/// Words that mean a password.
const PASSWORD_WORDS: &[&str] =
    &["pass", "passw", "pw", "pwd", "psk", "pin", "requirepass", "masterauth", "rocommunity", "rwcommunity"];
/// Words that end like a password and are none.
const OTHER_WORDS: &[&str] =
    &["bypass", "compass", "encompass", "multipass", "subpass", "surpass", "trespass"];
/// Parts of words that mean a token.
const TOKEN_PARTS: &[&str] = &["token", "credential", "apikey", "accesskey", "privatekey", "authkey"];
/// Words before `key` that make it a token.
const KEY_KINDS: &[&str] = &[
    "access",
    "account",
    "admin",
    "aes",
    "api",
    "app",
    "application",
    "auth",
    "cipher",
    "client",
    "crypt",
    "crypto",
    "deploy",
    "encryption",
    "hmac",
    "jwt",
    "license",
    "master",
    "preshared",
    "private",
    "server",
    "service",
    "session",
    "shared",
    "signing",
    "ssh",
    "storage",
    "stripe",
    "webhook",
    "write",
];
/// Words before `key` that make it a name or a place.
const KEY_PLACES: &[&str] = &[
    "cache",
    "column",
    "composite",
    "config",
    "dict",
    "field",
    "foreign",
    "group",
    "host",
    "hot",
    "index",
    "label",
    "lookup",
    "map",
    "object",
    "parent",
    "partition",
    "primary",
    "registry",
    "route",
    "row",
    "search",
    "shortcut",
    "sort",
    "translation",
    "unique",
];
/// Words that often mean a secret.
const KEY_WORDS: &[&str] = &[
    "auth", "authinfo", "bearer", "cookie", "dsn", "key", "keys", "mnemonic", "otp", "salt", "seed", "totp",
];
/// Last words of names that tell where something is, or how it is handled, and not what it is.
const PLAIN_WORDS: &[&str] = &[
    "age",
    "algorithm",
    "algorithms",
    "attribute",
    "attributes",
    "authentication",
    "authenticator",
    "backend",
    "chars",
    "check",
    "checker",
    "class",
    "column",
    "command",
    "count",
    "dir",
    "directory",
    "enabled",
    "encoder",
    "encoding",
    "encryption",
    "endpoint",
    "error",
    "expire",
    "expires",
    "expiry",
    "factory",
    "field",
    "file",
    "files",
    "filename",
    "format",
    "generator",
    "header",
    "hint",
    "id",
    "input",
    "label",
    "length",
    "lifetime",
    "limit",
    "location",
    "manager",
    "max",
    "message",
    "method",
    "min",
    "mode",
    "module",
    "name",
    "names",
    "path",
    "pattern",
    "plugin",
    "policy",
    "port",
    "prefix",
    "prompt",
    "provider",
    "quality",
    "ref",
    "regex",
    "required",
    "reset",
    "scheme",
    "script",
    "section",
    "service",
    "size",
    "sock",
    "socket",
    "store",
    "strength",
    "suffix",
    "timeout",
    "title",
    "ttl",
    "type",
    "url",
    "uri",
    "user",
    "username",
    "validator",
    "validity",
    "version",
];
/// Names of every session and service that only look like secrets, and settings that name a file
/// with a secret (systemd.exec(5)).
const PLAIN_NAMES: &[&str] = &[
    "ssh_auth_sock",
    "xauthority",
    "invocation_id",
    "journal_stream",
    "loadcredential",
    "loadcredentialencrypted",
    "importcredential",
];

/// Whether what has this name is meant to be secret: a variable, an option or a key.
pub(crate) fn is_secret(name: &[u8]) -> bool {
    meaning(name).is_some()
}

/// Returns what a name means; `None` if it does not mean a secret.
pub(crate) fn meaning(name: &[u8]) -> Option<Meaning> {
    let lower = name.to_ascii_lowercase();
    let is = |list: &[&str], word: &[u8]| list.iter().any(|one| one.as_bytes() == word);
    let has =
        |parts: &[&str], word: &[u8]| parts.iter().any(|part| memmem::find(word, part.as_bytes()).is_some());
    let is_directory = matches!(name, b"PWD" | b"OLDPWD");
    if memmem::find(&lower, b"public").is_some() || is(PLAIN_NAMES, &lower) || is_directory {
        return None;
    }
    let words = words(name);
    let last = words.iter().rev().find(|word| !word.iter().all(u8::is_ascii_digit))?;
    if is(PLAIN_WORDS, last) {
        return None;
    }
    let is_password = |word: &Vec<u8>| {
        let ending = [&b"pass"[..], b"pwd", b"pw", b"psk"].iter().any(|end| word.ends_with(end));
        is(PASSWORD_WORDS, word)
            || has(PASSWORD_PARTS, word)
            || ending && word.len() <= 16 && !is(OTHER_WORDS, word)
    };
    let before = |at: usize| at.checked_sub(1).map(|at| &words[at]);
    let is_key = |word: &[u8]| word == b"key" || word == b"keys";
    if words.iter().any(is_password) {
        // `secret_key` and the like are generated, but people choose them as well.
        return Some(Meaning::Password);
    }
    let is_token = |(at, word): (usize, &Vec<u8>)| {
        has(TOKEN_PARTS, word) || is_key(word) && before(at).is_some_and(|kind| is(KEY_KINDS, kind))
    };
    if words.iter().enumerate().any(is_token) {
        return Some(Meaning::Token);
    }
    let is_often = |(at, word): (usize, &Vec<u8>)| {
        let is_place = is_key(word) && before(at).is_some_and(|kind| is(KEY_PLACES, kind));
        (is(KEY_WORDS, word) || has(&["cookie"], word)) && !is_place
    };
    words.iter().enumerate().any(is_often).then_some(Meaning::Key)
}

/// Returns the words of a name in lower case: parted by signs, or in camel case.
fn words(name: &[u8]) -> Vec<Vec<u8>> {
    let mut words: Vec<Vec<u8>> = Vec::new();
    let mut before = b'_';
    for (at, &byte) in name.iter().enumerate() {
        let is_part = byte.is_ascii_alphanumeric();
        // `apiKey`, `APIKey`.
        let ends_capitals =
            before.is_ascii_uppercase() && name.get(at + 1).is_some_and(u8::is_ascii_lowercase);
        let begins = !before.is_ascii_alphanumeric()
            || byte.is_ascii_uppercase() && (before.is_ascii_lowercase() || ends_capitals);
        match words.last_mut() {
            Some(word) if is_part && !begins => word.push(byte.to_ascii_lowercase()),
            _ if is_part => words.push(vec![byte.to_ascii_lowercase()]),
            _ => {}
        }
        before = byte;
    }
    words
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
            ("DB_PW", true),
            ("dbpass", true),
            ("olcRootPW", true),
            ("bindpw", true),
            ("wpa-psk", true),
            ("PIN_CODE", true),
            ("SECRET_KEY_BASE", true),
            ("GITHUB_TOKEN", true),
            ("AWS_SECRET_ACCESS_KEY", true),
            ("--auth-token", true),
            ("spring.datasource.password", true),
            ("userPassword", true),
            ("npmAuthToken", true),
            ("jwtSigningKey", true),
            ("SENTRY_DSN", true),
            ("STRIPE_KEY", true),
            ("password1", true),
            ("PATH", false),
            ("PUBLIC_KEY", false),
            ("KEYBOARD", false),
            ("PWD", false),
            ("COMPASS", false),
            ("DB_PASSWORD_FILE", false),
            ("passwordResetTokenExpiry", false),
            ("PasswordAuthentication", false),
            ("password_encryption", false),
            ("tokenUrl", false),
            ("primary_key", false),
            ("KEYMAP", false),
            ("SSH_AUTH_SOCK", false),
            ("TOKEN_TTL", false),
            ("AUTHOR", false),
            ("LoadCredential", false),
        ] {
            assert_eq!(is_secret(name.as_bytes()), secret, "{name}");
        }
    }

    #[test]
    fn meaning_of_names_is_graded() {
        for (name, meaning) in [
            ("smtp_password", Meaning::Password),
            ("client_secret", Meaning::Password),
            ("api_key", Meaning::Token),
            ("accessToken", Meaning::Token),
            ("CF_Key", Meaning::Key),
            ("auth", Meaning::Key),
        ] {
            assert_eq!(super::meaning(name.as_bytes()), Some(meaning), "{name}");
        }
    }
}
