//! Hashes of passwords, and passwords in forms that have nothing else in their place.

use super::values::{self, is_placeholder};
use super::words::{decode_base64, run, unspaced};
use super::{Detection, Secret, Tier, View};
use memchr::memmem;

/// A hash as `crypt(5)`, Apache, LDAP, PHP's frameworks, Django and PostgreSQL store it.
pub(super) fn hash(view: &View<'_>) -> Option<Detection> {
    let after = view.after();
    let after = &after[..after.len().min(512)];
    let is_hash = match after {
        [b'$', b'2', _, b'$', cost @ ..] => {
            cost.get(2) == Some(&b'$') && cost[..2].iter().all(u8::is_ascii_digit) && itoa64(&cost[3..]) == 53
        }
        [b'$', b'S' | b'P' | b'H', b'$', rest @ ..] => matches!(itoa64(rest), 31 | 52),
        [b'$', b'a', b'p', ..] => holds(&after[6..], 22),
        [b'$', b'a', ..] => last_part(after, 3).is_some_and(|part| part >= 20),
        [b'$', b'1', b'$', rest @ ..] => holds(rest, 22),
        [b'$', b'5', b'$', rest @ ..] => holds(without_rounds(rest), 43),
        [b'$', b'6', b'$', rest @ ..] => holds(without_rounds(rest), 86),
        [b'$', ..] => last_part(after, 3).is_some_and(|part| part >= 42),
        [b'{', ..] => {
            let value = memchr::memchr(b'}', &after[..after.len().min(12)]).map(|end| &after[end + 1..]);
            value.is_some_and(|value| run(value, |byte| is_base64(byte) || byte == b'=') >= 32)
        }
        _ => last_part(after, 2).is_some_and(|part| part >= 40),
    };
    (is_hash && !is_example(after)).then(|| Detection::certain(Secret::PasswordHash))
}

/// Hashes of one character again and again, as manuals have them.
fn is_example(hash: &[u8]) -> bool {
    let end = &hash[..run(hash, |byte| !byte.is_ascii_whitespace() && !b":'\"".contains(&byte))];
    let tail = &end[end.len().saturating_sub(16)..];
    super::words::entropy(tail) < 2.0
}

/// Salt and hash of this length.
fn holds(rest: &[u8], length: usize) -> bool {
    let salt = itoa64(rest);
    salt <= 16 && rest.get(salt) == Some(&b'$') && itoa64(&rest[salt + 1..]) == length
}

fn without_rounds(rest: &[u8]) -> &[u8] {
    match rest.strip_prefix(b"rounds=") {
        Some(count) => {
            count[run(count, |byte| byte.is_ascii_digit())..].strip_prefix(b"$").unwrap_or_default()
        }
        None => rest,
    }
}

/// How many bytes are of the alphabet of `crypt(5)`.
fn itoa64(bytes: &[u8]) -> usize {
    run(bytes, |byte| byte.is_ascii_alphanumeric() || b"./".contains(&byte))
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/".contains(&byte)
}

/// Length of the last part, which `$` parts from at least `least` others.
fn last_part(text: &[u8], least: usize) -> Option<usize> {
    let end = run(text, |byte| is_base64(byte) || b"$=,.:_-".contains(&byte));
    let mut parts = text[..end].rsplit(|&byte| byte == b'$');
    let last = parts.next()?;
    let last = &last[..run(last, |byte| is_base64(byte) || b".:=".contains(&byte))];
    (parts.count() >= least).then_some(last.len())
}

/// `scheme://user:password@host`; the anchor is `://`.
pub(super) fn url(view: &View<'_>) -> Option<Detection> {
    /// User, password and host together are no longer.
    const LONGEST: usize = 512;
    if !view.before().last().is_some_and(u8::is_ascii_alphanumeric) {
        return None;
    }
    let authority = &view.after()[3..];
    let end = run(&authority[..authority.len().min(LONGEST)], |byte| {
        byte > b' ' && byte < 0x7f && !b"/?#\"'<>\\^`|".contains(&byte)
    });
    let authority = &authority[..end];
    let at = memchr::memrchr(b'@', authority)?;
    let (login, host) = (&authority[..at], &authority[at + 1..]);
    let colon = memchr::memchr(b':', login)?;
    let (user, password) = (&login[..colon], &login[colon + 1..]);
    let is_plain = |text: &[u8]| !text.iter().any(|byte| b"()[]{}*|".contains(byte));
    if !is_plain(user) || password.len() < 3 || is_placeholder(password) || !is_host(host) {
        return None;
    }
    // Introductions and manuals use these as examples.
    let is_example = has(host, b"example.") || host == b"host" || host == b"hostname";
    let is_word = password.iter().all(u8::is_ascii_alphabetic);
    if is_example && is_word || !is_plain(password) {
        return None;
    }
    let is_trivial = password == user;
    Some(if is_trivial {
        Detection::likely(Secret::UrlPassword)
    } else {
        Detection::certain(Secret::UrlPassword)
    })
}

