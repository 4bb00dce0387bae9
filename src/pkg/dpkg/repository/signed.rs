//! Signed text: the cleartext signature framework (RFC 9580, section 7) and detached signatures.
//!
//! rPGP needs quadratic time to find the end of the text, which a hostile mirror could exploit.
//! Therefore the text is parsed here.

use super::keyring::{Keyring, SignatureError};
use pgp::packet::{Packet, PacketParser, Signature};
use std::io::BufReader;

const BEGIN: &[u8] = b"-----BEGIN PGP SIGNED MESSAGE-----";
const SIGNATURE: &[u8] = b"-----BEGIN PGP SIGNATURE-----";
const END: &[u8] = b"-----END PGP SIGNATURE-----";
/// Maximum number of signatures. Release files have up to five; each needs a digest of the
/// complete text.
const MAX_SIGNATURES: usize = 16;

/// Returns the text of a clear-signed message if a key of the keyring signed it, without any text
/// outside of the signed part.
pub fn open(message: &[u8], keyring: &Keyring, now: i64) -> Result<Vec<u8>, SignatureError> {
    let (lines, armor) = split(message).ok_or(SignatureError::Malformed)?;
    keyring.verify(&signatures(armor), &lines.join(&b"\r\n"[..]), now)?;
    Ok(lines.join(&b'\n'))
}

/// Returns the text of a clear-signed message without verification, for messages that apt has
/// verified or need not be verified.
pub fn text(message: &[u8]) -> Option<Vec<u8>> {
    split(message).map(|(lines, _)| lines.join(&b'\n'))
}

/// Verifies that a key of the keyring made one of the detached signatures of `text`, armored or
/// not.
pub fn verify(text: &[u8], signature: &[u8], keyring: &Keyring, now: i64) -> Result<(), SignatureError> {
    keyring.verify(&signatures(signature), text, now)
}

/// Returns the signed lines (unescaped, without the white space that a signature does not cover)
/// and the armored signatures. `None` if the message contains other text.
fn split(message: &[u8]) -> Option<(Vec<&[u8]>, &[u8])> {
    let mut at = 0;
    let mut lines = std::iter::from_fn(|| {
        let rest = message.get(at..).filter(|rest| !rest.is_empty())?;
        let length = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let start = at;
        at += length + 1;
        Some((start, rest[..length].trim_ascii_end()))
    });
    if lines.next()?.1 != BEGIN {
        return None;
    }
    // The headers repeat the digests of the signatures; other headers are not allowed here.
    while let (_, header @ [_, ..]) = lines.next()? {
        header.strip_prefix(b"Hash: ")?;
    }
    let mut text = Vec::new();
    let armor = loop {
        let (start, line) = lines.next()?;
        match line {
            [b'-', b' ', rest @ ..] => text.push(rest),
            _ if line == SIGNATURE => break start,
            [b'-', ..] => return None,
            _ => text.push(line),
        }
    };
    let length = lines.by_ref().position(|(_, line)| line == END)?;
    let nothing_follows = lines.all(|(_, line)| line.is_empty());
    (nothing_follows && length > 0).then(|| (text, &message[armor..]))
}

/// Returns the signatures of an armored or binary block; unreadable ones are skipped.
fn signatures(block: &[u8]) -> Vec<Signature> {
    let packets: Box<dyn Iterator<Item = _>> = match block.first() {
        Some(0x80..) => Box::new(PacketParser::new(block)),
        _ => {
            let options = pgp::armor::DearmorOptions::new().set_limit(block.len());
            let dearmor = pgp::armor::Dearmor::with_options(block, options);
            Box::new(PacketParser::new(BufReader::new(dearmor)))
        }
    };
    let signatures = packets.take(4 * MAX_SIGNATURES).filter_map(|packet| match packet {
        Ok(Packet::Signature(signature)) => Some(signature),
        _ => None,
    });
    signatures.take(MAX_SIGNATURES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn split_text_outside_signature_returns_none() {
        let armor = "-----BEGIN PGP SIGNATURE-----\n\nxyz\n-----END PGP SIGNATURE-----";
        let head = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n";
        let read = |text: &str| {
            let (lines, rest) = split(text.as_bytes())?;
            assert!(rest.starts_with(SIGNATURE));
            Some(String::from_utf8(lines.join(&b'|')).unwrap())
        };
        for (text, lines) in [
            (format!("{head}a\n b \t\n\n- -x\n- b\n{armor}\n"), Some("a| b||-x|b")),
            (format!("{head}{armor}\n\n"), Some("")),
            (format!("{head}a\r\n{armor}").replace("\n\n", "\r\n\r\n"), Some("a")),
            (format!("x\n{head}a\n{armor}"), None),
            (format!("{head}a\n{armor}\nx"), None),
            (format!("{head}a\n{armor}\n{head}a\n{armor}"), None),
            (format!("{head}-a\n{armor}"), None),
            (format!("{head}a\n-----BEGIN PGP MESSAGE-----\n{armor}"), None),
            ("-----BEGIN PGP SIGNED MESSAGE-----\nCharset: x\n\na\n".to_owned() + armor, None),
            (format!("{head}a\n-----BEGIN PGP SIGNATURE-----\n"), None),
            (head.to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(read(&text).as_deref(), lines, "{text}");
        }
    }

    proptest! {
        #[test]
        fn split_any_bytes_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = split(&bytes);
            let _ = signatures(&bytes);
            let _ = signatures(&[b"\x89".as_slice(), &bytes].concat());
        }
    }
}
