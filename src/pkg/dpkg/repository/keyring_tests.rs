//! Signatures by GnuPG and by Debian's archive keys; the expected errors are those of gpgv for
//! apt.

use crate::pkg::dpkg::repository::keyring::{Keyring, SignatureError, is_public};
use crate::pkg::dpkg::repository::release::Release;
use crate::pkg::dpkg::repository::{date, signed};
use std::io::Read;

/// Returns a key or signature of `tests/data/apt`, generated at the beginning of 2020.
fn data(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/data/apt/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn at(text: &str) -> i64 {
    date::parse(text).unwrap()
}

const IN_TIME: &str = "01 Jun 2020 00:00:00 UTC";
const LATE: &str = "01 Jun 2025 00:00:00 UTC";

/// Returns a word for the result.
fn open(message: &str, keys: &str, now: &str) -> &'static str {
    match signed::open(&data(message), &Keyring::parse(&data(keys)), at(now)) {
        Ok(text) => {
            assert_eq!(text, b"Origin: Test\nSuite: stable\n- dashed\nSHA256:");
            "good"
        }
        Err(SignatureError::Malformed) => "malformed",
        Err(SignatureError::UnknownKeys(_)) => "unknown",
        Err(SignatureError::WeakDigest) => "weak",
        Err(SignatureError::Key(_, why)) => why,
        Err(SignatureError::WrongText) => "wrong",
    }
}

#[test]
fn open_signature_by_valid_key_is_accepted() {
    for (message, keys, now, outcome) in [
        ("good.InRelease", "good.asc", IN_TIME, "good"),
        ("good.InRelease", "good.asc", LATE, "good"),
        ("good.InRelease", "both.gpg", LATE, "good"),
        ("good.InRelease", "expired.asc", IN_TIME, "unknown"),
        ("good.InRelease", "Release", IN_TIME, "unknown"),
        ("sha1.InRelease", "good.asc", IN_TIME, "weak"),
        ("expired.InRelease", "expired.asc", IN_TIME, "good"),
        ("expired.InRelease", "expired.asc", LATE, "has expired"),
        ("revoked.InRelease", "revoked.asc", IN_TIME, "is revoked"),
        ("subkey.InRelease", "subkey.asc", IN_TIME, "good"),
        ("subkey.InRelease", "subkey.asc", LATE, "has expired"),
        ("short.InRelease", "good.asc", IN_TIME, "good"),
        ("short.InRelease", "good.asc", LATE, "set an expiry date that has passed"),
        ("two.InRelease", "both.gpg", LATE, "good"),
        ("two.InRelease", "good.asc", LATE, "good"),
        ("two.InRelease", "expired.asc", LATE, "has expired"),
        ("Release", "good.asc", IN_TIME, "malformed"),
    ] {
        assert_eq!(open(message, keys, now), outcome, "{message} {keys} {now}");
    }
}

#[test]
fn verify_detached_armored_and_binary_signatures_are_accepted() {
    let (text, keys) = (data("Release"), Keyring::parse(&data("good.asc")));
    for name in ["good.Release.gpg", "good.Release.gpg.asc"] {
        assert_eq!(signed::verify(&text, &data(name), &keys, at(LATE)), Ok(()));
        let other = [&text[..], b" "].concat();
        assert_eq!(signed::verify(&other, &data(name), &keys, at(LATE)), Err(SignatureError::WrongText));
    }
    assert_eq!(signed::verify(&text, b"", &keys, at(LATE)), Err(SignatureError::UnknownKeys(Vec::new())));
}

#[test]
fn open_changed_text_returns_error() {
    let message = data("good.InRelease");
    let keys = Keyring::parse(&data("good.asc"));
    for place in 0..message.len() {
        let mut changed = message.clone();
        changed[place] ^= 1;
        if let Ok(text) = signed::open(&changed, &keys, at(IN_TIME)) {
            assert_eq!(text, b"Origin: Test\nSuite: stable\n- dashed\nSHA256:", "{place}");
        }
    }
}

#[test]
fn open_debian_release_is_accepted() {
    let mut message = Vec::new();
    let packed = data("bullseye.InRelease.xz");
    lzma_rust2::XzReader::new(&packed[..], false).read_to_end(&mut message).unwrap();
    let keys = Keyring::parse(&data("debian-archive-bullseye.gpg"));
    let text = signed::open(&message, &keys, at("01 Sep 2024 00:00:00 UTC")).unwrap();
    let release = Release::parse(&text);
    assert_eq!((release.origin.as_str(), release.codename.as_str()), ("Debian", "bullseye"));
    assert!(release.by_hash && !release.has_all);
    assert_eq!(release.files["main/binary-amd64/Packages.xz"].1, 8_065_948);
    let late = signed::open(&message, &keys, at("01 Sep 2030 00:00:00 UTC")).unwrap_err();
    assert!(late.to_string().ends_with("which has expired"), "{late}");
    let none = signed::open(&message, &Keyring::default(), at(LATE)).unwrap_err();
    assert!(none.to_string().contains("A7236886F3CCCAAD148A27F80E98404D386FA1D9"), "{none}");
}

#[test]
fn is_public_secret_key_returns_false() {
    assert!(is_public(&data("good.asc")) && is_public(&data("both.gpg")));
    for bytes in
        [data("good.secret.asc"), [data("both.gpg"), data("good.secret.asc")].concat(), vec![], vec![0x99]]
    {
        assert!(!is_public(&bytes));
    }
}
