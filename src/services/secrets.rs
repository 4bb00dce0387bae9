//! Finds secrets in environment variables and arguments, by name or by form.
//!
//! The name comes first because it states the owner's intention. Without a secret name, a value
//! counts only if its form is that of a credential, because the operator must provide every
//! withheld value by hand.

use crate::policy::names;
use memchr::memmem;
use std::ops::Range;

/// Prefixes of well-known credentials: GitHub, GitLab, AWS, Slack, Stripe, Google, npm, PyPI,
/// JWT.
const TOKEN_PREFIXES: &[&str] = &[
    "ghp_",
    "gho_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "AKIA",
    "ASIA",
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "sk_live_",
    "rk_live_",
    "AIza",
    "npm_",
    "pypi-",
    "eyJ",
    "-----BEGIN ",
];
/// Minimum length of a credential with such a prefix, in bytes.
const MIN_TOKEN: usize = 16;
/// Minimum length of a value to search for, in bytes. Shorter values occur in many files by
/// chance.
const MIN_SEARCHED: usize = 8;

/// Returns the part of a value that is a credential by its form: a password in a URL, or a
/// well-known token.
pub(super) fn secret_in_value(value: &[u8]) -> Option<Range<usize>> {
    if let Some(range) = password_in_url(value) {
        return Some(range);
    }
    let has_prefix = |prefix: &&str| value.starts_with(prefix.as_bytes());
    (value.len() >= MIN_TOKEN && TOKEN_PREFIXES.iter().any(has_prefix)).then_some(0..value.len())
}

/// Returns the secret part of a variable's value.
pub(super) fn secret_in_variable(name: &[u8], value: &[u8]) -> Option<Range<usize>> {
    if value.is_empty() {
        return None;
    }
    if names::is_secret(name) && !is_switch(value) && !is_path(value) {
        Some(0..value.len())
    } else {
        secret_in_value(value)
    }
}

/// Returns the secret part of each word of a command line: `--password=X`, `--password X`,
/// `db.password=X`, `postgres://user:X@host`.
pub(super) fn secrets_in_arguments(words: &[impl AsRef<[u8]>]) -> Vec<Option<Range<usize>>> {
    let mut secrets = Vec::with_capacity(words.len());
    let mut is_value_next = false;
    for (index, word) in words.iter().enumerate() {
        let word = word.as_ref();
        let is_secret_value = std::mem::take(&mut is_value_next);
        // The first word is the executable.
        if index == 0 {
            secrets.push(None);
        } else if is_secret_value
            && !word.starts_with(b"-")
            && !word.is_empty()
            && !is_path(word)
            && !is_switch(word)
        {
            secrets.push(Some(0..word.len()));
        } else if let Some(at) = memchr::memchr(b'=', word) {
            let value = secret_in_variable(&word[..at], &word[at + 1..]);
            secrets.push(value.map(|range| at + 1 + range.start..at + 1 + range.end));
        } else {
            is_value_next = word.starts_with(b"-") && names::is_secret(word);
            secrets.push(secret_in_value(word));
        }
    }
    secrets
}

/// Returns whether a secret is distinctive enough to search files for it.
pub(super) fn is_worth_searching(secret: &[u8]) -> bool {
    let classes: [fn(&u8) -> bool; 4] =
        [u8::is_ascii_lowercase, u8::is_ascii_uppercase, u8::is_ascii_digit, |byte| {
            !byte.is_ascii_alphanumeric() && !b"/.-_ ".contains(byte)
        }];
    // A word of one class, such as "postgres", occurs in files that contain no secret.
    let used = classes.iter().filter(|class| secret.iter().any(**class)).count();
    secret.len() >= MIN_SEARCHED && used >= 2 && !secret.starts_with(b"/")
}

/// Returns whether a value is the path of a secret rather than the secret.
fn is_path(value: &[u8]) -> bool {
    value.starts_with(b"/") && value[1..].contains(&b'/') && !value.contains(&b' ')
}

/// Returns whether a value is a boolean option, such as `--use-password=yes`.
fn is_switch(value: &[u8]) -> bool {
    let value = value.to_ascii_lowercase();
    matches!(&value[..], b"0" | b"1" | b"yes" | b"no" | b"true" | b"false" | b"on" | b"off" | b"none")
}

/// Returns the password of `scheme://user:password@host` (RFC 3986, section 3.2.1).
fn password_in_url(value: &[u8]) -> Option<Range<usize>> {
    let authority = memmem::find(value, b"://")? + 3;
    let end = value[authority..]
        .iter()
        .position(|byte| b"/?# ".contains(byte))
        .map_or(value.len(), |at| authority + at);
    let at = authority + memchr::memrchr(b'@', &value[authority..end])?;
    let colon = authority + memchr::memchr(b':', &value[authority..at])?;
    (colon + 1 < at).then_some(colon + 1..at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_in_value_each_form_returns_its_secret_part() {
        for (value, secret) in [
            ("postgres://shop:s3cret@db.example.org/shop", Some("s3cret")),
            ("redis://:s3cret@localhost:6379", Some("s3cret")),
            ("https://example.org/a:b@c", None),
            ("http://user@example.org/", None),
            ("ghp_0123456789abcdefghij", Some("ghp_0123456789abcdefghij")),
            ("-----BEGIN PRIVATE KEY-----", Some("-----BEGIN PRIVATE KEY-----")),
            ("AKIA", None),
            ("/etc/shop/config.yml", None),
        ] {
            let found = secret_in_value(value.as_bytes()).map(|range| &value[range]);
            assert_eq!(found, secret, "{value}");
        }
    }

    #[test]
    fn secrets_in_arguments_secret_option_returns_its_value() {
        let cases: &[(&[&str], &[Option<&str>])] = &[
            (&["x", "--password=abc"], &[None, Some("abc")]),
            (&["x", "--token", "abc", "more"], &[None, None, Some("abc"), None]),
            (&["x", "--token", "--verbose"], &[None, None, None]),
            (&["x", "-Ddb.password=abc"], &[None, Some("abc")]),
            (&["x", "--db", "mysql://u:abc@h/d"], &[None, None, Some("abc")]),
            (&["x", "--password-file=/etc/x"], &[None, None]),
            (&["x", "--secret=true"], &[None, None]),
            (&["x", "--key", "/etc/ssl/private/x.key"], &[None, None, None]),
            (&["x", "--key=/etc/ssl/private/x.key"], &[None, None]),
            (&["--password", "y"], &[None, None]),
            (&["x", "--url=amqp://u:abc@h"], &[None, Some("abc")]),
        ];
        for (words, secrets) in cases {
            let found = secrets_in_arguments(words);
            let found: Vec<_> =
                words.iter().zip(found).map(|(word, range)| range.map(|range| &word[range])).collect();
            assert_eq!(found, *secrets, "{words:?}");
        }
    }

    #[test]
    fn is_worth_searching_common_word_returns_false() {
        for (secret, worth) in [
            ("postgres", false),
            ("s3cret-99", true),
            ("short1", false),
            ("/etc/password1", false),
            ("Tr0ub4dor", true),
        ] {
            assert_eq!(is_worth_searching(secret.as_bytes()), worth, "{secret}");
        }
    }
}
