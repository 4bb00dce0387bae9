//! Secrets without a name: a file that is one secret, and random values in texts that only their
//! owner and group can read.

use super::values::{is_placeholder, is_random, is_strong};
use super::{Detection, Kind, Secret, Tier};

/// Larger files are not looked at as a whole.
pub(super) const MOST: usize = 64 << 10;
/// Longest secret that is alone in its file: a MongoDB key file has 1024 characters.
const LONGEST: usize = 4096;
/// Longest value in a text; longer ones are data.
const LONGEST_VALUE: usize = 160;

/// Returns the secret in a complete text.
pub(super) fn search(text: &[u8], kind: Kind) -> Option<Detection> {
    let is_text = !text.iter().any(|byte| *byte < b' ' && !b"\t\r\n\x0c".contains(byte));
    if !is_text {
        return None;
    }
    if is_one_secret(text.trim_ascii(), kind) {
        let certain = kind.is_secluded || kind.is_named;
        return Some(Detection { certain, ..Detection::likely(Secret::Password) });
    }
    // Without mode and name, a random value is only likely a secret: lists have digests, too.
    let certain = kind.is_secluded || kind.is_named;
    let is_found = lines(text).any(|line| holds_value(line, kind.is_named));
    is_found.then_some(Detection { certain, ..Detection::likely(Secret::Password) })
}

/// Whether the text is one value and nothing else. Base64 can be on several lines.
fn is_one_secret(text: &[u8], kind: Kind) -> bool {
    if text.len() > LONGEST || text.is_empty() || text.starts_with(b"-----BEGIN ") {
        return false;
    }
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=\r\n".contains(byte);
    let value = match text.iter().any(u8::is_ascii_whitespace) {
        true if text.iter().all(is_base64)
            && text.split(|byte| *byte == b'\n').all(|line| line.len() >= 16) =>
        {
            text.split(|byte| *byte == b'\n').next().unwrap_or_default()
        }
        true => return false,
        false => text,
    };
    // A digest or a number of the machine is hexadecimal, and readable by everyone.
    let is_hex = value.iter().all(u8::is_ascii_hexdigit);
    let is_open = !kind.is_secluded && !kind.is_named;
    if is_placeholder(value) || is_open && (is_hex || kind.tier < Tier::Settings) {
        return false;
    }
    is_random(value) || kind.is_named && kind.is_secluded && value.len() >= 8
}

/// Lines without comments, certificates and public keys.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut is_public = false;
    text.split(|byte| *byte == b'\n').filter(move |line| {
        let line = line.trim_ascii();
        if line.starts_with(b"-----BEGIN ") {
            is_public = true;
        }
        let is_meant = !is_public
            && !line.starts_with(b"#")
            && !line.starts_with(b"ssh-")
            && !line.starts_with(b"ecdsa-");
        if line.starts_with(b"-----END ") {
            is_public = false;
        }
        is_meant
    })
}

/// Whether one of the values of a line is random.
fn holds_value(line: &[u8], is_named: bool) -> bool {
    let separates = |byte: &u8| byte.is_ascii_whitespace() || b"\"'`:;,<>(){}[]|&".contains(byte);
    let is_secret = |value: &[u8]| {
        // `SHA256:…`, `sha512-…`: digests. `AAAA…`: a public key of SSH.
        let is_public = value.starts_with(b"AAAA") || value.starts_with(b"sha");
        let is_hash = value.len() == 13 && is_des(value) && line.split(separates).next() != Some(value);
        (is_strong(value) || is_hash || is_named && is_random(value)) && !is_public && !is_placeholder(value)
    };
    let is_value = |value: &[u8]| {
        let parts = value.split(|byte| b"@=%".contains(byte)).filter(|part| !part.is_empty());
        value.len() <= LONGEST_VALUE
            && (is_secret(value) && !is_path_like(value)
                || parts.clone().count() > 1
                    && parts.into_iter().any(|part| is_secret(part) && !is_path_like(part)))
    };
    let mut values = line.split(separates).filter(|value| value.len() >= 12);
    !contains_digest(line) && values.any(is_value)
}

fn contains_digest(line: &[u8]) -> bool {
    [&b"SHA256:"[..], b"sha256-", b"sha512-", b"integrity", b"fingerprint"]
        .iter()
        .any(|name| memchr::memmem::find(line, name).is_some())
}

fn is_path_like(value: &[u8]) -> bool {
    value.iter().filter(|byte| **byte == b'/').count() >= 2 && value.iter().any(|byte| b".-_".contains(byte))
}

/// The hash of `crypt(3)` with DES: 13 characters, of both cases and digits.
fn is_des(value: &[u8]) -> bool {
    value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"./".contains(byte)) && is_random(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECLUDED: Kind = Kind { tier: Tier::Settings, is_secluded: true, is_named: false };
    const OPEN: Kind = Kind { tier: Tier::Settings, is_secluded: false, is_named: false };

    #[test]
    fn search_unnamed_value_in_secluded_text_is_certain() {
        for text in [
            "NpR7cVbX0wLsD4fGhJ9uEe3T\n",
            "https://cloud.corp.example/dav bob NpR7cVbX0wLsD4fGhJ9uEe3T\n",
            "[smtp.corp.example]:587 relay@corp.example:NpR7cVbX0wLsD4fGhJ9uEe3T\n",
            "bob:NpR7cVbX0wLsD:1\n",
            "db:5432:shop:shop:NpR7cVbX0wLsD4fG\n",
        ] {
            assert!(search(text.as_bytes(), SECLUDED).is_some_and(|found| found.certain), "{text}");
        }
        assert_eq!(search(b"NpR7cVbX0wLsD4fGhJ9uEe3T", OPEN), Some(Detection::likely(Secret::Password)));
    }

    #[test]
    fn search_unnamed_value_in_open_text_is_likely() {
        let text = b"client_send = : user : NpR7cVbX0wLsD4fGhJ9uEe3T\n";
        assert_eq!(search(text, OPEN), Some(Detection::likely(Secret::Password)));
        let named = Kind { is_named: true, ..OPEN };
        assert_eq!(search(text, named), Some(Detection::certain(Secret::Password)));
    }

    #[test]
    fn search_text_without_values_returns_none() {
        for text in [
            "",
            "# NpR7cVbX0wLsD4fGhJ9uEe3T\nserver 10.0.0.1\n",
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINpR7cVbX0wLsD4fG bob@host\n",
            "-----BEGIN CERTIFICATE-----\nMIIDdzCCAl+gAwIBAgIENpR7cVbX0wLsD4fG\n-----END CERTIFICATE-----\n",
            "local   all             postgres                                peer\n",
            "ExecStart=/usr/lib/postgresql/15/bin/postgres -D /var/lib/postgresql/15/main\n",
            "123e4567-e89b-12d3-a456-426614174000\n",
        ] {
            assert_eq!(search(text.as_bytes(), SECLUDED), None, "{text}");
        }
    }
}
