//! What in environments and arguments is secret: by its name, else by its looks.
//!
//! A name is judged first, for it says what its owner meant; a value alone
//! counts only if nothing but a credential looks like it, because what is
//! withheld has to be given by hand.

use crate::policy::names;
use memchr::memmem;
use std::ops::Range;

/// How the values of well-known credentials begin: GitHub, GitLab, AWS, Slack, Stripe, Google, npm, PyPI, JWT.
const SECRET_BEGINNINGS: &[&str] = &[
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
/// A credential is no shorter.
const SHORTEST_BEGINNING: usize = 16;
/// Shorter values are found everywhere, so that looking for them in files would withhold half the machine.
const SHORTEST_SEARCHED: usize = 8;

/// The part of a value that can be nothing but a credential, whatever its name: a URL's password, a well-known token.
pub(super) fn secret_in_value(value: &[u8]) -> Option<Range<usize>> {
    if let Some(range) = password_in_url(value) {
        return Some(range);
    }
    let begins = |beginning: &&str| value.starts_with(beginning.as_bytes());
    (value.len() >= SHORTEST_BEGINNING && SECRET_BEGINNINGS.iter().any(begins)).then_some(0..value.len())
}

/// The secret part of a variable's value, if it has one.
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

/// For each word of a command line the part of it that is secret: `--password=X`, `--password X`, `db.password=X`,
/// `postgres://user:X@host`.
pub(super) fn secrets_in_arguments(words: &[impl AsRef<[u8]>]) -> Vec<Option<Range<usize>>> {
    let mut secrets = Vec::with_capacity(words.len());
    let mut expected = false;
    for (index, word) in words.iter().enumerate() {
        let word = word.as_ref();
        let named = std::mem::take(&mut expected);
        if index == 0 {
            secrets.push(None);
        } else if named && !word.starts_with(b"-") && !word.is_empty() && !is_path(word) && !is_switch(word) {
            secrets.push(Some(0..word.len()));
        } else if let Some(at) = memchr::memchr(b'=', word) {
            let value = secret_in_variable(&word[..at], &word[at + 1..]);
            secrets.push(value.map(|range| at + 1 + range.start..at + 1 + range.end));
        } else {
            expected = word.starts_with(b"-") && names::is_secret(word);
            secrets.push(secret_in_value(word));
        }
    }
    secrets
}

/// Whether a secret is so particular that files which hold it must hold it as a secret too.
pub(super) fn is_worth_searching(secret: &[u8]) -> bool {
    let classes: [fn(&u8) -> bool; 4] =
        [u8::is_ascii_lowercase, u8::is_ascii_uppercase, u8::is_ascii_digit, |byte| {
            !byte.is_ascii_alphanumeric() && !b"/.-_ ".contains(byte)
        }];
    let used = classes.iter().filter(|class| secret.iter().any(**class)).count();
    secret.len() >= SHORTEST_SEARCHED && used >= 2 && !secret.starts_with(b"/")
}

/// Where a secret lies rather than what it is.
fn is_path(value: &[u8]) -> bool {
    value.starts_with(b"/") && value[1..].contains(&b'/') && !value.contains(&b' ')
}

/// What a name that sounds secret is often only switched to.
fn is_switch(value: &[u8]) -> bool {
    let value = value.to_ascii_lowercase();
    matches!(&value[..], b"0" | b"1" | b"yes" | b"no" | b"true" | b"false" | b"on" | b"off" | b"none")
}

/// The password of `scheme://user:password@host` (RFC 3986, 3.2.1).
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
    fn values_tell_what_they_are() {
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
    fn arguments_are_judged_by_the_option_before_them() {
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
    fn common_words_are_not_searched_for() {
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
