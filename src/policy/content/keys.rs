//! Private and shared keys, and containers of them.

use super::words::{base64_run, decode_base64, run, unspaced};
use super::{Detection, Secret, View};
use memchr::memmem;

/// Minimum length of a key's text, even for the shortest curve. Excerpts in documentation are
/// often shorter.
const SHORTEST_BODY: usize = 16;

/// Detects PEM (RFC 7468), OpenSSH, PGP (RFC 9580, 6.2) and OpenVPN keys. The key must follow the
/// label: patterns and error messages contain only the label.
pub(super) fn armoured(view: &View<'_>) -> Option<Detection> {
    let label = &view.after()[11..];
    let end = memmem::find(&label[..label.len().min(48)], b"-----")?;
    let (label, body) = (&label[..end], &label[end + 5..]);
    let has = |word: &[u8]| memmem::find(label, word).is_some();
    let secret = if has(b"PRIVATE KEY") {
        Secret::PrivateKey
    } else if label.starts_with(b"OpenVPN Static key") {
        Secret::SharedKey
    } else if has(b"TOKEN") || has(b"SECRET") || has(b"CREDENTIAL") {
        // Tools put tokens into armor of their own, such as `ARGO TUNNEL TOKEN`.
        Secret::AccessToken
    } else {
        return None;
    };
    has_body(body).then(|| Detection::certain(secret))
}

/// Whether base64 follows, after header lines and the quotes and operators that source code has
/// between lines.
fn has_body(body: &[u8]) -> bool {
    let mut rest = &body[..body.len().min(2048)];
    // Limits the number of headers and line ends. RFC 1421 keys have two headers, PGP keys up to
    // four.
    for _ in 0..16 {
        rest = &rest[run(rest, |byte| b" \t\r\n\"'+,|>#*;".contains(&byte))..];
        if let [b'\\', b'n' | b'r' | b't' | b'\\' | b'\n' | b'"', tail @ ..] = rest {
            rest = tail;
            continue;
        }
        let length = run(rest, |byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
        let tail = &rest[length..];
        if tail.starts_with(b": ") || tail.starts_with(b"-") {
            // `Proc-Type: 4,ENCRYPTED`
            let end = memchr::memchr(b'\n', tail).or_else(|| memmem::find(tail, b"\\n"));
            let Some(end) = end else { return false };
            rest = &tail[end..];
            continue;
        }
        return length >= SHORTEST_BODY && !tail.starts_with(b"..") && !tail.starts_with("…".as_bytes());
    }
    false
}

/// A private key's armour in base64, as Kubernetes and CI systems store it.
pub(super) fn in_base64(view: &View<'_>) -> Option<Detection> {
    let text = view.after();
    let aligned = match text[0] {
        b'L' => text,
        b'0' => &text[2..],
        _ => &text[1..],
    };
    let decoded = decode_base64(aligned, 256);
    let label = decoded.get(..decoded.len().min(64))?;
    let end = memmem::find(label, b"PRIVATE KEY")?;
    (decoded.len() >= end + 11 + 5 + SHORTEST_BODY).then(|| Detection::certain(Secret::PrivateKey))
}

/// PuTTY's `.ppk`.
pub(super) fn putty(view: &View<'_>) -> Option<Detection> {
    memmem::find(view.after(), b"Private-Lines:").map(|_| Detection::certain(Secret::PrivateKey))
}

/// The format of SSH 1, which OpenSSH wrote until 2017.
pub(super) fn ssh1(view: &View<'_>) -> Option<Detection> {
    view.after()[31..].starts_with(b"\n\0").then(|| Detection::certain(Secret::PrivateKey))
}

/// BIND's `K*.private`.
pub(super) fn dnssec(view: &View<'_>) -> Option<Detection> {
    let has = |name: &[u8]| memmem::find(view.after(), name).is_some();
    (has(b"\nPrivateKey:") || has(b"\nPrivateExponent:") || has(b"\nKey:"))
        .then(|| Detection::certain(Secret::PrivateKey))
}

/// `wg(8)`: 32 bytes in base64 after `PrivateKey =` or `PresharedKey =`.
pub(super) fn wireguard(view: &View<'_>) -> Option<Detection> {
    let after = view.after();
    let value = unspaced(&after[base64_run(after)..]).strip_prefix(b"=")?;
    let value = unspaced(value);
    let secret = if after.starts_with(b"Pre") { Secret::SharedKey } else { Secret::PrivateKey };
    let is_key =
        base64_run(value) == 43 && value.get(43) == Some(&b'=') && super::words::is_mixed(&value[..43]);
    is_key.then(|| Detection::certain(secret))
}

/// `age-keygen(1)`: Bech32 in upper case.
pub(super) fn age(view: &View<'_>) -> Option<Detection> {
    let key = &view.after()[16..];
    (run(key, |byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()) >= 58)
        .then(|| Detection::certain(Secret::PrivateKey))
}

/// `named.conf(5)`: `algorithm hmac-sha256; secret "...";`.
pub(super) fn tsig(view: &View<'_>) -> Option<Detection> {
    let after = &view.after()[8..];
    let algorithm = &after[run(after, |byte| b" \t\"".contains(&byte))..];
    let rest = algorithm.strip_prefix(b"hmac-")?;
    let rest = &rest[..rest.len().min(256)];
    let secret = unspaced(&rest[memmem::find(rest, b"secret")? + 6..]);
    let secret = secret.strip_prefix(b"\"").unwrap_or(secret);
    let length = base64_run(secret);
    (length >= 16 && super::values::is_random(&secret[..length]))
        .then(|| Detection::certain(Secret::SharedKey))
}

/// `private-keys-v1.d/*.key` of GnuPG, in either of its forms.
pub(super) fn gnupg(view: &View<'_>) -> Option<Detection> {
    let has_parameter = memmem::find(&view.after()[..view.after().len().min(512)], b"(").is_some();
    has_parameter.then(|| Detection::certain(Secret::PrivateKey))
}

/// `hs_ed25519_secret_key` of Tor.
pub(super) fn tor(view: &View<'_>) -> Option<Detection> {
    (view.before() == b"== ").then(|| Detection::certain(Secret::PrivateKey))
}

/// Whether a file that begins so is a container of keys, by its magic number.
pub(super) fn is_store(head: &[u8]) -> bool {
    match head {
        // Kerberos keytab, version 2, whose first entry is no longer than any is.
        [5, 2, 0, 0, high, _, ..] => *high < 4 && head.len() > 20,
        [0xfe, 0xed, 0xfe, 0xed, rest @ ..] | [0xce, 0xce, 0xce, 0xce, rest @ ..] => {
            has_java_key(rest) == Some(true)
        }
        [3, 0xd9, 0xa2, 0x9a, ..] => true,
        [b'L', b'U', b'K', b'S', 0xba, 0xbe, ..] => true,
        [0x30, 0x80..=0x84, ..] => is_pkcs12_with_key(head),
        _ => false,
    }
}

/// Whether a Java key store (`sun.security.provider.JavaKeyStore`) has a private key. Each entry
/// has a tag: 1 for a private key, 2 for a certificate. A store of only certificates is public,
/// such as `/etc/ssl/certs/java/cacerts`. Returns `None` if the store is truncated before its
/// first private key.
fn has_java_key(mut rest: &[u8]) -> Option<bool> {
    fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
        let taken;
        (taken, *rest) = rest.split_at_checked(count)?;
        Some(taken)
    }
    fn number(rest: &mut &[u8], bytes: usize) -> Option<usize> {
        Some(take(rest, bytes)?.iter().fold(0, |number, &byte| number << 8 | usize::from(byte)))
    }
    let rest = &mut rest;
    let (_, count) = (number(rest, 4)?, number(rest, 4)?);
    for _ in 0..count {
        if number(rest, 4)? != 2 {
            return Some(true);
        }
        let alias = number(rest, 2)?;
        take(rest, alias + 8)?;
        let kind = number(rest, 2)?;
        take(rest, kind)?;
        let certificate = number(rest, 4)?;
        take(rest, certificate)?;
    }
    Some(false)
}

