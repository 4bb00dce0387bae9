//! Finds secrets in environment variables and arguments, by name or by form.
//!
//! The name comes first because it states the owner's intention. Without a secret name, a value
//! counts only if its form is that of a credential, because the operator must provide every
//! withheld value by hand.

use crate::policy::content::{Kind, Search, Tier, options, values};
use crate::policy::names;
use memchr::memmem;
use std::ops::Range;

/// Minimum length of a value to search for, in bytes. Shorter values occur in many files by
/// chance.
const MIN_SEARCHED: usize = 8;
/// Maximum number of URLs in a value that are examined.
const MAX_URLS: usize = 64;

/// Returns the part of a value that is a credential by its form: a password in a URL, a token, or
/// a random word.
pub(super) fn secret_in_value(value: &[u8]) -> Option<Range<usize>> {
    if let Some(range) = password_in_url(value) {
        return Some(range);
    }
    let mut search = Search::new(Kind::from(Tier::Code));
    search.feed(value);
    if search.finish().is_some_and(|secret| secret.certain) {
        return Some(0..value.len());
    }
    let mut at = 0;
    value.split(|byte| b" \t\n=:,;'\"@".contains(byte)).find_map(|word| {
        let start = at;
        at += word.len() + 1;
        let is_secret = values::is_strong(word) && !values::is_path(word) && !values::is_placeholder(word);
        is_secret.then_some(start..start + word.len())
    })
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
/// `db.password=X`, `postgres://user:X@host`, `mysql -pX`, `sh -c 'exec app --password X'`. Of
/// several secrets in a word, the part from the first to the last is returned.
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
        } else if word.contains(&b' ') {
            secrets.push(union(secret_in_value(word), secret_in_script(word)));
        } else if let Some(at) = memchr::memchr(b'=', word) {
            let value = secret_in_variable(&word[..at], &word[at + 1..]);
            secrets.push(value.map(|range| at + 1 + range.start..at + 1 + range.end));
        } else {
            is_value_next = word.starts_with(b"-") && names::is_secret(word);
            secrets.push(secret_in_value(word));
        }
    }
    for (index, start) in options::in_words(words) {
        let range = start..words[index].as_ref().len();
        secrets[index] = union(secrets[index].take(), Some(range));
    }
    secrets
}

/// Returns the secret part of a command in one word, such as that of `sh -c`.
fn secret_in_script(script: &[u8]) -> Option<Range<usize>> {
    // A word of its own in front, because each command has its executable somewhere.
    let mut words: Vec<&[u8]> = vec![b""];
    let mut starts = vec![0];
    let mut at = 0;
    for word in script.split(|byte| byte.is_ascii_whitespace()) {
        let quotes = word.iter().take_while(|byte| b"'\"".contains(byte)).count();
        let end = word.len() - word[quotes..].iter().rev().take_while(|byte| b"'\";".contains(byte)).count();
        words.push(&word[quotes..end]);
        starts.push(at + quotes);
        at += word.len() + 1;
    }
    let secrets = secrets_in_arguments(&words).into_iter().zip(starts);
    let shifted = secrets.map(|(range, start)| range.map(|range| start + range.start..start + range.end));
    shifted.fold(None, union)
}

/// Returns the range that covers both.
fn union(one: Option<Range<usize>>, other: Option<Range<usize>>) -> Option<Range<usize>> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.start.min(other.start)..one.end.max(other.end)),
        (one, other) => one.or(other),
    }
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
    memmem::find_iter(value, b"://").take(MAX_URLS).find_map(|scheme| {
        let authority = scheme + 3;
        let length = value[authority..].iter().position(|byte| b"/?# '\"".contains(byte));
        let end = length.map_or(value.len(), |at| authority + at);
        let at = authority + memchr::memrchr(b'@', &value[authority..end])?;
        let colon = authority + memchr::memchr(b':', &value[authority..at])?;
        (colon + 1 < at).then_some(colon + 1..at)
    })
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
            ("glpat-a8Kq2ZtY5mNpR7cVbX0w", Some("glpat-a8Kq2ZtY5mNpR7cVbX0w")),
            ("exec shop --db mysql://r:s3cret@d/x", Some("s3cret")),
            ("a https://h/ b https://u:s3cret@h/", Some("s3cret")),
            ("NpR7cVbX0wLsD4fGhJ9uEe3T", Some("NpR7cVbX0wLsD4fGhJ9uEe3T")),
            ("/usr/lib/jvm/java-17-openjdk-amd64/bin/java", None),
            ("org.apache.catalina.startup.Bootstrap2Main", None),
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
            (&["mysql", "-pTr0ub4dor", "shop"], &[None, Some("Tr0ub4dor"), None]),
            (&["curl", "-u", "bob:Tr0ub4dor", "https://h"], &[None, None, Some("Tr0ub4dor"), None]),
            (&["sh", "-c", "exec shopd --password abc -v"], &[None, None, Some("abc")]),
            (&["sh", "-c", "mysql -pTr0ub4dor"], &[None, None, Some("Tr0ub4dor")]),
            (&["x", "-p", "NpR7cVbX0wLsD4fGhJ9uEe3T"], &[None, None, Some("NpR7cVbX0wLsD4fGhJ9uEe3T")]),
            (&["x", "-p", "8080"], &[None, None, None]),
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