fn is_host(host: &[u8]) -> bool {
    let end = run(host, |byte| byte.is_ascii_alphanumeric() || b".-_:[],".contains(&byte));
    end > 0 && host[..end].iter().any(u8::is_ascii_alphanumeric)
}

fn has(text: &[u8], part: &[u8]) -> bool {
    memmem::find(text, part).is_some()
}

/// `netrc(5)`: `machine HOST login USER password VALUE`.
pub(super) fn netrc(view: &View<'_>) -> Option<Detection> {
    if !view.begins_word() {
        return None;
    }
    let after = view.after();
    let mut words =
        after[..after.len().min(512)].split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let (machine, _) = (words.next()?, words.next()?);
    let mut seen = 0;
    while let (Some(name), Some(value)) = (words.next(), words.next()) {
        match name {
            b"login" | b"account" => seen += 1,
            b"password" if seen > 0 => {
                let is_value = machine == b"machine" && !is_placeholder(value);
                return is_value.then(|| Detection::certain(Secret::Login));
            }
            _ => return None,
        }
    }
    None
}

/// `"auth": "..."` of Docker's `config.json`: user and password in base64.
pub(super) fn registry(view: &View<'_>) -> Option<Detection> {
    let value = unspaced(unspaced(&view.after()[6..]).strip_prefix(b":")?).strip_prefix(b"\"")?;
    holds_login(value).then(|| Detection::certain(Secret::Login))
}

/// `Authorization: Basic ...`, `Bearer ...` and other schemes (RFC 7617, RFC 6750), as a header or
/// as a value with this name.
pub(super) fn header(view: &View<'_>) -> Option<Detection> {
    let rest = &view.after()[12..];
    let rest = &rest[run(rest, |byte| b" \t\"'\\]:=>,".contains(&byte)).min(16)..];
    let scheme = run(rest, |byte| byte.is_ascii_alphabetic() || byte == b'-');
    if scheme > 16 {
        return None;
    }
    let value = unspaced(&rest[scheme..]);
    let is_secret = match &rest[..scheme] {
        _ if value.len() == rest.len() - scheme => false,
        b"Basic" | b"basic" => holds_login(value),
        b"Bearer" | b"bearer" | b"Token" | b"token" | b"Bot" | b"Key" | b"ApiKey" | b"GenieKey"
        | b"GoogleLogin" => {
            let value = value.strip_prefix(b"token=").unwrap_or(value);
            is_token(value.strip_prefix(b"\"").unwrap_or(value))
        }
        _ => false,
    };
    is_secret.then(|| Detection::certain(Secret::Login))
}

/// `Bearer ...` in an argument or a value without the name of the header.
pub(super) fn bearer(view: &View<'_>) -> Option<Detection> {
    let value = view.after()[5..].strip_prefix(b" ")?;
    is_token(value).then(|| match view.kind.tier {
        Tier::Code => Detection::likely(Secret::Login),
        _ => Detection::certain(Secret::Login),
    })
}

fn is_token(value: &[u8]) -> bool {
    let token = &value[..run(value, |byte| is_base64(byte) || b"._-~=".contains(&byte)).min(512)];
    token.len() >= 20 && values::is_random(token) && !is_placeholder(token)
}

/// `{PLAIN}x` and `{CLEARTEXT}x` in password files of Dovecot and LDAP.
pub(super) fn scheme(view: &View<'_>) -> Option<Detection> {
    let after = view.after();
    let rest = after
        .strip_prefix(b"{PLAIN}")
        .or_else(|| after.strip_prefix(b"{CLEARTEXT}"))
        .or_else(|| after.strip_prefix(b"{CLEAR}"))
        .or_else(|| after.strip_prefix(b"{PLAIN-MD5}"))?;
    let value = &rest[..run(rest, |byte| byte > b' ' && !b":\"'`<,)".contains(&byte)).min(256)];
    (value.len() >= 3 && !is_placeholder(value)).then(|| match values::strength(value) {
        values::Strength::Word => Detection::likely(Secret::Password),
        _ => Detection::certain(Secret::Password),
    })
}

fn holds_login(value: &[u8]) -> bool {
    let decoded = decode_base64(&value[..value.len().min(1024)], 768);
    let is_text = decoded.iter().all(|byte| byte.is_ascii_graphic() || *byte >= 0x80);
    memchr::memchr(b':', &decoded).is_some_and(|colon| {
        let (user, password) = (&decoded[..colon], &decoded[colon + 1..]);
        is_text && !user.is_empty() && password.len() >= 3 && !is_placeholder(password)
    })
}