/// Whether a PKCS #12 file (RFC 7292) has a key bag, encrypted or not. Stores of certificates
/// have none.
fn is_pkcs12_with_key(head: &[u8]) -> bool {
    const DATA: &[u8] = b"\x02\x01\x03\x30";
    const BAG: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01";
    let begins = memmem::find(&head[..head.len().min(12)], DATA).is_some();
    let bag = |at: usize| matches!(head.get(at + BAG.len()), Some(1 | 2));
    begins && memmem::find_iter(head, BAG).any(bag)
}

/// A private key in DER: PKCS #8 (RFC 5958), PKCS #1 (RFC 8017, A.1.2), SEC 1 (RFC 5915).
pub(super) fn is_der_key(head: &[u8]) -> bool {
    let body = match head {
        [0x30, 0x82, _, _, body @ ..] | [0x30, 0x81, _, body @ ..] => body,
        [0x30, length @ 0x20..=0x7f, body @ ..] if body.len() == usize::from(*length) => body,
        _ => return false,
    };
    match body {
        // Version, algorithm, octets.
        [2, 1, 0 | 1, 0x30, length, 6, rest @ ..] if *length >= 5 => {
            rest.get(usize::from(*length) - 1) == Some(&4)
        }
        // Version, modulus of at least 1024 bits with a leading zero.
        [2, 1, 0, 2, 0x81, 0x81, 0, ..] | [2, 1, 0, 2, 0x82, _, _, 0, ..] => true,
        // Version, 32 to 66 octets, the curve or the public key.
        [2, 1, 1, 4, length @ 32..=66, rest @ ..] => {
            matches!(rest.get(usize::from(*length)), Some(0xa0 | 0xa1))
        }
        _ => false,
    }
}
